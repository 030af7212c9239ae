#define _GNU_SOURCE
#include "processors.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What the process may use is what its first thread may: that one serves no request, so it is never
// put on a processor here, and whoever moves the whole process (taskset, cpusets) moves it too.
static bool set_of_process(cpu_set_t *set) {
  return sched_getaffinity(getpid(), sizeof(*set), set) == 0;
}

unsigned processors_of_process(int *processors, unsigned size) {
  cpu_set_t set;
  if (!set_of_process(&set))
    return 0;
  unsigned count = 0;
  for (int processor = 0; processor < CPU_SETSIZE && count < size; processor++) {
    if (CPU_ISSET(processor, &set))
      processors[count++] = processor;
  }
  return count;
}

bool run_on_processor(int processor) {
  cpu_set_t set;
  if (!set_of_process(&set))
    return false;
  if (processor >= 0) {
    if (processor >= CPU_SETSIZE || !CPU_ISSET(processor, &set))
      return false;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
  }
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

// The file of the thread asked for last stays open: to open it takes as long as to read it.
static int file = -1;
static uint32_t thread_of_file;

static bool open_file_of(uint32_t thread) {
  if (file >= 0 && thread == thread_of_file)
    return true;
  if (file >= 0)
    close(file);
  // The number is a thread's. What is said below task/ is of it alone, which is read sooner.
  char path[64];
  snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", thread, thread);
  file = open(path, O_RDONLY | O_CLOEXEC);
  thread_of_file = thread;
  return file >= 0;
}

int last_processor_of(uint32_t thread) {
  // The line's fields: the number, a name in parentheses which may hold anything, and from the third
  // on words without blanks.
  enum { PROCESSOR_FIELD = 39 };
  char line[1024];
  if (thread == 0 || !open_file_of(thread))
    return -1;
  ssize_t count = pread(file, line, sizeof(line) - 1, 0);
  if (count <= 0) {
    close(file);
    file = -1;
    return -1;
  }

  line[count] = 0;
  const char *place = strrchr(line, ')');
  for (int field = 2; place && field < PROCESSOR_FIELD; field++) {
    place = strchr(place, ' ');
    place = place ? place + 1 : NULL;
  }
  char *end;
  long processor = place ? strtol(place, &end, 10) : -1;
  return place && end != place && processor >= 0 && processor < CPU_SETSIZE ? (int)processor : -1;
}
