#define _GNU_SOURCE
#include "DaemonFaults.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static bool is_fuse_device(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 && S_ISCHR(status.st_mode) &&
         status.st_rdev == makedev(10, 229);
}

static atomic_long answers;

// In place of the C library's, by which answers are sent.
ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
  long answer = is_fuse_device(descriptor) ? atomic_fetch_add(&answers, 1) + 1 : 0;
  if (answer > 0 && answer == number("FAULT_TRAP_BEFORE"))
    raise(SIGILL);
  ssize_t written = syscall(SYS_writev, descriptor, pieces, count);
  if (answer > 0 && answer == number("FAULT_TRAP_AFTER"))
    raise(SIGILL);
  return written;
}

int fdatasync(int descriptor) {
  const char *hold = getenv("FAULT_FLUSH_HOLD");
  if (hold && access(hold, F_OK) == 0) {
    char held[4096];
    snprintf(held, sizeof(held), "%s.held", hold);
    int file = open(held, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0)
      close(file);
    while (access(hold, F_OK) == 0)
      usleep(200);
  }
  long pause = number("FAULT_FLUSH_MICROSECONDS");
  if (pause > 0)
    usleep((useconds_t)pause);
  return (int)syscall(SYS_fdatasync, descriptor);
}
