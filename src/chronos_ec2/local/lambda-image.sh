#!/usr/bin/env bash
# Makes sure that Docker has the image in which `sam local invoke` runs a function.
#   lambda-image.sh PYTHON      PYTHON is one with pip, whatever its version
# Lambda's own image where it can be pulled; elsewhere a stand-in: Debian trixie, whose Python is the runtime's 3.13, with
# Lambda's runtime interface client. The last line on stderr says what is wrong when it cannot be had.
set -euo pipefail
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 # whatever the user has set for packages of their own

readonly IMAGE=public.ecr.aws/lambda/python:3.13-x86_64
readonly MARK=chronos-ec2.stand-in
python=$1
here=$(cd "$(dirname "$0")" && pwd)
recipe=$(cat "$0" "$here/lambda-runtime-requirements.txt" | sha256sum | cut -c1-16)

fail() {
  echo "$1" >&2
  exit 1
}

docker info > /dev/null 2>&1 || fail "no Docker answers: install it (Debian: docker.io) and start dockerd"

# The image that is there is Lambda's own (without a mark), or a stand-in, which serves while its recipe is this one.
if found=$(docker image inspect --format "{{index .Config.Labels \"$MARK\"}}" "$IMAGE" 2> /dev/null); then
  if [[ -z $found || $found == "$recipe" ]]; then exit 0; fi
fi
timeout 600 docker pull --quiet "$IMAGE" > /dev/null 2>&1 && exit 0

command -v debootstrap > /dev/null || fail "$IMAGE cannot be pulled, and there is no debootstrap for a stand-in"
[[ $(id -u) == 0 ]] || fail "$IMAGE cannot be pulled, and only root can make a stand-in for it"
echo "making a stand-in for $IMAGE, which cannot be pulled: a minute, once" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
debootstrap --variant=minbase --include=python3,ca-certificates trixie "$root" > "$work/log" 2>&1 ||
  fail "debootstrap: $(tail -1 "$work/log")"
mkdir -p "$root/var/runtime" "$root/var/task"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --platform manylinux2014_x86_64 --python-version 3.13 --implementation cp \
  --target "$root/var/runtime" -r "$here/lambda-runtime-requirements.txt" > "$work/log" 2>&1 ||
  fail "pip: $(tail -1 "$work/log")"
cat > "$root/var/runtime/bootstrap" << 'BOOTSTRAP'
#!/bin/sh
export PYTHONPATH=/var/runtime
exec python3 -m awslambdaric "$_HANDLER"
BOOTSTRAP
chmod 755 "$root/var/runtime/bootstrap"
chroot "$root" python3 -m compileall -q /usr/lib/python3.13 /var/runtime
tar -C "$root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./usr/share/doc \
  --exclude=./usr/share/locale --exclude=./proc --exclude=./sys -cf - . |
  docker import --change 'WORKDIR /var/task' --change 'ENV LAMBDA_TASK_ROOT=/var/task LANG=C.UTF-8' \
    --change "LABEL $MARK=$recipe" - "$IMAGE" > /dev/null
