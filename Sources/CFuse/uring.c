#define _GNU_SOURCE
#include "uring.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Of Linux 6.6. Older headers lack it.
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

enum { entry_size = 128 };

static void *map(struct uring *ring, size_t size, off_t offset) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      ring->descriptor, offset);
  if (memory == MAP_FAILED)
    return NULL;
  // A child would keep the ring, and with it the device, open.
  madvise(memory, size, MADV_DONTFORK);
  return memory;
}

int uring_open(struct uring *ring, unsigned entries) {
  // The kernel's part of the work is done when the thread waits for it, and at no other time: so
  // no signal from the kernel interrupts what the thread does.
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
               IORING_SETUP_NO_SQARRAY};
  *ring = (struct uring){.descriptor = -1};
  long descriptor = syscall(SYS_io_uring_setup, entries, &parameters);
  if (descriptor < 0)
    return -errno;

  ring->descriptor = (int)descriptor;
  ring->entry_count = parameters.sq_entries;
  ring->entries_size = (size_t)parameters.sq_entries * entry_size;
  ring->rings_size =
      parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
  ring->rings = map(ring, ring->rings_size, IORING_OFF_SQ_RING);
  ring->entries = map(ring, ring->entries_size, IORING_OFF_SQES);
  if (!ring->rings || !ring->entries) {
    uring_close(ring);
    return -ENOMEM;
  }

  char *rings = ring->rings;
  ring->shared_tail = (unsigned *)(rings + parameters.sq_off.tail);
  ring->tail = *ring->shared_tail;
  ring->completion_head = (unsigned *)(rings + parameters.cq_off.head);
  ring->completion_tail = (unsigned *)(rings + parameters.cq_off.tail);
  ring->completion_mask = *(unsigned *)(rings + parameters.cq_off.ring_mask);
  ring->completions = (struct io_uring_cqe *)(rings + parameters.cq_off.cqes);
  return 0;
}

void uring_close(struct uring *ring) {
  if (ring->entries)
    munmap(ring->entries, ring->entries_size);
  if (ring->rings)
    munmap(ring->rings, ring->rings_size);
  if (ring->descriptor >= 0)
    close(ring->descriptor);
  *ring = (struct uring){.descriptor = -1};
}

struct io_uring_sqe *uring_next(struct uring *ring) {
  void *entry = ring->entries + (size_t)(ring->tail & (ring->entry_count - 1)) * entry_size;
  memset(entry, 0, entry_size);
  ring->tail += 1;
  ring->unsubmitted += 1;
  return entry;
}

int uring_submit(struct uring *ring, bool waits, const struct timespec *limit) {
  __atomic_store_n(ring->shared_tail, ring->tail, __ATOMIC_RELEASE);
  struct __kernel_timespec time;
  struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&time};
  unsigned flags = waits ? IORING_ENTER_GETEVENTS : 0;
  if (limit) {
    time = (struct __kernel_timespec){.tv_sec = limit->tv_sec, .tv_nsec = limit->tv_nsec};
    flags |= IORING_ENTER_EXT_ARG;
  }
  long count = syscall(SYS_io_uring_enter, ring->descriptor, ring->unsubmitted, waits ? 1 : 0,
                       flags, limit ? &argument : NULL, limit ? sizeof(argument) : 0);
  // An error says that nothing was submitted, or that there was nothing to submit.
  if (count < 0)
    return -errno;
  ring->unsubmitted -= (unsigned)count;
  return 0;
}

bool uring_take(struct uring *ring, uint64_t *user_data, int *result) {
  unsigned head = *ring->completion_head;
  if (head == __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE))
    return false;
  const struct io_uring_cqe *completion = &ring->completions[head & ring->completion_mask];
  *user_data = completion->user_data;
  *result = completion->res;
  __atomic_store_n(ring->completion_head, head + 1, __ATOMIC_RELEASE);
  return true;
}
