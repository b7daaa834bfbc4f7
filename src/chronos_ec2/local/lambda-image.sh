#!/usr/bin/env bash
# Gets the image in which `sam local invoke` runs a function, unless Docker has it.
#   lambda-image.sh PYTHON      PYTHON is any Python with pip
# Pulls Lambda's own image. Where that is impossible, builds a substitute: Debian trixie, whose Python is the runtime's
# 3.13, with Lambda's runtime interface client. On failure, the last line on stderr says why.
set -euo pipefail
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 # a user may have set these for other environments

readonly IMAGE=public.ecr.aws/lambda/python:3.13-x86_64
readonly MARK=chronos-ec2.substitute
python=$1
here=$(cd "$(dirname "$0")" && pwd)
recipe=$(cat "$0" "$here/lambda-runtime-requirements.txt" | sha256sum | cut -c1-16)

fail() {
  echo "$1" >&2
  exit 1
}

docker info > /dev/null 2>&1 || fail "Docker does not answer: install it (Debian: docker.io) and start dockerd"

# An image without our label is Lambda's own. A substitute is valid as long as its recipe has not changed.
if found=$(docker image inspect --format "{{index .Config.Labels \"$MARK\"}}" "$IMAGE" 2> /dev/null); then
  if [[ -z $found || $found == "$recipe" ]]; then exit 0; fi
fi
timeout 600 docker pull --quiet "$IMAGE" > /dev/null 2>&1 && exit 0

command -v debootstrap > /dev/null || fail "$IMAGE cannot be pulled, and a substitute needs debootstrap, which is not installed"
[[ $(id -u) == 0 ]] || fail "$IMAGE cannot be pulled, and only root can build a substitute"
echo "building a substitute for $IMAGE, which cannot be pulled (one minute, once)" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
debootstrap --variant=minbase --include=python3,ca-certificates trixie "$root" > "$work/log" 2>&1 ||
  fail "debootstrap: $(tail -1 "$work/log")"
mkdir -p "$root/var/runtime" "$root/var/task"
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
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
