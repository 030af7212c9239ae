#define _GNU_SOURCE
#include "DaemonFaults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

static void before(long answer) {
  if (answer > 0 && answer == number("FAULT_TRAP_BEFORE"))
    raise(SIGILL);
}

// In place of the C library's, by which answers are sent to the device.
ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
  long answer = is_fuse_device(descriptor) ? atomic_fetch_add(&answers, 1) + 1 : 0;
  before(answer);
  ssize_t written = syscall(SYS_writev, descriptor, pieces, count);
  if (answer > 0 && answer == number("FAULT_TRAP_AFTER"))
    raise(SIGILL);
  return written;
}

// The entries of this thread's ring.
static _Thread_local unsigned char *entries;

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset) {
  void *memory = (void *)syscall(SYS_mmap, address, size, protection, flags, descriptor, offset);
  if (offset == IORING_OFF_SQES && descriptor >= 0 && memory != MAP_FAILED)
    entries = memory;
  return memory;
}

void *mmap64(void *address, size_t size, int protection, int flags, int descriptor, off_t offset) {
  return mmap(address, size, protection, flags, descriptor, offset);
}

// A worker's first submission has two entries of 128 bytes, of which the second one registers.
static void spoil_registration(void) {
  unsigned char *command = entries + 128 + offsetof(struct io_uring_sqe, cmd);
  uint16_t queue;
  memcpy(&queue, command + 16, sizeof(queue));
  if (queue == 0)
    return;
  queue = 0xffff;
  memcpy(command + 16, &queue, sizeof(queue));
}

// In place of the C library's, by which answers are sent over io_uring.
long syscall(long call, ...) {
  static long (*real)(long, ...);
  if (!real)
    real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  long values[6];
  va_list list;
  va_start(list, call);
  for (int index = 0; index < 6; index++)
    values[index] = va_arg(list, long);
  va_end(list);

  bool is_answer = call == SYS_io_uring_enter && values[1] == 1;
  long answer = is_answer ? atomic_fetch_add(&answers, 1) + 1 : 0;
  before(answer);
  if (answer > 0 && answer == number("FAULT_TRAP_AFTER")) {
    // Only sent: else the thread would wait for the next request.
    real(call, values[0], values[1], 0L, 0L, NULL, 0L);
    raise(SIGILL);
  }
  if (call == SYS_io_uring_enter && values[1] == 2 && entries && number("FAULT_REGISTER") != 0)
    spoil_registration();
  return real(call, values[0], values[1], values[2], values[3], values[4], values[5]);
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
