/// What the empty server keeps: inodes, names and bytes, in one file that is mapped at the same
/// address each time. So all of it is there again at the next mount, and pointers into it stay
/// good. No journal, no checksums, no trees. All calls are made under one lock, the caller's.
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/// A file, a directory, or a symbolic link; free when it has no mode.
struct inode {
  uint64_t number;
  uint64_t parent;  // of a directory
  uint64_t lookups;
  uint32_t names;
  uint32_t children;  // of a directory
  uint64_t generation;
  mode_t mode;
  uid_t uid;
  gid_t gid;
  int slot_class;
  char *bytes;  // content, a link's target, or the numbers of a directory's names
  size_t size;
  struct timespec accessed, modified, changed;
  bool was_listed, was_opened;
};

struct entry {
  uint64_t parent;
  uint64_t inode;
  uint32_t next;   // in the same bucket, or among the free ones
  uint32_t place;  // in the parent's list
  uint8_t length;
  char name[256];
};

enum { ROOT = 1 };

/// Opens `path`, empty or as it was left; 0 or an errno.
int memory_open(const char *path);

struct inode *memory_inode(uint64_t number);

/// A new inode without a name; NULL when there is no room.
struct inode *memory_make(mode_t mode, uid_t uid, gid_t gid);

/// Frees it when it has neither a name nor lookups.
void memory_drop(struct inode *inode);

/// Gives a file `size` bytes, the new ones zero; false when there is no room.
bool memory_resize(struct inode *inode, size_t size);

/// The entry, or NULL.
struct entry *memory_find(uint64_t parent, const char *name);

/// Adds a name that is not there; 0 or an errno.
int memory_add(struct inode *parent, const char *name, struct inode *inode);

/// Takes a name away; the inode may be free afterwards.
void memory_remove(struct entry *entry);

/// The entry at `place` of a directory's list, NULL where there is none any more.
struct entry *memory_listed(const struct inode *directory, size_t place);

/// How many places that list has.
size_t memory_places(const struct inode *directory);

#endif
