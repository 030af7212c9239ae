#!/bin/bash
# The whole way twice: make an image, mount it, work on it, unmount, look at the caches, check; then
# snapshots, shared files and compression on the same image. demo.sh BUILD-DIRECTORY
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

step fsmount mount -o compress=zstd disk.img mnt
step fsmount subvolume create mnt/project
step cp -r /usr/include/linux mnt/project/headers
step fsmount subvolume snapshot -r mnt/project mnt/monday
step rm -r mnt/project/headers
step fsmount subvolume delete mnt/project
step fsmount subvolume snapshot mnt/monday mnt/project
step diff -r /usr/include/linux mnt/project/headers
step fsmount reflink mnt/project/headers/bpf.h mnt/project/bpf-shared.h
step fsmount subvolume list mnt
step fsmount unmount mnt
step btrfs check --check-data-csum disk.img
printf '\nAll of it holds.\n'
