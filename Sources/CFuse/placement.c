// On which processor the listening thread waits: wherever the scheduler puts it, or on the one that
// the client runs on.
//
// A client that waits for its answer and a server that waits for its requests hardly ever run at
// the same time. On one processor each goes on when the other sleeps; on two, each request and each
// answer wakes a processor, or finds one that computes for somebody else. Which is quicker differs
// from machine to machine and from minute to minute: to wake a processor takes 2 us, or 40 on a
// virtual machine; and where another one is idle, the scheduler moves a client away from the server
// as soon as an answer wakes it. So nothing is presumed: both placements are compared while the
// client works, and the better one is used.
//
// This is the policy alone: it makes no system call, has no clock and no lock. It is told of
// requests and of where the client was seen to run; what it says is one processor, or none.
//
// Invariants:
// 1. No processor is named but while one client dominates, its requests are small, and none waits
//    behind another (`is_local_possible`).
// 2. A processor is named only while the local placement is preferred or tried. Where the client
//    runs is asked for only then, and not more often than once in `sampling_interval`.
// 3. A placement becomes the preferred one only by a contest: windows of both in turns, `pairs` of
//    each, the preferred one's first, in which it took less time for a request, by `margin` or more.
// 4. A contest is lost with the first pair after which the other placement is not better, and as
//    soon as a window of the other one is plainly worse (`is_hopeless`). The time between contests
//    doubles with each that is lost, up to `longest_interval`. So what trying costs is bounded: in
//    the long run the other placement is in effect for `shortest_window` in `longest_interval`
//    (0.4 %) where a request takes less than 125 us, and never for more than `longest_window` in it
//    (2 %). A contest that is broken off counts as lost once the other placement was tried in it.
// 5. A window counts the time from one request of the client to the next, and no pause.
// 6. A refusal by the system ends preference and contest; the next contest begins after
//    `longest_interval`.
// 7. Where nobody can say where the client runs (another pid name space), each contest tries
//    another processor, and one that won stays.
// 8. With a single processor, or more than `CFUSE_MOST_PROCESSORS`, none is ever named.
#include "CFuse.h"

#include <string.h>

#define MILLISECOND (1000 * 1000)

// To ask for the processor takes 1.6 us, to follow a client 8 to 25: 2.5 % of this at most.
static const int64_t sampling_interval = MILLISECOND;

// A slice of the scheduler's lasts 1.4 to 4 ms. What is longer than a few of them is the client's
// own work, or a device's.
static const int64_t longest_pause = 10 * MILLISECOND;

// The thread moves at a window's beginning, which costs as much as two or three requests, and what
// it finds in the caches is cold: less than 1 % of a window of this length.
static const int64_t shortest_window = 4 * MILLISECOND;
static const int64_t longest_window = 20 * MILLISECOND;
// Fewer requests differ from one another by more than the placements do.
static const unsigned fewest = 32;
static const unsigned settling = 4;
// Enough for an interruption by another process not to look like what is the rule.
static const int64_t hopeless_after = MILLISECOND;
static const unsigned hopeless_requests = 8;

static const unsigned pairs = 4;
// In sixteenths. Two windows of one placement differ by about as much.
static const int64_t margin = 1;
static const int64_t first_interval = 100 * MILLISECOND;
static const int64_t longest_interval = 1000 * MILLISECOND;

// To move and to move back costs as much as five requests.
static const int most_score = 16;
static const int dominating = 12;
static const int score_of_another = 4;
static const unsigned lasting_unrest = 16;

void cfuse_placement_begin(
    struct cfuse_placement *placement, const int *processors, unsigned count) {
  memset(placement, 0, sizeof(*placement));
  placement->place = placement->winner = -1;
  placement->last_request = placement->last_sample = placement->next_contest = -1;
  placement->interval = first_interval;
  if (count > 1 && count <= CFUSE_MOST_PROCESSORS) {
    memcpy(placement->processors, processors, count * sizeof(*processors));
    placement->processor_count = count;
  }
}

static bool is_local_possible(const struct cfuse_placement *placement) {
  return placement->processor_count > 1 && placement->unrest == 0 &&
         placement->score >= dominating;
}

static bool is_local(const struct cfuse_placement *placement) {
  return is_local_possible(placement) && placement->prefers_local != placement->tries_other;
}

bool cfuse_placement_wants_sample(const struct cfuse_placement *placement, int64_t now) {
  return is_local(placement) && (placement->last_sample < 0 ||
                                 now - placement->last_sample >= sampling_interval);
}

int cfuse_placement_processor(const struct cfuse_placement *placement) {
  return is_local(placement) ? placement->place : -1;
}

// Contests.

static void begin_window(struct cfuse_placement *placement, bool of_other) {
  bool moves = placement->tries_other != of_other;
  placement->tries_other = of_other;
  placement->window = (struct cfuse_window){.unsettled = moves ? settling : 0};
  if (moves)
    placement->last_sample = -1;
}

static void lose_contest(struct cfuse_placement *placement, int64_t now) {
  placement->in_contest = false;
  placement->contests += 1;
  begin_window(placement, false);
  placement->interval *= 2;
  if (placement->interval > longest_interval)
    placement->interval = longest_interval;
  placement->next_contest = now + placement->interval;
}

static void win_contest(struct cfuse_placement *placement, int64_t now) {
  placement->in_contest = false;
  placement->contests += 1;
  placement->changes += 1;
  // The other placement, which is in effect, is the preferred one from here on.
  placement->prefers_local = !placement->prefers_local;
  placement->tries_other = false;
  placement->winner = placement->prefers_local && placement->is_guess ? placement->place : -1;
  placement->interval = first_interval;
  placement->next_contest = now + first_interval;
}

static void break_off_contest(struct cfuse_placement *placement, int64_t now) {
  if (placement->tries_other || placement->pair > 0)
    lose_contest(placement, now);
  placement->in_contest = false;
}

static void begin_contest(struct cfuse_placement *placement) {
  placement->in_contest = true;
  placement->pair = 0;
  placement->preferred = placement->other = (struct cfuse_window){.unsettled = 0};
  placement->next_guess = (placement->next_guess + 1) % placement->processor_count;
  begin_window(placement, false);
}

// Whether a request took longer in `slow` than in `quick`, by so many sixteenths at least.
static bool is_slower(struct cfuse_window slow, struct cfuse_window quick, int64_t sixteenths) {
  if (slow.requests == 0 || quick.requests == 0)
    return false;
  int64_t difference = slow.time / slow.requests - quick.time / quick.requests;
  return difference > 0 && difference * 16 >= quick.time / quick.requests * sixteenths;
}

static bool is_hopeless(const struct cfuse_placement *placement) {
  const struct cfuse_window *window = &placement->window;
  return placement->tries_other && window->time >= hopeless_after &&
         window->requests >= hopeless_requests && is_slower(*window, placement->preferred, 16);
}

static void add(struct cfuse_window *sum, struct cfuse_window window) {
  sum->time += window.time;
  sum->requests += window.requests;
}

static void end_window(struct cfuse_placement *placement, int64_t now) {
  if (!placement->tries_other) {
    add(&placement->preferred, placement->window);
    begin_window(placement, true);
    return;
  }

  add(&placement->other, placement->window);
  placement->pair += 1;
  bool is_last = placement->pair == pairs;
  if (!is_slower(placement->preferred, placement->other, is_last ? margin : 0))
    lose_contest(placement, now);
  else if (is_last)
    win_contest(placement, now);
  else
    begin_window(placement, false);
}

static void count_request(struct cfuse_placement *placement, int64_t now, int64_t time) {
  struct cfuse_window *window = &placement->window;
  if (window->unsettled > 0) {
    window->unsettled -= 1;
    return;
  }
  window->time += time;
  window->requests += 1;
  bool is_whole = window->time >= longest_window ||
                  (window->time >= shortest_window && window->requests >= fewest);
  if (is_whole || is_hopeless(placement))
    end_window(placement, now);
}

// Events.

static void note_client(struct cfuse_placement *placement, uint32_t client) {
  if (client == placement->client) {
    placement->score += placement->score < most_score ? 1 : 0;
    return;
  }
  placement->score -= score_of_another;
  if (placement->score >= 0)
    return;
  placement->client = client;
  placement->score = 1;
  placement->place = -1;
  placement->last_sample = -1;
}

void cfuse_placement_took(
    struct cfuse_placement *placement, int64_t now, uint32_t client,
    enum cfuse_request_size size, bool is_crowded) {
  if (placement->processor_count == 0 || size == CFUSE_UNANSWERED_REQUEST)
    return;

  bool follows_own = client == placement->client && placement->last_request >= 0;
  int64_t time = now - placement->last_request;
  placement->last_request = now;
  note_client(placement, client);
  if (size == CFUSE_LARGE_REQUEST || is_crowded)
    placement->unrest = lasting_unrest;
  else if (placement->unrest > 0)
    placement->unrest -= 1;

  if (!is_local_possible(placement)) {
    if (placement->in_contest)
      break_off_contest(placement, now);
  } else if (placement->in_contest) {
    if (follows_own && time <= longest_pause)
      count_request(placement, now, time);
  } else if (placement->next_contest < 0) {
    placement->next_contest = now + first_interval;
  } else if (now >= placement->next_contest) {
    begin_contest(placement);
  }
}

void cfuse_placement_sampled(struct cfuse_placement *placement, int64_t now, int processor) {
  placement->last_sample = now;
  placement->is_guess = processor < 0;
  if (processor >= 0)
    placement->place = processor;
  else if (placement->prefers_local && placement->winner >= 0)
    placement->place = placement->winner;
  else
    placement->place = placement->processors[placement->next_guess];
}

void cfuse_placement_refused(struct cfuse_placement *placement, int64_t now) {
  placement->interval = longest_interval;
  lose_contest(placement, now);
  placement->prefers_local = false;
  placement->place = placement->winner = -1;
}
