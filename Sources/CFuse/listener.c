// Which thread reads the next request.
//
// Were every idle thread to sleep in read(2), the kernel would wake the one that has slept longest,
// wherever it slept. To wake a processor that rests takes longer than to serve most requests, on
// virtual machines above all. So the thread that has served a request listens for the next one
// itself, at first without going to sleep when requests come in quick succession.
//
// Invariants:
// 1. At most one thread listens, that is, reads from the device. Who takes a request stops
//    listening before it is served.
// 2. When a request is in work and nobody listens, then somebody does within two ticks: no request
//    waits for the end of another.
// 3. Under pressure (requests were found waiting: there is more than one client, or one that does
//    not wait for its answers) the taker of a request wakes another thread, which listens at once.
// 4. A thread that waits for its turn to listen is, if nobody else is, the deputy: it looks at each
//    tick whether 2 asks for a listener. After some ticks without requests it sleeps; the taker of
//    the next request then wakes it. More ticks would cost more than they bring: each wakes a
//    processor.
// 5. Nobody spins longer than `longest_spin`, nor when spinning did not help of late, nor on a
//    single processor. Who spins does not yield: it would be left out for a whole time slice, where
//    it takes so short a part of one.
//
// `lock` is held for no system call but the wake-up of a thread, and no other lock is taken under
// it.
#define _GNU_SOURCE
#include "CFuse.h"

#include <errno.h>
#include <fcntl.h>
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

// For how many requests pressure lasts: after one that was found waiting behind another, and after
// one that waited for the deputy.
static const unsigned light_pressure = 8;
static const unsigned heavy_pressure = 10000;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;

// Under `lock`. One process serves one session.
static bool listening;
static bool deputy_took_over;
static bool has_deputy;
static bool deputy_sleeps;
static unsigned waiting;
static unsigned pressure;
static uint64_t requests;

// Of the listener alone.
static int64_t spin = longest_spin;

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool has_processors(void) {
  static _Thread_local int count;
  if (count == 0) {
    cpu_set_t set;
    count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  }
  return count > 1;
}

// Waiting for the turn.

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

// Whether somebody woke this thread.
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

// Under `lock`: as the deputy, until it is this thread's turn.
static void watch(void) {
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
    if (!listening && (woken || quiet)) {
      deputy_took_over = !woken;
      return;
    }
    quiet_ticks = quiet ? quiet_ticks + 1 : 0;
    seen = requests;
  }
}

// On return this thread listens.
static void become_listener(void) {
  pthread_mutex_lock(&lock);
  if (listening) {
    struct waiter waiter = {.is_deputy = false};
    waiting += 1;
    pthread_cleanup_push(stop_waiting, &waiter);
    while (listening) {
      if (has_deputy) {
        pthread_cond_wait(&turn, &lock);
      } else {
        has_deputy = waiter.is_deputy = true;
        watch();
      }
    }
    listening = true;
    pthread_cleanup_pop(true);
    return;
  }
  listening = true;
  pthread_mutex_unlock(&lock);
}

static void stop_listening(unsigned new_pressure) {
  pthread_mutex_lock(&lock);
  listening = false;
  deputy_took_over = false;
  requests += 1;
  if (new_pressure > pressure)
    pressure = new_pressure;
  else if (pressure > 0)
    pressure -= 1;
  if (waiting > 0 && (pressure > 0 || !has_deputy || deputy_sleeps))
    pthread_cond_signal(&turn);
  pthread_mutex_unlock(&lock);
}

static void listener_cancelled(void *unused) {
  (void)unused;
  stop_listening(0);
}

// Listening.

static void make_nonblocking(int device) {
  static _Thread_local int known = -1;
  if (device == known)
    return;
  int flags = fcntl(device, F_GETFL);
  if (flags >= 0)
    fcntl(device, F_SETFL, flags | O_NONBLOCK);
  known = device;
}

// `new_pressure`: what the request tells, by having been there before it was waited for.
static ssize_t listen_on(int device, void *buffer, size_t size, unsigned *new_pressure) {
  ssize_t count = read(device, buffer, size);
  if (count >= 0) {
    // A client whose last request was just answered may have been as quick as this thread. Only a
    // second one tells of pressure.
    struct pollfd next = {.fd = device, .events = POLLIN};
    if (deputy_took_over)
      *new_pressure = heavy_pressure;
    else if (poll(&next, 1, 0) > 0)
      *new_pressure = light_pressure;
    return count;
  }
  if (errno != EAGAIN)
    return count;

  int64_t start = nanoseconds();
  int64_t waited = 0;
  int64_t window = has_processors() ? spin : 0;
  while (true) {
    if (waited >= window) {
      struct pollfd request = {.fd = device, .events = POLLIN};
      if (poll(&request, 1, -1) < 0)
        return -1;
    }
    count = read(device, buffer, size);
    int code = errno;
    waited = nanoseconds() - start;
    errno = code;
    if (count >= 0 || code != EAGAIN)
      break;
  }

  if (waited > longest_spin)
    spin = spin > shortest_spin ? spin / 2 : 0;
  else if (spin < longest_spin)
    spin = spin >= shortest_spin ? 2 * spin : shortest_spin;
  return count;
}

ssize_t cfuse_next_request(int device, void *buffer, size_t size) {
  make_nonblocking(device);

  unsigned new_pressure = 0;
  ssize_t count;
  become_listener();
  pthread_cleanup_push(listener_cancelled, NULL);
  count = listen_on(device, buffer, size, &new_pressure);
  pthread_cleanup_pop(false);

  int code = errno;
  stop_listening(new_pressure);
  errno = code;
  return count;
}
