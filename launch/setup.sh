#!/usr/bin/env bash
# Set up a fresh Linux machine: install the package in ~/venv and, with STORAGE, mount it on /mnt/shared. Can be repeated.
#   launch/setup.sh EXTRA [STORAGE]
# EXTRA is tpu, cuda or cpu; STORAGE is gs://BUCKET (Cloud Storage FUSE) or HOST:/EXPORT (NFS, such as Filestore).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra="$1" storage="${2:-}" mounted="${STYLEGAN_JAX_MOUNT:-/mnt/shared}"

install_packages() {
  sudo apt-get update -qq
  sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
}

install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc list
  list="deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main"
  curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee "$key" >/dev/null
  echo "$list" | sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  install_packages gcsfuse
}

if [ -n "$storage" ] && ! mountpoint -q "$mounted"; then
  sudo mkdir -p "$mounted"
  case "$storage" in
    gs://*)
      command -v gcsfuse >/dev/null || install_gcsfuse
      sudo chown "$(id -u):$(id -g)" "$mounted"
      gcsfuse --implicit-dirs "${storage#gs://}" "$mounted"
      ;;
    *:/*)
      command -v mount.nfs >/dev/null || install_packages nfs-common
      sudo mount -t nfs "$storage" "$mounted"
      mountpoint -q "$mounted" && [ -w "$mounted" ] || sudo chown "$(id -u):$(id -g)" "$mounted"
      ;;
    *)
      echo "error: storage '$storage' is neither gs://BUCKET nor HOST:/EXPORT" >&2
      exit 2
      ;;
  esac
fi

# uv installs its own Python if the machine's is older than the package requires.
command -v uv >/dev/null || python3 -m pip install --quiet --user uv
PATH="$PATH:$HOME/.local/bin"
[ -x "$HOME/venv/bin/python" ] || uv venv --quiet --python 3.12 "$HOME/venv"
target=.
[ "$extra" = cpu ] || target=".[$extra]"
uv pip install --quiet --python "$HOME/venv/bin/python" -e "$target"
echo "ready: $("$HOME/venv/bin/python" --version), extra '$extra'${storage:+, $storage on $mounted}"
