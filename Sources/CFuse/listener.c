// Which thread reads the next request.
//
// Were every idle thread to sleep in read(2), the kernel would wake the one that has slept longest,
// wherever it slept. To wake a processor that rests takes longer than to serve most requests, on
// virtual machines above all. So the thread that has served a request listens for the next one
// itself, at first without going to sleep when requests come in quick succession. Only when
// requests wait more than they compute do all idle threads sleep in read(2).
//
// Invariants:
// 1. One thread listens at a time, the others wait for their turn. While `parallel` lasts, all
//    listen that have nothing to do. A thread stops listening before it serves a request.
// 2. When a request is in work and no thread listens, then one does within two ticks: no request
//    waits for the end of another.
// 3. `pressure` lasts for some requests after one was found waiting behind another (there is more
//    than one client, or one that does not wait for its answers): each taker of a request wakes
//    another thread, which listens at once.
// 4. `parallel` lasts for some requests after one that was taken while as many were in work as there
//    are processors, or that had to wait for the deputy: requests wait for each other or for the
//    device, and those to come may be served together with them.
// 5. A thread that waits for its turn to listen is, if no other thread is, the deputy: it looks at
//    each tick whether 2 asks for a listener. After some ticks without requests it sleeps; the taker
//    of the next request then wakes it. More ticks would cost more than they bring: each wakes a
//    processor.
// 6. No request waits behind one that takes long (`slow`: a commit, a copy, an ioctl): the taker of
//    such a request wakes another thread, which listens at once, when those of its kind took as long
//    as `long_work` of late, or as `short_work` and others were kept waiting of late (`beside`). To
//    wait for a shorter one costs less than the second thread does: on a device that is quick,
//    fsyncs would take a third longer. Where a request turns out to take long unexpectedly, the
//    deputy listens at its next tick.
// 7. Only a thread that listens alone spins: not longer than `longest_spin`, nor when spinning did
//    not help of late, nor on a single processor. It does not yield: it would be left out for a
//    whole time slice, where it takes so short a part of one.
//
// `lock` is held for no system call but the wake-up of a thread, and no other lock is taken under
// it.
#define _GNU_SOURCE
#include "CFuse.h"

#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

static const int64_t longest_spin = 64 * 1000;   // ns
static const int64_t shortest_spin = 8 * 1000;   // ns
static const int64_t tick = 4 * 1000 * 1000;     // ns
static const unsigned ticks_to_sleep = 4;
// To wake a thread and to hand the listening over costs about 40 us: of `long_work` that is little
// even where nobody waits.
static const int64_t long_work = 1000 * 1000;    // ns
static const int64_t short_work = 250 * 1000;    // ns

// For how many requests they last; `beside`, for how many slow ones.
static const unsigned lasting_pressure = 8;
static const unsigned lasting_parallel = 1000;
static const unsigned lasting_beside = 8;

// Kinds of requests that may take long.
enum kind { QUICK, SYNCHRONIZATION, COPY, ALLOCATION, COMMAND, KINDS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;

// Under `lock`. One process serves one session.
static unsigned listeners;
static unsigned waiting;
static unsigned in_work;
static bool has_deputy;
static bool deputy_sleeps;
static unsigned pressure;
static unsigned parallel;
static unsigned beside;
static uint64_t requests;
static unsigned slow_in_work;
// When `slow_in_work` became more than 0.
static int64_t slow_since;
// How long those of each kind took of late: each shorter one takes a quarter off, as programs
// synchronize what is durable already between what is not. A mount's first ones are taken to be long.
#define UNKNOWN_TIME (4 * 1000 * 1000)
static int64_t recent_time[KINDS] = {0, UNKNOWN_TIME, UNKNOWN_TIME, UNKNOWN_TIME, UNKNOWN_TIME};
static uint64_t wakes_beside_slow;

// Of a thread that listens alone.
static int64_t spin = longest_spin;

// What a thread is serving.
struct work {
  bool exists;
  enum kind kind;
  int64_t start;
};

static _Thread_local struct work work;

// How a request was waited for.
struct listening {
  bool alone;
  bool deputy_took_over;
  bool found_behind_another;
};

// Whether an ioctl may take long: our own, btrfs's, and what trims or shuts down. Any file that is
// opened may be asked whether it is a terminal.
static bool is_command(uint32_t command) {
  return _IOC_TYPE(command) == 0xf5 || _IOC_TYPE(command) == 0x94 || command == FITRIM ||
         command == _IOR('X', 125, uint32_t);
}

static bool forgets(const void *buffer, ssize_t size) {
  const struct fuse_in_header *header = buffer;
  return size >= (ssize_t)sizeof(*header) &&
         (header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET);
}

static enum kind kind_of(const void *buffer, ssize_t size) {
  const struct fuse_in_header *header = buffer;
  if (size < (ssize_t)sizeof(*header))
    return QUICK;
  switch (header->opcode) {
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_SYNCFS:
      return SYNCHRONIZATION;
    case FUSE_COPY_FILE_RANGE:
      return COPY;
    case FUSE_FALLOCATE:
      return ALLOCATION;
    case FUSE_IOCTL: {
      const struct fuse_ioctl_in *command = (const void *)(header + 1);
      bool is_whole = size >= (ssize_t)(sizeof(*header) + sizeof(*command));
      return is_whole && is_command(command->cmd) ? COMMAND : QUICK;
    }
    default:
      return QUICK;
  }
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static unsigned processors(void) {
  static _Thread_local unsigned count;
  if (count == 0) {
    cpu_set_t set;
    count = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
  }
  return count;
}

static bool is_ready(int device) {
  struct pollfd request = {.fd = device, .events = POLLIN};
  return poll(&request, 1, 0) > 0;
}

// Waiting for the turn.

static bool is_turn(void) { return listeners == 0 || parallel > 0; }

struct waiter {
  bool is_deputy;
};

static void stop_waiting(void *argument) {
  struct waiter *waiter = argument;
  waiting -= 1;
  if (waiter->is_deputy)
    has_deputy = deputy_sleeps = false;
  pthread_mutex_unlock(&lock);
}

// Whether another thread woke this one.
static bool wait_for_tick(void) {
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_nsec += tick;
  if (end.tv_nsec >= 1000000000) {
    end.tv_nsec -= 1000000000;
    end.tv_sec += 1;
  }
  return pthread_cond_clockwait(&turn, &lock, CLOCK_MONOTONIC, &end) == 0;
}

// Under `lock`: as the deputy, until it is this thread's turn. Whether no other thread had said so.
static bool watch(void) {
  uint64_t seen = requests;
  unsigned quiet_ticks = 0;
  while (true) {
    bool woken;
    if (quiet_ticks < ticks_to_sleep) {
      woken = wait_for_tick();
    } else {
      deputy_sleeps = true;
      woken = pthread_cond_wait(&turn, &lock) == 0;
      deputy_sleeps = false;
    }

    bool quiet = requests == seen;
    // Another request behind the slow one is not known of.
    if (is_turn() && slow_in_work > 0 && nanoseconds() - slow_since >= long_work)
      return false;
    if (is_turn() && (woken || quiet))
      return !woken;
    quiet_ticks = quiet ? quiet_ticks + 1 : 0;
    seen = requests;
  }
}

// Under `lock`: a slow request of this thread is served. The thread may still have its work to end.
static void end_slow_work(void) {
  if (!work.exists || work.kind == QUICK)
    return;
  slow_in_work -= 1;
  // How long an ioctl takes depends on which it is.
  if (work.kind != COMMAND) {
    int64_t time = nanoseconds() - work.start;
    int64_t fading = recent_time[work.kind] - recent_time[work.kind] / 4;
    recent_time[work.kind] = time > fading ? time : fading;
  }
  work.kind = QUICK;
}

static void end_work(void) {
  end_slow_work();
  in_work -= work.exists ? 1 : 0;
  work.exists = false;
}

// Under `lock`: takes note of what this thread is going to serve. Whether another thread is to
// listen meanwhile.
static bool begin_work(enum kind kind) {
  // Another program's request, for it comes before the answer to the slow one.
  if (slow_in_work > 0)
    beside = lasting_beside;
  in_work += 1;
  work = (struct work){.exists = true, .kind = kind};
  if (kind == QUICK)
    return false;

  work.start = nanoseconds();
  if (slow_in_work++ == 0)
    slow_since = work.start;
  bool needs_another = recent_time[kind] >= (beside > 0 ? short_work : long_work);
  beside -= beside > 0 ? 1 : 0;
  return needs_another;
}

void cfuse_will_answer(int device) {
  if (!work.exists || work.kind == QUICK)
    return;
  // A request that is there before the answer is another program's.
  bool has_kept_others = is_ready(device);
  pthread_mutex_lock(&lock);
  if (has_kept_others)
    beside = lasting_beside;
  end_slow_work();
  pthread_mutex_unlock(&lock);
}

uint64_t cfuse_wakes_beside_slow_requests(void) {
  pthread_mutex_lock(&lock);
  uint64_t count = wakes_beside_slow;
  pthread_mutex_unlock(&lock);
  return count;
}

// On return this thread listens.
static struct listening start_listening(void) {
  struct listening listening = {.alone = false};
  struct waiter waiter = {.is_deputy = false};

  pthread_mutex_lock(&lock);
  end_work();

  waiting += 1;
  pthread_cleanup_push(stop_waiting, &waiter);
  while (!is_turn()) {
    if (has_deputy) {
      pthread_cond_wait(&turn, &lock);
    } else {
      has_deputy = waiter.is_deputy = true;
      listening.deputy_took_over = watch();
    }
  }
  listening.alone = listeners == 0 && parallel == 0;
  listeners += 1;
  pthread_cleanup_pop(true);
  return listening;
}

static void stop_listening(struct listening listening, bool took_request, enum kind kind) {
  pthread_mutex_lock(&lock);
  listeners -= 1;
  requests += 1;
  if (listening.found_behind_another)
    pressure = lasting_pressure;
  else if (pressure > 0)
    pressure -= 1;
  if (listening.deputy_took_over || in_work >= processors())
    parallel = lasting_parallel;
  else if (parallel > 0)
    parallel -= 1;

  bool is_slow = took_request && begin_work(kind);
  bool nobody_else_would =
      listeners == 0 && (is_slow || pressure > 0 || !has_deputy || deputy_sleeps);
  wakes_beside_slow += is_slow ? 1 : 0;
  if (waiting > 0 && (parallel > 0 || nobody_else_would))
    pthread_cond_signal(&turn);
  pthread_mutex_unlock(&lock);
}

static void listener_cancelled(void *argument) {
  struct listening *listening = argument;
  stop_listening(*listening, false, QUICK);
}

// Listening.

// As `is_ready`, for a thread that has taken a request: were it cancelled in poll(2), the request
// would be lost.
static bool is_another_ready(int device) {
  int state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
  bool ready = is_ready(device);
  pthread_setcancelstate(state, NULL);
  return ready;
}

static void adapt_spin(int64_t waited) {
  if (waited > longest_spin)
    spin = spin > shortest_spin ? spin / 2 : 0;
  else if (spin < longest_spin)
    spin = spin >= shortest_spin ? 2 * spin : shortest_spin;
}

static ssize_t listen_alone(int device, void *buffer, size_t size, struct listening *listening) {
  if (is_ready(device)) {
    ssize_t count = read(device, buffer, size);
    int code = errno;
    // A client whose last request was just answered may have been as quick as this thread. Only a
    // second one tells of pressure; and nobody waits for what forgets.
    listening->found_behind_another = !forgets(buffer, count) && is_another_ready(device);
    errno = code;
    return count;
  }

  int64_t start = nanoseconds();
  int64_t window = processors() > 1 ? spin : 0;
  while (nanoseconds() - start < window && !is_ready(device)) {
  }
  ssize_t count = read(device, buffer, size);
  int code = errno;
  adapt_spin(nanoseconds() - start);
  errno = code;
  return count;
}

ssize_t cfuse_next_request(int device, void *buffer, size_t size) {
  ssize_t count;
  struct listening listening = start_listening();
  pthread_cleanup_push(listener_cancelled, &listening);
  count = listening.alone ? listen_alone(device, buffer, size, &listening)
                          : read(device, buffer, size);
  pthread_cleanup_pop(false);

  int code = errno;
  stop_listening(listening, count > 0, kind_of(buffer, count));
  errno = code;
  return count;
}
