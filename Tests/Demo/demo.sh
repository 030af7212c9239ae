#!/bin/bash
# The whole way once: make an image, mount it, work on it, unmount, look at the caches, check.
# demo.sh BUILD-DIRECTORY
set -euo pipefail

PATH=$(realpath "$1"):$PATH
work=$(mktemp -d)
cd "$work"
mkdir mnt

finish() {
  if mountpoint -q mnt; then fsmount unmount mnt || true; fi
  cd /
  rm -rf "$work"
}
trap finish EXIT

step() {
  printf '\n$ %s\n' "$*"
  "$@"
}

step fsmount mkfs --size 4G --label demo disk.img
step fsmount mount disk.img mnt
step df -hT mnt
step exerciser workload mnt
step fsmount unmount mnt
step fsmount cache --verify disk.img
step btrfs check --check-data-csum disk.img
printf '\nAll of it holds.\n'
