#define _GNU_SOURCE
#include "CCodecs.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

int ccodecs_punch_hole(int descriptor, uint64_t offset, uint64_t length) {
  return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                   (off_t)length);
}

size_t ccodecs_processors_of(int thread, int *processors, size_t size) {
  cpu_set_t set;
  if (sched_getaffinity(thread, sizeof(set), &set) != 0)
    return 0;
  size_t count = 0;
  for (int processor = 0; processor < CPU_SETSIZE && count < size; processor++) {
    if (CPU_ISSET(processor, &set))
      processors[count++] = processor;
  }
  return count;
}

int ccodecs_use_processors(const int *processors, size_t count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t index = 0; index < count; index++)
    CPU_SET(processors[index], &set);
  return sched_setaffinity(0, sizeof(set), &set);
}

int ccodecs_thread_number(void) { return gettid(); }
