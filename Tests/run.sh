#!/bin/bash
# Runs the tests whose names match the filter, and ends with what failed, if anything did: the
# end is all that some logs keep.
#
#   Tests/run.sh FILTER
set -uo pipefail
# As many tests at a time as there are processors: then the time of a test is its own, and its limit
# does not count how long it stood in line. TEST_SEED=n takes other seeds and goes through all
# cases: see Tests/TestSupport/System/TestSeed.swift.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=${TEST_WIDTH:-$(nproc)}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# FSMOUNT_IO_URING=on has mounts take their requests over io_uring, off over /dev/fuse. The kernel
# must allow the first, which root sees to for as long as the tests take.
parameter=/sys/module/fuse/parameters/enable_uring
if [ "${FSMOUNT_IO_URING:-}" = on ]; then
  [ -e /sys/module/fuse ] || modprobe fuse 2>/dev/null
  if [ "$(cat $parameter 2>/dev/null)" = N ] && [ -w $parameter ]; then
    echo Y >$parameter
    trap 'rm -f "$log"; echo N >$parameter' EXIT
  fi
  if [ "$(cat $parameter 2>/dev/null)" != Y ]; then
    echo "SKIPPED: $1 over io_uring, which needs root, or the kernel's parameter fuse.enable_uring"
    exit 0
  fi
fi

# A test that waits in vain is reported when its limit has passed, but nothing can end it.
minutes=${TEST_MINUTES:-$([ -n "${TEST_SEED:-}" ] && echo 240 || echo 45)}

timeout --kill-after=30 "${minutes}m" swift test --skip-build --filter "$1" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" != 0 ]; then
  echo
  [ "$status" != 124 ] || echo "The tests did not end within $minutes minutes."
  echo "What failed:"
  # The last lines, when there is no issue on record, say how the run came to its end.
  grep -a -E '✘.*(recorded an issue|failed after)|Fatal error|unexpected signal' "$log" \
    | grep -v -E '✘ (Suite|Test run)' | cut -c 1-400 | tail -n 20
  grep -q -a '✘' "$log" || tail -n 5 "$log" | cut -c 1-400
fi
exit "$status"
