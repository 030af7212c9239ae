#define _GNU_SOURCE
#include "CCodecs.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

int ccodecs_punch_hole(int descriptor, uint64_t offset, uint64_t length) {
  return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                   (off_t)length);
}

void ccodecs_unbind_thread(void) {
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof(set), &set) == 0)
    sched_setaffinity(0, sizeof(set), &set);
}
