#!/usr/bin/env bash
# Builds the image of an instance container, unless Docker has it: systemd as PID 1, cloud-init, the AWS CLI, and at
# /opt/pytorch the Python environment of an AMI with AgentPackages=image.
#   instance-image.sh PYTHON IMAGE      PYTHON is any Python with pip
# Its torch is an empty package, which is enough for the boot script's check and for the trainer `probe`.
# On failure, the last line on stderr says why.
set -euo pipefail
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 # a user may have set these for other environments

readonly MARK=chronos-ec2.instance
python=$1 image=$2
here=$(cd "$(dirname "$0")" && pwd)
lock=$here/../../../../agent/requirements.txt
recipe=$(cat "$0" "$here"/{instance,pip}-requirements.txt "$here/imds.py" "$lock" | sha256sum | cut -c1-16)

fail() {
  echo "$1" >&2
  exit 1
}

docker info > /dev/null 2>&1 || fail "Docker does not answer: install it (Debian: docker.io) and start dockerd"
found=$(docker image inspect --format "{{index .Config.Labels \"$MARK\"}}" "$image" 2> /dev/null || true)
if [[ $found == "$recipe" ]]; then exit 0; fi
command -v debootstrap > /dev/null || fail "the image of an instance is built with debootstrap, which is not installed"
[[ $(id -u) == 0 ]] || fail "only root can build the image of an instance"

echo "building the image of an instance (three minutes, once)" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
# python3-cffi-backend: a dependency of cloud-init that debootstrap misses.
packages=systemd,systemd-sysv,dbus,cloud-init,python3-cffi-backend,python3,ca-certificates,curl,iproute2,procps
debootstrap --variant=minbase --include="$packages" trixie "$root" > "$work/log" 2>&1 ||
  fail "debootstrap: $(tail -1 "$work/log")"

install() {
  local target=$1 lock=$2
  "$python" -m pip install --quiet --disable-pip-version-check --no-compile \
    --require-hashes --no-deps --only-binary=:all: \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --python-version 3.13 --implementation cp \
    --target "$target" -r "$lock" > "$work/log" 2>&1 || fail "pip: $(tail -1 "$work/log")"
}

chroot "$root" python3 -m venv --without-pip /opt/pytorch
site=$root/opt/pytorch/lib/python3.13/site-packages
install "$site" "$lock"
install "$site" "$here/pip-requirements.txt"
mkdir -p "$site/torch" "$site/torch-2.13.0.dist-info"
printf 'Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n' > "$site/torch-2.13.0.dist-info/METADATA"
cat > "$site/torch/__init__.py" << 'TORCH'
"""Replaces torch in an instance container: reports that there is no GPU, and does nothing else."""
from types import SimpleNamespace

__version__ = "2.13.0"
version = SimpleNamespace(cuda=None)
cuda = SimpleNamespace(is_available=lambda: False)
TORCH

install "$root/opt/aws-cli" "$here/instance-requirements.txt"
cat > "$root/usr/local/bin/aws" << 'AWS'
#!/bin/sh
PYTHONPATH=/opt/aws-cli exec /usr/bin/python3 -m awscli "$@"
AWS
chmod 755 "$root/usr/local/bin/aws"
chroot "$root" /opt/pytorch/bin/python -m compileall -q /usr/lib/python3 /opt/aws-cli \
  /opt/pytorch/lib/python3.13/site-packages/{boto3,botocore,s3transfer,urllib3,pydantic,pip,numpy,pyarrow}

# The metadata service runs on the instance itself, at the address of EC2's.
cp "$here/imds.py" "$root/opt/imds.py"
cat > "$root/etc/systemd/system/imds.service" << 'IMDS'
[Unit]
Description=EC2's instance metadata service, simulated
DefaultDependencies=no
Before=cloud-init-main.service cloud-init-local.service
[Service]
Type=notify
ExecStartPre=/usr/sbin/ip address replace 169.254.169.254/32 dev lo
ExecStart=/usr/bin/python3 /opt/imds.py /etc/imds.json
[Install]
WantedBy=sysinit.target
IMDS
cat > "$root/etc/cloud/cloud.cfg.d/90-instance.cfg" << 'CLOUD'
datasource_list: [NoCloud]
network: {config: disabled}
CLOUD
chroot "$root" systemctl enable --quiet imds.service 2> /dev/null
chroot "$root" systemctl mask --quiet tmp.mount systemd-networkd.service systemd-resolved.service 2> /dev/null
tar -C "$root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./usr/share/doc \
  --exclude=./usr/share/locale --exclude=./usr/share/man --exclude=./proc --exclude=./sys -cf - . |
  docker import --change "LABEL $MARK=$recipe" --change 'ENV container=docker' \
    --change 'CMD ["/sbin/init", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]' - "$image" > /dev/null
