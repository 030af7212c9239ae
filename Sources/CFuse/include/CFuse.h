/// libfuse's low-level API, and what of it (and of POSIX) Swift cannot import by itself:
/// macros, versioned symbols, variable arguments, fork and signal handlers. No logic but how
/// requests come: over the device (listener.c has which thread waits for the next one, placement.c
/// where) or over io_uring (ring.c).
///
/// Compiles unchanged with libfuse 3.14 to 3.18.
#ifndef CFUSE_H
#define CFUSE_H

// Below 3.12 the multi-threaded loop is a macro with another configuration.
#define FUSE_USE_VERSION 312

#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Capabilities: their type differs from version to version.

static const uint64_t cfuse_cap_async_read = FUSE_CAP_ASYNC_READ;
static const uint64_t cfuse_cap_atomic_o_trunc = FUSE_CAP_ATOMIC_O_TRUNC;
static const uint64_t cfuse_cap_export_support = FUSE_CAP_EXPORT_SUPPORT;
static const uint64_t cfuse_cap_dont_mask = FUSE_CAP_DONT_MASK;
static const uint64_t cfuse_cap_splice_read = FUSE_CAP_SPLICE_READ;
static const uint64_t cfuse_cap_splice_write = FUSE_CAP_SPLICE_WRITE;
static const uint64_t cfuse_cap_splice_move = FUSE_CAP_SPLICE_MOVE;
static const uint64_t cfuse_cap_auto_inval_data = FUSE_CAP_AUTO_INVAL_DATA;
static const uint64_t cfuse_cap_readdirplus = FUSE_CAP_READDIRPLUS;
static const uint64_t cfuse_cap_readdirplus_auto = FUSE_CAP_READDIRPLUS_AUTO;
static const uint64_t cfuse_cap_async_dio = FUSE_CAP_ASYNC_DIO;
static const uint64_t cfuse_cap_writeback_cache = FUSE_CAP_WRITEBACK_CACHE;
static const uint64_t cfuse_cap_parallel_dirops = FUSE_CAP_PARALLEL_DIROPS;
static const uint64_t cfuse_cap_posix_acl = FUSE_CAP_POSIX_ACL;
static const uint64_t cfuse_cap_handle_killpriv = FUSE_CAP_HANDLE_KILLPRIV;
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
static const uint64_t cfuse_cap_handle_killpriv_v2 = FUSE_CAP_HANDLE_KILLPRIV_V2;
#else
/// Unknown to libfuse below 3.17: `cfuse_session_mount` sees to it.
static const uint64_t cfuse_cap_handle_killpriv_v2 = 0;
#endif
static const uint64_t cfuse_cap_cache_symlinks = FUSE_CAP_CACHE_SYMLINKS;

/// Whether the kernel offers `capability`.
int cfuse_is_capable(const struct fuse_conn_info *connection, uint64_t capability);

/// Whether `capability` is asked for.
int cfuse_is_wanted(const struct fuse_conn_info *connection, uint64_t capability);

/// Asks for `capability`, or for its absence.
void cfuse_set_wanted(struct fuse_conn_info *connection, uint64_t capability, int wanted);

// The session.

/// A session for the options `arguments` (the first is the program's name); NULL when one of
/// them is wrong. Options on the connection (max_background= and so on) go to
/// `connection_options`, for `fuse_apply_conn_info_opts` and then free(), in either case.
struct fuse_session *cfuse_session_new(
    int count, char **arguments, const struct fuse_lowlevel_ops *operations, void *user_data,
    struct fuse_conn_info_opts **connection_options);

/// Serves requests until the session ends; see fuse_session_loop_mt.
int cfuse_session_loop(struct fuse_session *session, unsigned max_threads, int clone_fd);

/// read(2) of the next request from `device`, as the loop's threads call it: they share the
/// listening, so that few are woken. Each takes one request, serves it, and calls again; they may
/// be cancelled in it.
ssize_t cfuse_next_request(int device, void *buffer, size_t size);

/// Called by the thread that serves a request, when it is about to send the answer to `device`.
void cfuse_will_answer(int device);

/// How often a thread that began to serve a request that may take long had another one listen.
uint64_t cfuse_wakes_beside_slow_requests(void);

// On which processor the listening thread waits (placement.c).

#define CFUSE_MOST_PROCESSORS 256

/// Requests, and the time between them.
struct cfuse_window {
  int64_t time;
  unsigned requests;
  /// How many more do not count, as the thread has just moved.
  unsigned unsettled;
};

/// A policy: what requests were taken, and where the client ran. Its fields are its own.
struct cfuse_placement {
  int processors[CFUSE_MOST_PROCESSORS];
  unsigned processor_count;

  uint32_t client;
  int score;
  unsigned unrest;
  int64_t last_request;

  int place;
  int64_t last_sample;
  bool is_guess;
  unsigned next_guess;
  int winner;

  bool prefers_local;
  bool tries_other;
  bool in_contest;
  unsigned pair;
  struct cfuse_window window, preferred, other;
  int64_t interval;
  int64_t next_contest;
  uint64_t contests;
  uint64_t changes;
};

enum cfuse_request_size {
  CFUSE_SMALL_REQUEST,
  CFUSE_LARGE_REQUEST,
  /// Nobody waits for an answer, nor does it name its client.
  CFUSE_UNANSWERED_REQUEST,
};

/// A policy for a process that may use `processors`.
void cfuse_placement_begin(
    struct cfuse_placement *placement, const int *processors, unsigned count);

/// A request of the thread `client` (0 if that is not known) was taken at `now`, in nanoseconds;
/// `is_crowded` when another one waits or is in work.
void cfuse_placement_took(
    struct cfuse_placement *placement, int64_t now, uint32_t client,
    enum cfuse_request_size size, bool is_crowded);

/// Whether it shall be found out where `placement->client` runs.
bool cfuse_placement_wants_sample(const struct cfuse_placement *placement, int64_t now);

/// The client was seen on `processor`, or, with -1, nobody can say where it is.
void cfuse_placement_sampled(struct cfuse_placement *placement, int64_t now, int processor);

/// The thread could not be put on the processor that was named.
void cfuse_placement_refused(struct cfuse_placement *placement, int64_t now);

/// Where the listening thread is to wait; -1: wherever the scheduler puts it.
int cfuse_placement_processor(const struct cfuse_placement *placement);

/// Which placements the listener uses: for tests and measurements.
enum cfuse_placement_mode { CFUSE_PLACE_AUTO, CFUSE_PLACE_LOCAL, CFUSE_PLACE_FREE };

/// Begins with a new policy; with CFUSE_PLACE_LOCAL without contests, and the local one preferred.
void cfuse_set_placement_mode(enum cfuse_placement_mode mode);

/// What the listener's policy says.
struct cfuse_placement cfuse_current_placement(void);

/// Whether requests are to come over io_uring where that is possible, and no more than `most_busy`
/// of those of one processor be served at a time (0: as many as suit). Called before
/// `cfuse_session_mount`.
void cfuse_use_ring(bool wanted, unsigned most_busy);

/// Whether there is a reason why requests do not come over io_uring, which is put into `text`. From
/// the call of the serving handler on it is final; before, that there is none means nothing.
bool cfuse_ring_obstacle(char *text, size_t size);

struct cfuse_ring_figures {
  unsigned queues;
  unsigned threads;
};

/// All are 0 while requests come over the device.
struct cfuse_ring_figures cfuse_ring_figures(void);

/// Memory of `size` bytes for the answer to the request that this thread is serving, from which
/// it need not be copied; NULL when there is none.
void *cfuse_answer_memory(size_t size);

/// Whether the answer that this thread gives goes out only when the callback has ended.
bool cfuse_answer_waits_for_callback(void);

/// Whether another thread may answer the request that this thread is serving. False when that is
/// so of too many.
bool cfuse_may_answer_later(void);

/// libfuse's messages go to `handler`, as text with a syslog level.
void cfuse_set_log_handler(void (*handler)(int level, const char *text));

/// From now on `handler` is called once with `argument`, on the thread that answers the mount's
/// first request, when the kernel has the answer: from then on it serves all requests.
void cfuse_set_serving_handler(void (*handler)(void *argument), void *argument);

/// fuse_session_mount, with a connection on which the kernel leaves it to us to take set-user-ID
/// bits off files (KILLPRIV_V2 of the protocol), in return for which it does not ask for
/// `security.capability` before each write; and on which it looks names up and lists in one
/// directory on several threads at a time (PARALLEL_DIROPS).
int cfuse_session_mount(struct fuse_session *session, const char *mount_point);

/// When the file was made that the getattr which this thread is serving asks about. The answer has it
/// where the kernel wants to know (STATX of the protocol, since Linux 6.6), else it is of no account.
/// With a thousand million nanoseconds or more it says that there is no such time.
void cfuse_note_birth(int64_t seconds, uint32_t nanoseconds);

/// Whether the request that this thread is serving, a write or an open with O_TRUNC, comes from
/// a caller without the right to keep set-user-ID bits (CAP_FSETID), as the kernel has found.
/// libfuse has no function for that; it serves a request on the thread that read it.
bool cfuse_request_drops_privileges(void);

// Data.

/// The memory of `vector` when it is one piece of memory, with its size; NULL when it is not.
const void *cfuse_memory(const struct fuse_bufvec *vector, size_t *size);

/// Copies what `vector` holds to `memory`; the number of bytes, or a negative errno.
ssize_t cfuse_copy(struct fuse_bufvec *vector, void *memory, size_t size);

// The process, and GNU's part of the C library.

/// pipe2 with O_CLOEXEC.
int cfuse_pipe(int ends[2]);

/// syncfs
int cfuse_syncfs(int descriptor);

/// O_DIRECT, which differs from one kind of processor to another.
int cfuse_open_direct(void);

pid_t cfuse_fork(void);

/// The name of an errno, "ENOSPC"; NULL when it has none.
const char *cfuse_error_name(int code);

/// Has the kernel write back what it holds of the mount at `path`, then unmounts it; an errno, or
/// 0. A child does so, which shares no descriptor with this process: a thread of the process that
/// serves the mount would wait for its own answers, and could not even be killed meanwhile.
int cfuse_unmount_by_child(const char *path);

/// A descriptor for the process at the other end of the Unix socket `connection`, which becomes
/// readable when that process has ended; negative when there is none to be had.
int cfuse_open_peer_process(int connection);

/// Makes malloc use few arenas, where by default it has eight for each processor that all keep
/// what was freed in them, and give large pieces back to the system at once.
void cfuse_bound_malloc(void);

/// From now on SIGINT, SIGTERM and SIGHUP are written as one byte each to `descriptor`, SIGPIPE
/// is ignored, and SIGUSR1 does nothing but interrupt a system call.
int cfuse_catch_signals(int descriptor);

#endif
