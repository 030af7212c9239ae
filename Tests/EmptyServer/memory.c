#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// The file is long and has holes: what nothing was written to takes no memory. Content stands in
// slots of a few lengths, each long enough that a file moves three times at most.
static const size_t arena_size = 4UL << 40;
static const size_t slot_sizes[] = {4UL << 10, 64UL << 10, 1UL << 20, 8UL << 30};
enum { CLASSES = sizeof(slot_sizes) / sizeof(*slot_sizes), LARGEST = CLASSES - 1 };
enum { INODES = 16 << 20, ENTRIES = 16 << 20, BUCKETS = 1 << 20 };

struct arena {
  char *end;  // of the slots in use; NULL when the file is new
  uint64_t inodes, free_inode;
  uint32_t entries, free_entry;
  char *free_slot[CLASSES];
  uint32_t buckets[BUCKETS];
  struct inode inode[INODES];
  struct entry entry[ENTRIES];
  char slots[];
};

// Far from where Linux puts programs and libraries.
static struct arena *const arena = (struct arena *)0x100000000000;

static void begin(void) {
  arena->end = (char *)(((uintptr_t)arena->slots + 4095) & ~4095UL);
  // The first of both means "none".
  arena->inodes = 1;
  arena->entries = 1;
  struct inode *root = memory_make(S_IFDIR | 0755, getuid(), getgid());
  root->parent = ROOT;
  root->names = 1;
}

// No one has looked up anything in a mount that begins.
static void forget_all(void) {
  for (uint64_t number = 1; number < arena->inodes; number++) {
    struct inode *inode = memory_inode(number);
    if (inode->mode == 0)
      continue;
    inode->lookups = 0;
    inode->was_listed = inode->was_opened = false;
    memory_drop(inode);
  }
}

int memory_open(const char *path) {
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0)
    return errno;

  int status = 0;
  void *mapped = MAP_FAILED;
  if (ftruncate(file, (off_t)arena_size) == 0)
    mapped = mmap(
        arena, arena_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
        file, 0);
  if (mapped == MAP_FAILED) {
    status = errno;
  } else if (arena->end == NULL) {
    begin();
  } else {
    forget_all();
  }

  // Page faults are no work of a file system. Holes stay holes: only what has bytes is touched.
  off_t start = 0;
  while (status == 0 && (start = lseek(file, start, SEEK_DATA)) >= 0) {
    off_t end = lseek(file, start, SEEK_HOLE);
    if (end < 0)
      break;
    madvise((char *)arena + start, (size_t)(end - start), MADV_POPULATE_WRITE);
    start = end;
  }
  close(file);
  return status;
}

// Slots. Beyond what a file uses of its slot all bytes are zero.

static char *take_slot(int class) {
  char *slot = arena->free_slot[class];
  if (slot) {
    char **next = (char **)slot;
    arena->free_slot[class] = *next;
    *next = NULL;
    return slot;
  }
  slot = arena->end;
  if (slot + slot_sizes[class] > (char *)arena + arena_size)
    return NULL;
  arena->end += slot_sizes[class];
  return slot;
}

static void clear(char *bytes, size_t size, int class) {
  uintptr_t start = (uintptr_t)bytes, page = (start + 4095) & ~4095UL, end = start + size;
  if (class == LARGEST && end > page) {
    madvise((void *)page, (end - page + 4095) & ~4095UL, MADV_REMOVE);
    size = page - start;
  }
  memset(bytes, 0, size);
}

static void give_slot(char *slot, size_t used, int class) {
  clear(slot, used, class);
  *(char **)slot = arena->free_slot[class];
  arena->free_slot[class] = slot;
}

bool memory_resize(struct inode *inode, size_t size) {
  if (inode->bytes && size < inode->size)
    clear(inode->bytes + size, inode->size - size, inode->slot_class);

  if (size > 0 && (!inode->bytes || size > slot_sizes[inode->slot_class])) {
    int class = 0;
    while (class < CLASSES && slot_sizes[class] < size) class++;
    char *bytes = class < CLASSES ? take_slot(class) : NULL;
    if (!bytes)
      return false;
    if (inode->bytes) {
      memcpy(bytes, inode->bytes, inode->size);
      give_slot(inode->bytes, inode->size, inode->slot_class);
    }
    inode->bytes = bytes;
    inode->slot_class = class;
  }
  inode->size = size;
  return true;
}

// Inodes.

struct inode *memory_inode(uint64_t number) { return &arena->inode[number]; }

struct inode *memory_make(mode_t mode, uid_t uid, gid_t gid) {
  uint64_t number = arena->free_inode;
  if (number != 0)
    arena->free_inode = memory_inode(number)->parent;
  else if (arena->inodes < INODES)
    number = arena->inodes++;
  else
    return NULL;

  struct inode *inode = memory_inode(number);
  uint64_t generation = inode->generation + 1;
  *inode = (struct inode){.number = number, .mode = mode, .uid = uid, .gid = gid};
  inode->generation = generation;
  clock_gettime(CLOCK_REALTIME, &inode->modified);
  inode->accessed = inode->changed = inode->modified;
  return inode;
}

void memory_drop(struct inode *inode) {
  if (inode->names > 0 || inode->lookups > 0)
    return;
  if (inode->bytes)
    give_slot(inode->bytes, inode->size, inode->slot_class);
  inode->bytes = NULL;
  inode->mode = 0;
  inode->parent = arena->free_inode;
  arena->free_inode = inode->number;
}

// Names.

static uint32_t *bucket(uint64_t parent, const char *name) {
  uint64_t hash = parent * 0x9e3779b97f4a7c15;
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
  return &arena->buckets[(hash ^ hash >> 32) % BUCKETS];
}

struct entry *memory_find(uint64_t parent, const char *name) {
  size_t length = strlen(name);
  for (uint32_t index = *bucket(parent, name); index != 0; index = arena->entry[index].next) {
    struct entry *entry = &arena->entry[index];
    if (entry->parent == parent && entry->length == length &&
        memcmp(entry->name, name, length) == 0)
      return entry;
  }
  return NULL;
}

int memory_add(struct inode *parent, const char *name, struct inode *inode) {
  size_t length = strlen(name);
  if (length > NAME_MAX)
    return ENAMETOOLONG;
  uint32_t index = arena->free_entry;
  if (index == 0 && arena->entries == ENTRIES)
    return ENOSPC;
  size_t place = memory_places(parent);
  if (!memory_resize(parent, (place + 1) * sizeof(uint32_t)))
    return ENOSPC;

  if (index != 0)
    arena->free_entry = arena->entry[index].next;
  else
    index = arena->entries++;
  struct entry *entry = &arena->entry[index];
  uint32_t *first = bucket(parent->number, name);
  *entry = (struct entry){
      .parent = parent->number, .inode = inode->number, .next = *first, .place = (uint32_t)place,
      .length = (uint8_t)length};
  memcpy(entry->name, name, length + 1);
  *first = index;
  ((uint32_t *)parent->bytes)[place] = index;

  parent->children++;
  inode->names++;
  if (S_ISDIR(inode->mode))
    inode->parent = parent->number;
  clock_gettime(CLOCK_REALTIME, &parent->modified);
  parent->changed = inode->changed = parent->modified;
  return 0;
}

void memory_remove(struct entry *entry) {
  struct inode *parent = memory_inode(entry->parent);
  struct inode *inode = memory_inode(entry->inode);
  uint32_t index = (uint32_t)(entry - arena->entry);
  uint32_t *link = bucket(entry->parent, entry->name);
  while (*link != index) link = &arena->entry[*link].next;
  *link = entry->next;
  ((uint32_t *)parent->bytes)[entry->place] = 0;
  entry->next = arena->free_entry;
  arena->free_entry = index;

  if (--parent->children == 0)
    memory_resize(parent, 0);
  inode->names--;
  clock_gettime(CLOCK_REALTIME, &parent->modified);
  parent->changed = inode->changed = parent->modified;
  memory_drop(inode);
}

size_t memory_places(const struct inode *directory) { return directory->size / sizeof(uint32_t); }

struct entry *memory_listed(const struct inode *directory, size_t place) {
  uint32_t index = ((uint32_t *)directory->bytes)[place];
  return index == 0 ? NULL : &arena->entry[index];
}
