#!/bin/bash
# Runs a command of the exerciser on a fresh image that fsmount has mounted, and checks the
# image afterwards: on-mount.sh BUILD-DIRECTORY COMMAND [OPTION...]
set -euo pipefail

build=$1 command=$2
shift 2
work=$(mktemp -d)
mkdir "$work/mnt"

finish() {
  if mountpoint -q "$work/mnt"; then "$build/fsmount" unmount "$work/mnt" || true; fi
  rm -rf "$work"
}
trap finish EXIT

"$build/fsmount" mkfs --size "${SIZE:-4G}" "$work/image"
"$build/fsmount" mount "$work/image" "$work/mnt"
"$build/exerciser" "$command" "$work/mnt" "$@"
"$build/fsmount" unmount "$work/mnt"
"$build/fsmount" cache --verify "$work/image"
btrfs check --check-data-csum "$work/image"
