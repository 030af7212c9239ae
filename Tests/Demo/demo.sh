#!/bin/bash
# The whole way once: make an image, mount it, work on it, unmount, look at the caches, check.
set -euo pipefail

build=$1
work=$(mktemp -d)
mkdir "$work/mnt"

finish() {
  if mountpoint -q "$work/mnt"; then "$build/fsmount" unmount "$work/mnt" || true; fi
  rm -rf "$work"
}
trap finish EXIT

step() {
  printf '\n$ %s\n' "${*//$work\//}"
  "$@"
}

PATH=$PWD/$build:$PATH
step fsmount mkfs --size 4G --label demo "$work/disk.img"
step fsmount mount "$work/disk.img" "$work/mnt"
step df -hT "$work/mnt"
step exerciser workload "$work/mnt"
step fsmount unmount "$work/mnt"
step fsmount cache --verify "$work/disk.img"
step btrfs check --check-data-csum "$work/disk.img"
printf '\nAll of it holds.\n'
