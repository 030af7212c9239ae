// STATX, answered as GETATTR is, and with the time at which the file was made.
#define _GNU_SOURCE
#include "birth.h"

#include "CFuse.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

// The protocol, as of version 7.39. Its names are others here: newer headers have them too.
enum { operation_statx = 52 };

struct statx_request {
  uint32_t getattr_flags;
  uint32_t reserved;
  uint64_t file;
  uint32_t flags;
  uint32_t mask;
};

struct statx_time {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};

struct statx_answer {
  uint64_t valid_seconds;
  uint32_t valid_nanoseconds;
  uint32_t flags;
  uint64_t spare[2];
  uint32_t mask;
  uint32_t block_size;
  uint64_t attributes;
  uint32_t link_count;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t spare_of_mode;
  uint64_t inode;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  struct statx_time accessed, born, changed, modified;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t device_major;
  uint32_t device_minor;
  uint64_t spare_at_end[14];
};
_Static_assert(sizeof(struct statx_request) == 24, "as in the protocol");
_Static_assert(sizeof(struct statx_answer) == 32 + 256, "as in the protocol");
_Static_assert(sizeof(struct statx_answer) <= sizeof(struct birth_answer), "there is room");
_Static_assert(
    offsetof(struct statx_request, flags) == sizeof(struct fuse_getattr_in),
    "the first fields are those of GETATTR");

// The number of the STATX request that this thread serves; else 0.
static _Thread_local uint64_t asked;
static _Thread_local struct statx_time birth;

void cfuse_note_birth(int64_t seconds, uint32_t nanoseconds) {
  birth = (struct statx_time){.seconds = seconds, .nanoseconds = nanoseconds};
}

size_t birth_take(void *request, size_t size) {
  struct fuse_in_header *header = request;
  asked = 0;
  if (header->opcode != operation_statx || size < sizeof(*header) + sizeof(struct statx_request))
    return size;

  asked = header->unique;
  header->opcode = FUSE_GETATTR;
  header->len = sizeof(*header) + sizeof(struct fuse_getattr_in);
  return header->len;
}

static struct statx_time time_of(uint64_t seconds, uint32_t nanoseconds) {
  return (struct statx_time){.seconds = (int64_t)seconds, .nanoseconds = nanoseconds};
}

void birth_complete(struct iovec *pieces, int count, struct birth_answer *room) {
  struct fuse_out_header *header = pieces[0].iov_base;
  if (asked == 0 || header->unique != asked)
    return;
  asked = 0;
  if (header->error != 0 || count != 2 || pieces[1].iov_len < sizeof(struct fuse_attr_out))
    return;

  const struct fuse_attr_out *given = pieces[1].iov_base;
  const struct fuse_attr *attr = &given->attr;
  const struct statx_answer answer = {
      .valid_seconds = given->attr_valid,
      .valid_nanoseconds = given->attr_valid_nsec,
      .mask = STATX_BASIC_STATS | (birth.nanoseconds < 1000000000 ? STATX_BTIME : 0),
      .block_size = attr->blksize,
      .link_count = attr->nlink,
      .uid = attr->uid,
      .gid = attr->gid,
      .mode = (uint16_t)attr->mode,
      .inode = attr->ino,
      .size = attr->size,
      .blocks = attr->blocks,
      .accessed = time_of(attr->atime, attr->atimensec),
      .born = birth,
      .changed = time_of(attr->ctime, attr->ctimensec),
      .modified = time_of(attr->mtime, attr->mtimensec),
      // Of the 32 bits the minor number has the lowest 8 and the highest 12.
      .rdev_major = attr->rdev >> 8 & 0xfff,
      .rdev_minor = (attr->rdev & 0xff) | (attr->rdev >> 12 & 0xfff00),
  };
  memcpy(room->bytes, &answer, sizeof(answer));
  pieces[1] = (struct iovec){.iov_base = room->bytes, .iov_len = sizeof(answer)};
  header->len = sizeof(*header) + sizeof(answer);
}
