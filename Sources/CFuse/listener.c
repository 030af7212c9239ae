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
//    another thread, which listens at once. What a client leaves behind without waiting (releases,
//    what forgets) is no such request, neither as the first nor as the second: it would have two
//    threads take turns, on two processors, for a client that one serves in half the time.
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
//    not help of late, nor on a single processor, nor on the client's, which could not run
//    meanwhile. It does not yield: it would be left out for a whole time slice, where it takes so
//    short a part of one.
// 8. Only a thread that listens alone is put on a processor, where `placement` says so. It leaves
//    that before it serves a request that may take long, and before it listens with others. A thread
//    that a placed one has made is put back when it first listens. So nothing but short requests is
//    served on one processor.
//
// `lock` is held for no system call but the wake-up of a thread, and no other lock is taken under
// it.
#define _GNU_SOURCE
#include "CFuse.h"
#include "processors.h"

#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
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

// From 128 KiB on two processors are quicker than one whatever a wake-up costs, as one copies while
// the other does.
static const size_t large_request = 128 << 10;

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
// Of the last request but those that nobody waits for: the thread that sent it, and whether another was ready
// when it was taken.
static uint32_t last_client;
static bool left_another;
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

static struct cfuse_placement placement;
static enum cfuse_placement_mode placement_mode;

// Of a thread that listens alone.
static int64_t spin = longest_spin;

// Where this thread has been put, -1 for nowhere. One that has not listened yet may have been made
// by one that was put somewhere.
enum { NOWHERE = -1, UNKNOWN_PLACE = -2 };
static _Thread_local int own_place = UNKNOWN_PLACE;
// Where this thread was last put, and may still be though nothing holds it there. A thread that
// always finds the next request ready never sleeps, so that the scheduler has no occasion to move
// it.
static _Thread_local int left_place = NOWHERE;
static atomic_bool has_placed_threads;

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
  bool found_another;
};

// Whether an ioctl may take long: our own, btrfs's, and what trims or shuts down. Any file that is
// opened may be asked whether it is a terminal.
static bool is_command(uint32_t command) {
  return _IOC_TYPE(command) == 0xf5 || _IOC_TYPE(command) == 0x94 || command == FITRIM ||
         command == _IOR('X', 125, uint32_t);
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

// The thread that sent it, where the kernel says so.
static uint32_t client_of(const void *buffer, ssize_t size) {
  const struct fuse_in_header *header = buffer;
  return size >= (ssize_t)sizeof(*header) ? header->pid : 0;
}

static bool is_transfer(const void *buffer, ssize_t size) {
  const struct fuse_in_header *header = buffer;
  return size >= (ssize_t)sizeof(*header) &&
         (header->opcode == FUSE_READ || header->opcode == FUSE_WRITE);
}

static enum cfuse_request_size size_of(const void *buffer, ssize_t size) {
  const struct fuse_in_header *header = buffer;
  if (size < (ssize_t)sizeof(*header))
    return CFUSE_UNANSWERED_REQUEST;
  switch (header->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_INTERRUPT:
      return CFUSE_UNANSWERED_REQUEST;
    case FUSE_READ: {
      const struct fuse_read_in *request = (const void *)(header + 1);
      bool is_whole = size >= (ssize_t)(sizeof(*header) + sizeof(*request));
      return is_whole && request->size >= large_request ? CFUSE_LARGE_REQUEST : CFUSE_SMALL_REQUEST;
    }
    default:
      return (size_t)size >= large_request ? CFUSE_LARGE_REQUEST : CFUSE_SMALL_REQUEST;
  }
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static unsigned processors(void) {
  static atomic_uint known;
  unsigned count = atomic_load_explicit(&known, memory_order_relaxed);
  if (count == 0) {
    int processors[CFUSE_MOST_PROCESSORS];
    count = processors_of_process(processors, CFUSE_MOST_PROCESSORS);
    count = count > 0 ? count : 1;
    atomic_store_explicit(&known, count, memory_order_relaxed);
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

// Where to listen.

void cfuse_set_placement_mode(enum cfuse_placement_mode mode) {
  int processors[CFUSE_MOST_PROCESSORS + 1];
  unsigned count = processors_of_process(processors, CFUSE_MOST_PROCESSORS + 1);
  pthread_mutex_lock(&lock);
  placement_mode = mode;
  cfuse_placement_begin(&placement, processors, mode == CFUSE_PLACE_FREE ? 0 : count);
  if (mode == CFUSE_PLACE_LOCAL) {
    placement.prefers_local = true;
    placement.next_contest = INT64_MAX;
  }
  pthread_mutex_unlock(&lock);
}

struct cfuse_placement cfuse_current_placement(void) {
  pthread_mutex_lock(&lock);
  struct cfuse_placement current = placement;
  pthread_mutex_unlock(&lock);
  return current;
}

static void move_to(int place) {
  bool is_there = own_place == place || (own_place == UNKNOWN_PLACE && place == NOWHERE &&
                                         !atomic_load(&has_placed_threads));
  if (is_there)
    return;
  if (place != NOWHERE)
    atomic_store(&has_placed_threads, true);
  if (run_on_processor(place)) {
    own_place = place;
    left_place = place == NOWHERE ? left_place : place;
    return;
  }
  pthread_mutex_lock(&lock);
  cfuse_placement_refused(&placement, nanoseconds());
  pthread_mutex_unlock(&lock);
  run_on_processor(NOWHERE);
  own_place = NOWHERE;
}

// Of a thread that listens alone: on return it is where it is to listen.
static void find_place(void) {
  int64_t now = nanoseconds();
  pthread_mutex_lock(&lock);
  bool needs_sample = cfuse_placement_wants_sample(&placement, now);
  uint32_t client = placement.client;
  int place = cfuse_placement_processor(&placement);
  pthread_mutex_unlock(&lock);

  // Its last request is answered: where the scheduler has put it upon that is where it sends the
  // next one from.
  if (needs_sample) {
    int processor = last_processor_of(client);
    pthread_mutex_lock(&lock);
    if (client == placement.client)
      cfuse_placement_sampled(&placement, now, processor);
    place = cfuse_placement_processor(&placement);
    pthread_mutex_unlock(&lock);
  }
  if (place == NOWHERE && left_place != NOWHERE) {
    run_elsewhere(left_place);
    own_place = left_place = NOWHERE;
  }
  move_to(place);
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

// Under `lock`: whether the request waits behind another, or another behind it.
static bool note_request(struct listening listening, const void *buffer, ssize_t size) {
  if (size_of(buffer, size) == CFUSE_UNANSWERED_REQUEST) {
    left_another = false;
    return false;
  }
  // What is ready behind a client's second request in a row may be what it left behind: what kind it
  // is of shows when it is taken. Transfers come in several at a time.
  uint32_t client = client_of(buffer, size);
  bool is_behind = left_another;
  bool may_be_left = client == last_client && !is_transfer(buffer, size);
  last_client = client;
  left_another = listening.found_another;
  return is_behind || (listening.found_another && !may_be_left);
}

static void stop_listening(
    struct listening listening, const void *buffer, ssize_t size, enum kind kind) {
  int64_t now = nanoseconds();
  pthread_mutex_lock(&lock);
  listeners -= 1;
  requests += 1;
  if (note_request(listening, buffer, size))
    pressure = lasting_pressure;
  else if (pressure > 0)
    pressure -= 1;
  if (listening.deputy_took_over || in_work >= processors())
    parallel = lasting_parallel;
  else if (parallel > 0)
    parallel -= 1;

  if (size > 0) {
    bool is_crowded = pressure > 0 || parallel > 0 || in_work > 0 || listeners > 0;
    cfuse_placement_took(
        &placement, now, client_of(buffer, size), size_of(buffer, size), is_crowded);
  }
  bool is_slow = size > 0 && begin_work(kind);
  bool nobody_else_would =
      listeners == 0 && (is_slow || pressure > 0 || !has_deputy || deputy_sleeps);
  wakes_beside_slow += is_slow ? 1 : 0;
  if (waiting > 0 && (parallel > 0 || nobody_else_would))
    pthread_cond_signal(&turn);
  pthread_mutex_unlock(&lock);
}

static void listener_cancelled(void *argument) {
  struct listening *listening = argument;
  stop_listening(*listening, NULL, 0, QUICK);
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

static ssize_t listen_on_processor_of_client(
    int device, void *buffer, size_t size, struct listening *listening) {
  ssize_t count = read(device, buffer, size);
  int code = errno;
  listening->found_another = is_another_ready(device);
  errno = code;
  return count;
}

static ssize_t listen_alone(int device, void *buffer, size_t size, struct listening *listening) {
  find_place();
  if (own_place >= 0)
    return listen_on_processor_of_client(device, buffer, size, listening);

  if (is_ready(device)) {
    ssize_t count = read(device, buffer, size);
    int code = errno;
    // A client whose last request was just answered may have been as quick as this thread. Only a
    // second one tells of pressure.
    listening->found_another = is_another_ready(device);
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
  if (own_place == UNKNOWN_PLACE)
    move_to(NOWHERE);
  struct listening listening = start_listening();
  pthread_cleanup_push(listener_cancelled, &listening);
  if (listening.alone) {
    count = listen_alone(device, buffer, size, &listening);
  } else {
    move_to(NOWHERE);
    count = read(device, buffer, size);
  }
  pthread_cleanup_pop(false);

  int code = errno;
  enum kind kind = kind_of(buffer, count);
  stop_listening(listening, buffer, count, kind);
  if (kind != QUICK)
    move_to(NOWHERE);
  errno = code;
  return count;
}
