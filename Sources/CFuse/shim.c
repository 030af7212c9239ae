#define _GNU_SOURCE
#include "CFuse.h"
#include "birth.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int cfuse_is_capable(const struct fuse_conn_info *connection, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  return (connection->capable_ext & capability) != 0;
#else
  return (connection->capable & capability) != 0;
#endif
}

int cfuse_is_wanted(const struct fuse_conn_info *connection, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  return ((connection->want_ext | connection->want) & capability) != 0;
#else
  return (connection->want & capability) != 0;
#endif
}

void cfuse_set_wanted(struct fuse_conn_info *connection, uint64_t capability, int wanted) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  if (wanted)
    fuse_set_feature_flag(connection, capability);
  else
    fuse_unset_feature_flag(connection, capability);
#else
  if (wanted)
    connection->want |= (unsigned)capability;
  else
    connection->want &= ~(unsigned)capability;
#endif
}

struct fuse_session *cfuse_session_new(
    int count, char **arguments, const struct fuse_lowlevel_ops *operations, void *user_data,
    struct fuse_conn_info_opts **connection_options) {
  struct fuse_args args = FUSE_ARGS_INIT(count, arguments);
  struct fuse_session *session = NULL;

  *connection_options = fuse_parse_conn_info_opts(&args);
  if (*connection_options)
    session = fuse_session_new(&args, operations, sizeof(*operations), user_data);
  fuse_opt_free_args(&args);
  return session;
}

// What the request that this thread has taken last says of set-user-ID bits.
static _Thread_local bool request_drops_privileges;

bool cfuse_request_drops_privileges(void) { return request_drops_privileges; }

static bool drops_privileges(const struct fuse_in_header *header, size_t size) {
  const void *body = header + 1;
  switch (header->opcode) {
    case FUSE_WRITE: {
      const struct fuse_write_in *write = body;
      return size >= sizeof(*header) + sizeof(*write) &&
             (write->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
    }
    case FUSE_OPEN: {
      const struct fuse_open_in *open = body;
      return size >= sizeof(*header) + sizeof(*open) &&
             (open->open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
    }
    default:
      return false;
  }
}

// The number of the INIT request while it is not answered; else 0.
static atomic_uint_least64_t init_request;

static void (*serving_handler)(void *argument);
static void *serving_argument;

void cfuse_set_serving_handler(void (*handler)(void *argument), void *argument) {
  serving_handler = handler;
  serving_argument = argument;
}

// What we always want and libfuse below 3.17 does not pass on, whatever is asked of it.
static const uint32_t own_init_flags = FUSE_PARALLEL_DIROPS
#ifndef FUSE_CAP_HANDLE_KILLPRIV_V2
                                       | FUSE_HANDLE_KILLPRIV_V2
#endif
    ;

// Those of them that the kernel offers.
static atomic_uint_least32_t offered_init_flags;

static void note_init(const struct fuse_in_header *header, size_t size) {
  const struct fuse_init_in *init = (const void *)(header + 1);
  size_t end = offsetof(struct fuse_init_in, flags) + sizeof(init->flags);
  bool has_flags = size >= sizeof(*header) + end;
  atomic_store(&offered_init_flags, has_flags ? init->flags & own_init_flags : 0);
  transport_note_offer(init, size - sizeof(*header));
  atomic_store(&init_request, header->unique);
}

// Whether this is the answer to INIT, and says that requests will be served.
static bool completes_init(struct iovec *pieces, int count) {
  if (atomic_load_explicit(&init_request, memory_order_relaxed) == 0 || count != 2)
    return false;

  const struct fuse_out_header *header = pieces[0].iov_base;
  if (header->unique != atomic_load(&init_request))
    return false;
  atomic_store(&init_request, 0);
  if (header->error != 0)
    return false;

  struct fuse_init_out *init = pieces[1].iov_base;
  size_t end = offsetof(struct fuse_init_out, flags) + sizeof(init->flags);
  if (pieces[1].iov_len >= end)
    init->flags |= (uint32_t)atomic_load(&offered_init_flags);
  transport_prepare(init, pieces[1].iov_len);
  return true;
}

size_t transport_note_request(void *request, size_t size) {
  const struct fuse_in_header *header = request;
  request_drops_privileges = drops_privileges(header, size);
  if (header->opcode == FUSE_INIT)
    note_init(header, size);
  return birth_take(request, size);
}

static ssize_t read_request(int device, void *buffer, size_t size, void *user_data) {
  (void)user_data;
  ssize_t count = transport_receive(device, buffer, size);
  const struct fuse_in_header *header = buffer;
  if (count < (ssize_t)sizeof(*header))
    return count;

  return (ssize_t)transport_note_request(buffer, (size_t)count);
}

static ssize_t write_reply(int device, struct iovec *pieces, int count, void *user_data) {
  (void)user_data;
  bool is_init = completes_init(pieces, count);
  struct birth_answer room;
  birth_complete(pieces, count, &room);
  ssize_t written = transport_send(device, pieces, count);
  // By now the kernel has taken it over: it answers INIT within the call.
  if (is_init && written > 0) {
    transport_begin();
    if (serving_handler)
      serving_handler(serving_argument);
  }
  return written;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
// Below 3.17 libfuse does it itself whatever the functions for reading and writing are.
static int clone_device(int device) {
  int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  uint32_t source = (uint32_t)device;
  if (clone >= 0 && ioctl(clone, FUSE_DEV_IOC_CLONE, &source) != 0) {
    close(clone);
    clone = -1;
  }
  return clone;
}
#endif

static int use_own_io(struct fuse_session *session) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  const struct fuse_custom_io io = {
      .writev = write_reply, .read = read_request, .clone_fd = clone_device};
  return fuse_session_custom_io_317(session, &io, sizeof(io), fuse_session_fd(session));
#else
  const struct fuse_custom_io io = {.writev = write_reply, .read = read_request};
  return fuse_session_custom_io(session, &io, fuse_session_fd(session));
#endif
}

int cfuse_session_mount(struct fuse_session *session, const char *mount_point) {
  int status = fuse_session_mount(session, mount_point);
  if (status != 0)
    return status;

  status = use_own_io(session);
  if (status == 0)
    transport_begin_session(session, fuse_session_fd(session));
  else
    fuse_session_unmount(session);
  return status;
}

int cfuse_session_loop(struct fuse_session *session, unsigned max_threads, int clone_fd) {
  struct fuse_loop_config *config = fuse_loop_cfg_create();
  if (!config)
    return -ENOMEM;

  fuse_loop_cfg_set_max_threads(config, max_threads);
  fuse_loop_cfg_set_clone_fd(config, (unsigned)clone_fd);
  cfuse_set_placement_mode(CFUSE_PLACE_AUTO);
  int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  transport_end_session();
  return result;
}

static void (*log_handler)(int level, const char *text);

static void log_message(enum fuse_log_level level, const char *format, va_list arguments) {
  char text[1024];
  vsnprintf(text, sizeof(text), format, arguments);
  log_handler((int)level, text);
}

void transport_log(int level, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (log_handler)
    log_message((enum fuse_log_level)level, format, arguments);
  va_end(arguments);
}

void cfuse_set_log_handler(void (*handler)(int level, const char *text)) {
  log_handler = handler;
  fuse_set_log_func(log_message);
}

const void *cfuse_memory(const struct fuse_bufvec *vector, size_t *size) {
  const struct fuse_buf *piece = &vector->buf[vector->idx];
  if (vector->count != vector->idx + 1 || (piece->flags & FUSE_BUF_IS_FD))
    return NULL;

  *size = piece->size - vector->off;
  return (const char *)piece->mem + vector->off;
}

ssize_t cfuse_copy(struct fuse_bufvec *vector, void *memory, size_t size) {
  struct fuse_bufvec target = FUSE_BUFVEC_INIT(size);
  target.buf[0].mem = memory;
  return fuse_buf_copy(&target, vector, (enum fuse_buf_copy_flags)0);
}

int cfuse_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int cfuse_syncfs(int descriptor) { return syncfs(descriptor); }

pid_t cfuse_fork(void) { return fork(); }

const char *cfuse_error_name(int code) { return strerrorname_np(code); }

static void close_all(void) {
  if (syscall(SYS_close_range, 0U, ~0U, 0U) == 0)
    return;
  long most = sysconf(_SC_OPEN_MAX);
  for (int descriptor = 0; descriptor < most; descriptor++)
    close(descriptor);
}

int cfuse_unmount_by_child(const char *path) {
  pid_t child = fork();
  if (child < 0)
    return errno;
  if (child == 0) {
    // The connection first: with a descriptor of it open here, it would outlive the parent.
    close_all();
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root >= 0) {
      syncfs(root);
      close(root);
    }
    _exit(umount2(path, 0) == 0 ? 0 : errno);
  }

  int status;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR)
      return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

int cfuse_open_peer_process(int connection) {
  struct ucred peer;
  socklen_t size = sizeof(peer);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return -1;
  return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

void cfuse_bound_malloc(void) {
  mallopt(M_ARENA_MAX, 4);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
  mallopt(M_TOP_PAD, 256 << 10);
}

static volatile sig_atomic_t signal_descriptor;

static void pass_on_signal(int number) {
  int code = errno;
  unsigned char byte = (unsigned char)number;
  if (write(signal_descriptor, &byte, 1) < 0) {
    // The pipe is full: there are signals enough in it.
  }
  errno = code;
}

static void ignore_signal(int number) { (void)number; }

int cfuse_catch_signals(int descriptor) {
  signal_descriptor = descriptor;

  // Without SA_RESTART: a signal shall interrupt the wait of libfuse's main thread.
  struct sigaction passed = {.sa_handler = pass_on_signal};
  struct sigaction interrupting = {.sa_handler = ignore_signal};
  struct sigaction ignored = {.sa_handler = SIG_IGN};
  sigemptyset(&passed.sa_mask);
  sigemptyset(&interrupting.sa_mask);
  sigemptyset(&ignored.sa_mask);

  if (sigaction(SIGINT, &passed, NULL) || sigaction(SIGTERM, &passed, NULL) ||
      sigaction(SIGHUP, &passed, NULL) || sigaction(SIGUSR1, &interrupting, NULL) ||
      sigaction(SIGPIPE, &ignored, NULL))
    return -errno;
  return 0;
}

int cfuse_open_direct(void) { return O_DIRECT; }
