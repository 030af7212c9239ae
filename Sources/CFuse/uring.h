// A ring of the kernel's io_uring, by its raw system calls: as much of it as commands for a device
// need. One thread opens, uses and closes a ring; no other may touch it.
#ifndef CFUSE_URING_H
#define CFUSE_URING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct uring {
  int descriptor;
  /// The rings of submissions and completions, which share one piece of memory; then the entries
  /// of the first.
  void *rings;
  size_t rings_size;
  unsigned char *entries;
  size_t entries_size;

  unsigned entry_count;
  unsigned tail;
  unsigned unsubmitted;
  unsigned *shared_tail;
  unsigned *completion_head;
  unsigned *completion_tail;
  unsigned completion_mask;
  struct io_uring_cqe *completions;
};

/// A ring with room for `entries` of 128 bytes; 0, or a negative errno.
int uring_open(struct uring *ring, unsigned entries);

void uring_close(struct uring *ring);

/// The next entry to submit, all zeroes. There is room, as each caller waits for completions.
struct io_uring_sqe *uring_next(struct uring *ring);

/// Submits what was prepared and, when `waits`, waits for a completion, no longer than `limit` when
/// it is not NULL. 0, or a negative errno: -ETIME when the time is over.
int uring_submit(struct uring *ring, bool waits, const struct timespec *limit);

/// The next completion, if there is one: the `user_data` of its entry, and how it ended.
bool uring_take(struct uring *ring, uint64_t *user_data, int *result);

#endif
