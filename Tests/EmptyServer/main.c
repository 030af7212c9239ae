// A FUSE server that answers and does nothing else: the floor below which no file system behind the
// same protocol can be. It takes the same requests as fsmount and keeps files in memory, with
// neither trees nor checksums nor a device.
//
//   emptyserver [-o OPTIONS] FILE DIRECTORY
//
// 1. Flags, time limits and answers to open are fsmount's, so the kernel sends the same requests.
//    The threads that listen are fsmount's, too.
// 2. One lock guards all, held shared by what only reads. An answer that points into a file is sent
//    under it.
// 3. fsync answers at once, and extended attributes are not kept.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "CFuse.h"
#include "memory.h"

static const double cache_seconds = 86400;
// Of the first answer to a reader of a directory, unless attributes are likely to be used: for some
// directories after files were looked up of which names alone had been listed.
enum { SHORT_ANSWER = 18, LASTING = 64, TELLING_LOOKUPS = 4 };
// Of a file that the kernel gets with its first open.
enum { SMALL_FILE = 16 << 10 };

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static const char *mount_point;
static struct fuse_session *session;
static atomic_int long_answers, lookups;
static atomic_uint_least64_t names_only;

static void begin_change(void) { pthread_rwlock_wrlock(&lock); }
static void begin_look(void) { pthread_rwlock_rdlock(&lock); }
static void end(void) { pthread_rwlock_unlock(&lock); }

static struct stat status_of(const struct inode *inode) {
  bool is_directory = S_ISDIR(inode->mode);
  return (struct stat){
      .st_ino = inode->number,
      .st_mode = inode->mode,
      .st_nlink = is_directory ? 1 : inode->names,
      .st_uid = inode->uid,
      .st_gid = inode->gid,
      .st_size = (off_t)(is_directory ? inode->children * 32UL : inode->size),
      .st_blksize = 4096,
      .st_blocks = (blkcnt_t)((inode->size + 4095) / 4096 * 8),
      .st_atim = inode->accessed,
      .st_mtim = inode->modified,
      .st_ctim = inode->changed};
}

// Gives the kernel a reference.
static struct fuse_entry_param entry_of(struct inode *inode) {
  __atomic_add_fetch(&inode->lookups, 1, __ATOMIC_RELAXED);
  return (struct fuse_entry_param){
      .ino = inode->number,
      .generation = inode->generation,
      .attr = status_of(inode),
      .attr_timeout = cache_seconds,
      .entry_timeout = cache_seconds};
}

static void configure(void *data, struct fuse_conn_info *connection) {
  (void)data;
  const uint64_t unwanted[] = {
      cfuse_cap_splice_read,       cfuse_cap_splice_write,    cfuse_cap_splice_move,
      cfuse_cap_handle_killpriv,   cfuse_cap_writeback_cache, cfuse_cap_auto_inval_data,
      cfuse_cap_posix_acl};
  const uint64_t wanted[] = {
      cfuse_cap_async_read,        cfuse_cap_async_dio,       cfuse_cap_parallel_dirops,
      cfuse_cap_readdirplus,       cfuse_cap_readdirplus_auto, cfuse_cap_cache_symlinks,
      cfuse_cap_atomic_o_trunc,    cfuse_cap_dont_mask,       cfuse_cap_handle_killpriv_v2};
  for (size_t i = 0; i < sizeof(unwanted) / sizeof(*unwanted); i++)
    cfuse_set_wanted(connection, unwanted[i], 0);
  for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
    if (cfuse_is_capable(connection, wanted[i]))
      cfuse_set_wanted(connection, wanted[i], 1);
  connection->max_background = 64;
  connection->congestion_threshold = 48;
}

// The kernel gives a mount 128 KiB of read-ahead; root may set what fsmount has.
static void set_read_ahead(void *argument) {
  (void)argument;
  FILE *table = fopen("/proc/self/mountinfo", "re");
  char line[8192], device[64], point[4096], path[128];
  while (table && fgets(line, sizeof(line), table)) {
    if (sscanf(line, "%*d %*d %63s %*s %4095s", device, point) != 2 ||
        strcmp(point, mount_point) != 0)
      continue;
    snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", device);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
      // Nothing is lost when it is refused.
      if (write(file, "1024", 4) < 0) perror(path);
      close(file);
    }
  }
  if (table) fclose(table);
}

// Names.

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  begin_look();
  struct entry *found = memory_find(parent, name);
  struct fuse_entry_param entry = {.entry_timeout = cache_seconds};
  if (found) entry = entry_of(memory_inode(found->inode));
  end();
  if (found && !S_ISDIR(entry.attr.st_mode) && names_only == parent && ++lookups == TELLING_LOOKUPS)
    long_answers = LASTING;
  fuse_reply_entry(request, &entry);
}

static void forget_one(fuse_ino_t number, uint64_t count) {
  struct inode *inode = memory_inode(number);
  inode->lookups -= count < inode->lookups ? count : inode->lookups;
  if (inode->lookups == 0) inode->was_opened = false;
  memory_drop(inode);
}

static void forget(fuse_req_t request, fuse_ino_t number, uint64_t count) {
  begin_change();
  forget_one(number, count);
  end();
  fuse_reply_none(request);
}

static void forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *list) {
  begin_change();
  for (size_t i = 0; i < count; i++) forget_one(list[i].ino, list[i].nlookup);
  end();
  fuse_reply_none(request);
}

// A new inode with a name; 0 or an errno.
static int make(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, const char *target,
    struct fuse_entry_param *entry) {
  const struct fuse_ctx *caller = fuse_req_ctx(request);
  begin_change();
  int code = memory_find(parent, name) ? EEXIST : 0;
  struct inode *inode = code == 0 ? memory_make(mode, caller->uid, caller->gid) : NULL;
  if (code == 0 && !inode) code = ENOSPC;
  if (code == 0 && target) {
    size_t length = strlen(target);
    if (memory_resize(inode, length))
      memcpy(inode->bytes, target, length);
    else
      code = ENOSPC;
  }
  if (code == 0) code = memory_add(memory_inode(parent), name, inode);
  if (code == 0) {
    inode->was_opened = true;
    *entry = entry_of(inode);
  } else if (inode) {
    memory_drop(inode);
  }
  end();
  return code;
}

static void make_node(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, const char *target) {
  struct fuse_entry_param entry;
  int code = make(request, parent, name, mode, target, &entry);
  if (code == 0)
    fuse_reply_entry(request, &entry);
  else
    fuse_reply_err(request, code);
}

static mode_t masked(fuse_req_t request, mode_t mode) {
  return mode & ~fuse_req_ctx(request)->umask;
}

static void mkdir_(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
  make_node(request, parent, name, S_IFDIR | masked(request, mode), NULL);
}

static void symlink_(
    fuse_req_t request, const char *target, fuse_ino_t parent, const char *name) {
  make_node(request, parent, name, S_IFLNK | 0777, target);
}

static int take_away(fuse_ino_t parent, const char *name) {
  struct entry *entry = memory_find(parent, name);
  if (!entry) return ENOENT;
  if (memory_inode(entry->inode)->children > 0) return ENOTEMPTY;
  memory_remove(entry);
  return 0;
}

static void unlink_(fuse_req_t request, fuse_ino_t parent, const char *name) {
  begin_change();
  int code = take_away(parent, name);
  end();
  fuse_reply_err(request, code);
}

static void rename_(
    fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
    const char *new_name, unsigned flags) {
  if (flags & ~(unsigned)RENAME_NOREPLACE) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  begin_change();
  struct entry *old = memory_find(parent, name), *target = memory_find(new_parent, new_name);
  int code = !old ? ENOENT : target && flags ? EEXIST : 0;
  if (code == 0 && target != old) {
    struct inode *inode = memory_inode(old->inode);
    if (target) code = take_away(new_parent, new_name);
    if (code == 0) code = memory_add(memory_inode(new_parent), new_name, inode);
    if (code == 0) memory_remove(old);
  }
  end();
  fuse_reply_err(request, code);
}

static void readlink_(fuse_req_t request, fuse_ino_t number) {
  char target[4096];
  begin_look();
  struct inode *inode = memory_inode(number);
  size_t length = inode->size < sizeof(target) ? inode->size : sizeof(target) - 1;
  memcpy(target, inode->bytes, length);
  end();
  target[length] = 0;
  fuse_reply_readlink(request, target);
}

// Attributes.

static void getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
  (void)file;
  begin_look();
  struct stat status = status_of(memory_inode(number));
  end();
  fuse_reply_attr(request, &status, cache_seconds);
}

static void setattr(
    fuse_req_t request, fuse_ino_t number, struct stat *wanted, int fields,
    struct fuse_file_info *file) {
  (void)file;
  begin_change();
  struct inode *inode = memory_inode(number);
  clock_gettime(CLOCK_REALTIME, &inode->changed);
  bool fits = true;
  if (fields & FUSE_SET_ATTR_SIZE) {
    fits = memory_resize(inode, (size_t)wanted->st_size);
    inode->modified = inode->changed;
  }
  if (fields & FUSE_SET_ATTR_MODE) inode->mode = (inode->mode & S_IFMT) | (wanted->st_mode & 07777);
  if (fields & FUSE_SET_ATTR_UID) inode->uid = wanted->st_uid;
  if (fields & FUSE_SET_ATTR_GID) inode->gid = wanted->st_gid;
  if (fields & FUSE_SET_ATTR_ATIME) inode->accessed = wanted->st_atim;
  if (fields & FUSE_SET_ATTR_MTIME) inode->modified = wanted->st_mtim;
  if (fields & FUSE_SET_ATTR_ATIME_NOW) inode->accessed = inode->changed;
  if (fields & FUSE_SET_ATTR_MTIME_NOW) inode->modified = inode->changed;
  struct stat status = status_of(inode);
  end();
  if (fits)
    fuse_reply_attr(request, &status, cache_seconds);
  else
    fuse_reply_err(request, EFBIG);
}

static void statfs_(fuse_req_t request, fuse_ino_t number) {
  (void)number;
  struct statvfs result = {
      .f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1UL << 30, .f_bfree = 1UL << 29,
      .f_bavail = 1UL << 29, .f_namemax = 255};
  fuse_reply_statfs(request, &result);
}

// Attributes of users are taken and dropped. An access list of three entries is what cp(1) gives a
// file its mode by.
static void setxattr_(
    fuse_req_t request, fuse_ino_t number, const char *name, const char *value, size_t size,
    int flags) {
  (void)flags;
  int code = strncmp(name, "user.", 5) == 0 ? 0 : EOPNOTSUPP;
  if (strcmp(name, "system.posix_acl_access") == 0 && size == 28) {
    mode_t mode = (mode_t)(value[6] << 6 | value[14] << 3 | value[22]) & 0777;
    begin_change();
    struct inode *inode = memory_inode(number);
    inode->mode = (inode->mode & ~0777U) | mode;
    end();
    code = 0;
  }
  fuse_reply_err(request, code);
}

static void getxattr_(fuse_req_t request, fuse_ino_t number, const char *name, size_t size) {
  (void)number, (void)name, (void)size;
  fuse_reply_err(request, ENODATA);
}

static void removexattr_(fuse_req_t request, fuse_ino_t number, const char *name) {
  (void)number, (void)name;
  fuse_reply_err(request, ENODATA);
}

static void listxattr_(fuse_req_t request, fuse_ino_t number, size_t size) {
  (void)number;
  if (size == 0)
    fuse_reply_xattr(request, 0);
  else
    fuse_reply_buf(request, NULL, 0);
}

// Content.

static void prepare_open(struct fuse_file_info *file) {
  file->keep_cache = 1;
  file->noflush = 1;
}

// Under the lock, so that no program has the file open before the kernel has its content.
static void give_content(struct inode *inode, int flags) {
  bool is_wanted = !inode->was_opened && (flags & O_ACCMODE) != O_WRONLY &&
                   !(flags & (O_TRUNC | O_DIRECT)) && inode->size > 0 && inode->size <= SMALL_FILE;
  inode->was_opened = true;
  if (!is_wanted) return;
  struct fuse_bufvec vector = FUSE_BUFVEC_INIT(inode->size);
  vector.buf[0].mem = inode->bytes;
  fuse_lowlevel_notify_store(session, inode->number, 0, &vector, (enum fuse_buf_copy_flags)0);
}

static void open_(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
  begin_change();
  struct inode *inode = memory_inode(number);
  if (file->flags & O_TRUNC) {
    memory_resize(inode, 0);
    clock_gettime(CLOCK_REALTIME, &inode->modified);
    inode->changed = inode->modified;
  }
  give_content(inode, file->flags);
  end();
  prepare_open(file);
  fuse_reply_open(request, file);
}

static void create(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
    struct fuse_file_info *file) {
  struct fuse_entry_param entry;
  int code = make(request, parent, name, S_IFREG | masked(request, mode & ~S_IFMT), NULL, &entry);
  prepare_open(file);
  if (code == 0)
    fuse_reply_create(request, &entry, file);
  else
    fuse_reply_err(request, code);
}

static void read_(
    fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
    struct fuse_file_info *file) {
  (void)file;
  begin_look();
  const struct inode *inode = memory_inode(number);
  size_t start = (size_t)offset < inode->size ? (size_t)offset : inode->size;
  size_t count = inode->size - start < size ? inode->size - start : size;
  fuse_reply_buf(request, inode->bytes + start, count);
  end();
}

static void write_(
    fuse_req_t request, fuse_ino_t number, const char *bytes, size_t size, off_t offset,
    struct fuse_file_info *file) {
  (void)file;
  begin_change();
  struct inode *inode = memory_inode(number);
  size_t last = (size_t)offset + size;
  bool fits = last <= inode->size || memory_resize(inode, last);
  if (fits) memcpy(inode->bytes + offset, bytes, size);
  clock_gettime(CLOCK_REALTIME, &inode->modified);
  inode->changed = inode->modified;
  end();
  if (fits)
    fuse_reply_write(request, size);
  else
    fuse_reply_err(request, EFBIG);
}

static void release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
  (void)number, (void)file;
  fuse_reply_err(request, 0);
}

static void fsync_(
    fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *file) {
  (void)number, (void)data_only, (void)file;
  fuse_reply_err(request, 0);
}

// Directories.

static void opendir_(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
  file->keep_cache = 1;
  file->cache_readdir = memory_inode(number)->was_listed ? 1 : 0;
  fuse_reply_open(request, file);
}

static void list(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, bool plus) {
  char *buffer = malloc(size);
  size_t used = 0, left = SIZE_MAX;
  if (offset > 0 && plus)
    long_answers = LASTING;
  else if (offset > 0 && atomic_exchange(&names_only, number) != number)
    lookups = 0;
  else if (offset == 0 && plus && long_answers-- <= 0)
    left = SHORT_ANSWER, long_answers = 0;

  begin_change();
  struct inode *directory = memory_inode(number);
  directory->was_listed = true;
  // The first two places are those of "." and "..".
  size_t places = memory_places(directory) + 2;
  for (size_t place = (size_t)offset; place < places && left > 0; place++) {
    struct entry *entry = place < 2 ? NULL : memory_listed(directory, place - 2);
    if (place >= 2 && !entry) continue;
    const char *name = place == 0 ? "." : place == 1 ? ".." : entry->name;
    uint64_t child = place == 0 ? number : place == 1 ? directory->parent : entry->inode;
    struct inode *inode = memory_inode(child);
    struct stat status = status_of(inode);
    size_t room = size - used, length;
    if (plus) {
      struct fuse_entry_param param = {.attr = status};
      // A reference is given only with an entry that is sent.
      bool has_room = fuse_add_direntry_plus(request, NULL, 0, name, NULL, 0) <= room;
      if (has_room && place >= 2) param = entry_of(inode);
      length = fuse_add_direntry_plus(
          request, buffer + used, room, name, &param, (off_t)place + 1);
    } else {
      length = fuse_add_direntry(request, buffer + used, room, name, &status, (off_t)place + 1);
    }
    if (length > room) break;
    used += length;
    left--;
  }
  end();
  fuse_reply_buf(request, buffer, used);
  free(buffer);
}

static void readdir_(
    fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
    struct fuse_file_info *file) {
  (void)file;
  list(request, number, size, offset, false);
}

static void readdirplus(
    fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
    struct fuse_file_info *file) {
  (void)file;
  list(request, number, size, offset, true);
}

static const struct fuse_lowlevel_ops operations = {
    .init = configure,
    .lookup = lookup,
    .forget = forget,
    .forget_multi = forget_multi,
    .getattr = getattr,
    .setattr = setattr,
    .readlink = readlink_,
    .mkdir = mkdir_,
    .unlink = unlink_,
    .rmdir = unlink_,
    .symlink = symlink_,
    .rename = rename_,
    .open = open_,
    .create = create,
    .read = read_,
    .write = write_,
    .release = release,
    .fsync = fsync_,
    .opendir = opendir_,
    .readdir = readdir_,
    .readdirplus = readdirplus,
    .releasedir = release,
    .fsyncdir = fsync_,
    .statfs = statfs_,
    .setxattr = setxattr_,
    .getxattr = getxattr_,
    .listxattr = listxattr_,
    .removexattr = removexattr_};

int main(int count, char **arguments) {
  bool has_options = count == 5 && strcmp(arguments[1], "-o") == 0;
  if (count != 3 && !has_options) {
    fprintf(stderr, "usage: %s [-o OPTIONS] FILE DIRECTORY\n", arguments[0]);
    return 2;
  }
  char options[4096];
  snprintf(
      options, sizeof(options), "fsname=emptyserver,subtype=emptyserver,rw%s%s",
      has_options ? "," : "", has_options ? arguments[2] : "");
  const char *path = arguments[count - 2];
  mount_point = arguments[count - 1];

  int code = memory_open(path);
  if (code != 0) {
    fprintf(stderr, "%s: %s\n", path, strerror(code));
    return 1;
  }
  struct fuse_conn_info_opts *connection_options = NULL;
  char *session_arguments[] = {arguments[0], "-o", options, NULL};
  session = cfuse_session_new(3, session_arguments, &operations, NULL, &connection_options);
  if (!session) return 1;
  cfuse_set_serving_handler(set_read_ahead, NULL);
  int status = cfuse_session_mount(session, mount_point);
  if (status == 0) {
    status = cfuse_session_loop(session, 16, 0);
    fuse_session_unmount(session);
  }
  fuse_session_destroy(session);
  free(connection_options);
  return status == 0 ? 0 : 1;
}
