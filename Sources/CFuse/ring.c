// Requests over io_uring.
//
// The kernel has a queue for each processor that is possible, and puts a request into the queue of
// the processor on which the program runs that asks. An entry of a queue is a piece of memory into
// which the kernel copies one request, and from which it takes the answer. So a request costs one
// system call, which sends the last answer and waits for the next request; and as the thread that
// waits is bound to the queue's processor, no other processor has to be woken.
//
// Invariants:
// 1. Each thread (`worker`) has one entry and a ring of its own. The entry is free exactly when its
//    thread waits: no request waits for a thread that is busy with another while one is free.
// 2. Each queue has a worker from the beginning, as the kernel serves nothing before. A worker that
//    takes a request and leaves less than `spare` others free has another one made, up to
//    `most_busy` in one queue: so what takes long (an fsync, an ioctl) keeps nobody waiting. They are
//    made beforehand, because a new entry gets requests that come after it: those that wait in the
//    queue are taken by entries that were busy.
// 3. A worker whose request is answered by another thread waits for it, as only the worker can
//    send the answer. It does not count as busy, so that whatever the other thread waits for is
//    served; `cfuse_may_answer_later` bounds the number of them.
// 4. An answer waits for the end of the callback that gave it: sent earlier, the entry would be free
//    while its thread is busy.
// 5. Memory: an entry takes what the largest request or answer in it took, the header's page and
//    `largest_payload` at most; after `rest_seconds` of rest a small part of that.
//
// `lock` is held for no system call but to make a thread, and no other lock is taken under it.
#define _GNU_SOURCE
#include "transport.h"
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

// The protocol. Headers older than version 7.42 lack it, hence names of our own.

enum { command_register = 1, command_commit_and_fetch = 2 };

struct command {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue;
  uint8_t padding[6];
};

struct entry_header {
  // Of the request, then of the answer.
  char in_out[128];
  // The first argument of the request, in all kinds of requests that have one of fixed size.
  char operation[128];
  uint64_t flags;
  uint64_t commit_id;
  // Without the headers; of the request, then of the answer.
  uint32_t payload_size;
  uint32_t padding;
  uint64_t reserved;
};

// As many threads as serve a whole mount over the device on a machine of four processors.
static const unsigned standard_most_busy = 16;
static const unsigned most_answered_later = 8;
// Free workers of a machine; and of one queue, at most. An idle one takes about 60 KiB.
static const unsigned spare_of_all = 32;
static const unsigned most_spare = 8;
static const unsigned least_spare = 2;

// Requests after a long one.
static const unsigned lasting_freedom = 32;

// Memory that small requests need is kept.
static const size_t kept_payload = 64 << 10;
static const time_t rest_seconds = 2;

enum { tag_request, tag_stop };

enum phase { NONE, PREPARING, REGISTERING, RUNNING, ENDING };

struct queue {
  unsigned number;
  atomic_int free;
  // Under `lock`.
  unsigned workers;
  unsigned answered_later;
  unsigned being_made;
};

struct worker {
  struct worker *next;
  pthread_t thread;
  struct queue *queue;
  struct uring ring;

  char *memory;
  struct entry_header *header;
  char *payload;
  struct iovec pieces[2];
  // How much of the payload may have been touched.
  size_t touched;
  bool is_first;
  bool is_registering;
  // For how many more requests it is not bound to a processor.
  unsigned free_requests;

  // The request that is served and not answered; 0 when there is none.
  atomic_uint_least64_t request;
  // Whether the payload holds nothing of the request.
  bool has_free_payload;
  bool has_answer;
  // Another thread may answer, and is counted in `answered_later`.
  bool is_answered_later;
  // Under `lock`: the callback has ended.
  bool waits_for_answer;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

// Under `lock`. One process serves one session.
static enum phase phase;
static struct worker *workers;
static struct queue *queues;
static unsigned queue_count;
// Of the first workers, those that have done what the phase asks of them.
static unsigned done_count;
static int first_error;
static unsigned most_busy;
static int spare;

// Set before the first worker is made.
static struct transport_session session;
static size_t page_size;
static cpu_set_t all_processors;
// Becomes readable at the end.
static int stop_event = -1;

static atomic_bool is_running;
static _Thread_local struct worker *self;

// Where workers run.

static void bind(const cpu_set_t *set) {
  // Fails where the processor is off, or is none of ours. Then the scheduler goes on choosing one.
  pthread_setaffinity_np(pthread_self(), sizeof(*set), set);
}

static void bind_to_processor(unsigned number) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(number, &set);
  bind(&set);
}

// Whether to serve a request may take so much longer than to wake another processor that it is
// better to have one's choice.
static bool takes_long(const struct fuse_in_header *in, const void *operation) {
  switch (in->opcode) {
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_SYNCFS:
    case FUSE_COPY_FILE_RANGE:
    case FUSE_FALLOCATE:
      return true;
    case FUSE_IOCTL:
      // Many files are asked when they are opened whether they are terminals.
      return _IOC_TYPE(((const struct fuse_ioctl_in *)operation)->cmd) != 'T';
    default:
      return false;
  }
}

// Before a request is served. What takes long waits for other threads, which are woken and wake it: the
// scheduler knows best where. To bind the thread again moves it, so it stays free for some requests.
static void place(struct worker *worker, bool is_long) {
  bool was_free = worker->free_requests > 0;
  if (is_long)
    worker->free_requests = lasting_freedom;
  else if (was_free)
    worker->free_requests -= 1;

  if (is_long && !was_free)
    bind(&all_processors);
  else if (was_free && worker->free_requests == 0)
    bind_to_processor(worker->queue->number);
}

// Requests and answers.

// Puts the request's headers right before its payload, as libfuse wants it in one piece, and
// has libfuse serve it.
static void serve(struct worker *worker) {
  const struct fuse_in_header *in = (const void *)worker->header->in_out;
  size_t payload_size = worker->header->payload_size;
  size_t operation_size = in->len - sizeof(*in) - payload_size;
  if (operation_size > sizeof(worker->header->operation) ||
      payload_size > session.largest_payload) {
    // Never seen of a kernel. The request is answered all the same.
    operation_size = 0;
    payload_size = 0;
  }

  char *start = worker->payload - operation_size - sizeof(*in);
  memcpy(start, in, sizeof(*in));
  memcpy(start + sizeof(*in), worker->header->operation, operation_size);
  size_t size = sizeof(*in) + operation_size + payload_size;
  if (payload_size > worker->touched)
    worker->touched = payload_size;

  worker->has_answer = false;
  worker->has_free_payload = payload_size == 0;
  atomic_store_explicit(&worker->request, in->unique, memory_order_release);
  size = transport_note_request(start, size);
  const struct fuse_buf buffer = {.mem = start, .size = size};
  place(worker, takes_long(in, worker->header->operation));
  fuse_session_process_buf(session.session, &buffer);
}

// The payload of the answer: copied, unless it is there already.
static ssize_t put_answer(struct worker *worker, const struct iovec *pieces, int count) {
  const struct fuse_out_header *given = pieces[0].iov_base;
  struct fuse_out_header *out = (void *)worker->header->in_out;
  size_t size = 0;
  for (int index = 1; index < count; index++)
    size += pieces[index].iov_len;

  *out = *given;
  if (size > session.largest_payload) {
    // The kernel would not have taken it from the device either.
    out->error = -EIO;
    out->len = sizeof(*out);
    size = 0;
    count = 1;
  }
  char *end = worker->payload;
  for (int index = 1; index < count; index++) {
    if (pieces[index].iov_base != end)
      memmove(end, pieces[index].iov_base, pieces[index].iov_len);
    end += pieces[index].iov_len;
  }
  if (size > worker->touched)
    worker->touched = size;
  worker->header->payload_size = (uint32_t)size;
  worker->has_answer = true;
  atomic_store_explicit(&worker->request, 0, memory_order_relaxed);
  return (ssize_t)(sizeof(*out) + size);
}

// Under `lock`: the worker whose request another thread answers, when its callback has ended.
static struct worker *find(uint64_t request) {
  struct worker *worker = workers;
  while (worker && atomic_load(&worker->request) != request)
    worker = worker->next;
  while (worker && !worker->waits_for_answer && phase == RUNNING)
    pthread_cond_wait(&changed, &lock);
  return phase == RUNNING ? worker : NULL;
}

static bool answer(int device, struct iovec *pieces, int count, ssize_t *written) {
  (void)device;
  const struct fuse_out_header *header = pieces[0].iov_base;
  if (pieces[0].iov_len < sizeof(*header) || header->unique == 0)
    return false;
  if (self &&
      atomic_load_explicit(&self->request, memory_order_relaxed) == header->unique) {
    *written = put_answer(self, pieces, count);
    return true;
  }
  if (!atomic_load(&is_running))
    return false;

  pthread_mutex_lock(&lock);
  struct worker *worker = find(header->unique);
  if (worker) {
    *written = put_answer(worker, pieces, count);
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  return worker != NULL;
}

// What comes over the device, FORGET above all, has nobody who waits for it. To wake a thread for
// each one would cost more than it does, so they are let come together.
static ssize_t receive(int device, void *buffer, size_t size) {
  static const struct timespec rest = {.tv_nsec = 2 * 1000 * 1000};
  static _Thread_local bool has_read;
  if (has_read)
    nanosleep(&rest, NULL);
  ssize_t count = read(device, buffer, size);
  has_read = count > 0;
  return count;
}

void *cfuse_answer_memory(size_t size) {
  if (!self || atomic_load_explicit(&self->request, memory_order_relaxed) == 0 ||
      !self->has_free_payload || size > session.largest_payload)
    return NULL;
  if (size > self->touched)
    self->touched = size;
  return self->payload;
}

bool cfuse_answer_waits_for_callback(void) { return self != NULL; }

// Workers.

static void *work(void *argument);

// A thread that takes no signals but those of its own faults: the others have threads of their own.
static int start_thread(struct worker *worker) {
  static const int faults[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (size_t index = 0; index < sizeof(faults) / sizeof(faults[0]); index++)
    sigdelset(&blocked, faults[index]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int code = pthread_create(&worker->thread, NULL, work, worker);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return code;
}

// Under `lock`. 0, or an errno.
static int add_worker(struct queue *queue, bool is_first) {
  struct worker *worker = calloc(1, sizeof(*worker));
  if (!worker)
    return ENOMEM;
  worker->queue = queue;
  worker->is_first = is_first;
  worker->ring.descriptor = -1;
  int code = start_thread(worker);
  if (code != 0) {
    free(worker);
    return code;
  }
  worker->next = workers;
  workers = worker;
  queue->workers += 1;
  return 0;
}

// Under `lock`. Where no thread can be made requests wait for those that there are.
static void grow(struct queue *queue) {
  int missing = spare - atomic_load(&queue->free) - (int)queue->being_made;
  if (phase == RUNNING && missing > 0 && queue->workers - queue->answered_later < most_busy &&
      add_worker(queue, false) == 0)
    queue->being_made += 1;
}

static void take_from(struct queue *queue) {
  if (atomic_fetch_sub_explicit(&queue->free, 1, memory_order_relaxed) > spare)
    return;
  pthread_mutex_lock(&lock);
  grow(queue);
  pthread_mutex_unlock(&lock);
}

bool cfuse_may_answer_later(void) {
  if (!self)
    return true;
  struct queue *queue = self->queue;
  pthread_mutex_lock(&lock);
  bool may = queue->answered_later < most_answered_later;
  if (may) {
    queue->answered_later += 1;
    self->is_answered_later = true;
    if (atomic_load(&queue->free) < spare)
      grow(queue);
  }
  pthread_mutex_unlock(&lock);
  return may;
}

// Whether there is an answer; there is none at the end of the session.
static bool wait_for_answer(struct worker *worker) {
  if (worker->has_answer && !worker->is_answered_later)
    return true;

  pthread_mutex_lock(&lock);
  worker->waits_for_answer = true;
  pthread_cond_broadcast(&changed);
  while (!worker->has_answer && phase == RUNNING)
    pthread_cond_wait(&changed, &lock);
  worker->waits_for_answer = false;
  worker->queue->answered_later -= worker->is_answered_later ? 1 : 0;
  worker->is_answered_later = false;
  pthread_mutex_unlock(&lock);
  return worker->has_answer;
}

static void prepare_command(struct worker *worker, uint32_t kind, uint64_t commit_id) {
  struct io_uring_sqe *entry = uring_next(&worker->ring);
  entry->opcode = IORING_OP_URING_CMD;
  entry->fd = session.device;
  entry->cmd_op = kind;
  entry->user_data = tag_request;
  if (kind == command_register) {
    entry->addr = (uint64_t)(uintptr_t)worker->pieces;
    entry->len = 2;
  }
  struct command *command = (void *)entry->cmd;
  command->commit_id = commit_id;
  command->queue = (uint16_t)worker->queue->number;
}

static void prepare_stop(struct worker *worker) {
  struct io_uring_sqe *entry = uring_next(&worker->ring);
  entry->opcode = IORING_OP_POLL_ADD;
  entry->fd = stop_event;
  entry->poll32_events = POLLIN;
  entry->user_data = tag_stop;
}

enum outcome { REQUEST, NOTHING, STOP };

// What has come of commands. Of a command's failure `error` is told.
static enum outcome look(struct worker *worker, int *error) {
  uint64_t tag;
  int result;
  enum outcome outcome = NOTHING;
  *error = 0;
  while (uring_take(&worker->ring, &tag, &result)) {
    if (tag == tag_stop)
      return STOP;
    *error = result < 0 ? result : 0;
    outcome = REQUEST;
  }
  return outcome;
}

// 0, or a negative errno.
static int register_entry(struct worker *worker, bool *has_request) {
  if (!worker->is_registering)
    prepare_command(worker, command_register, 0);
  // As long as it was not submitted.
  worker->is_registering = true;
  int error = uring_submit(&worker->ring, false, NULL);
  if (error != 0)
    return error;
  worker->is_registering = false;
  // A command that fails has ended by now.
  *has_request = look(worker, &error) == REQUEST && error == 0;
  return error;
}

static bool is_connection_gone(int error) {
  return error == -ENOTCONN || error == -ECONNABORTED || error == -ENODEV;
}

// When the kernel has let go of the entry, which it does of none that it knows: a queue without
// workers would let its requests wait for ever. False when the session is at its end.
static bool register_again(struct worker *worker, int error, bool *has_request) {
  transport_log(3, "fuse: a command to the device failed: %s\n", strerror(-error));
  while ((error = register_entry(worker, has_request)) != 0) {
    if (is_connection_gone(error))
      return false;
    struct pollfd stop = {.fd = stop_event, .events = POLLIN};
    if (poll(&stop, 1, 100) > 0)
      return false;
  }
  return true;
}

// Sends what was prepared, and waits. False when the session is at its end.
static bool wait_for_request(struct worker *worker) {
  static const struct timespec rest = {.tv_sec = rest_seconds};
  bool has_request = false;
  while (!has_request) {
    bool is_large = worker->touched > kept_payload;
    int status = uring_submit(&worker->ring, true, is_large ? &rest : NULL);
    int error;
    switch (look(worker, &error)) {
      case STOP:
        return false;
      case REQUEST:
        has_request = error == 0;
        if (is_connection_gone(error) ||
            (error != 0 && !register_again(worker, error, &has_request)))
          return false;
        break;
      case NOTHING:
        if (is_large && (status == 0 || status == -ETIME)) {
          madvise(worker->payload + kept_payload, session.largest_payload - kept_payload,
                  MADV_DONTNEED);
          worker->touched = kept_payload;
        } else if (status != 0 && status != -EINTR) {
          // Of memory, that is. It may be there later.
          usleep(1000);
        }
    }
  }
  return true;
}

static void serve_requests(struct worker *worker, bool has_request) {
  struct queue *queue = worker->queue;
  atomic_fetch_add(&queue->free, 1);
  while (has_request || wait_for_request(worker)) {
    has_request = false;
    take_from(queue);
    serve(worker);
    if (!wait_for_answer(worker))
      return;
    prepare_command(worker, command_commit_and_fetch, worker->header->commit_id);
    atomic_fetch_add_explicit(&queue->free, 1, memory_order_relaxed);
  }
}

// 0, or a negative errno.
static int open_worker(struct worker *worker) {
  int error = uring_open(&worker->ring, 2);
  if (error != 0)
    return error;

  size_t size = page_size + session.largest_payload;
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return -ENOMEM;
  // A child needs none of it, and each page would have to be copied while there is one.
  madvise(memory, size, MADV_DONTFORK);
  worker->memory = memory;
  worker->header = memory;
  worker->payload = worker->memory + page_size;
  worker->pieces[0] = (struct iovec){worker->header, sizeof(*worker->header)};
  worker->pieces[1] = (struct iovec){worker->payload, session.largest_payload};
  prepare_stop(worker);
  return 0;
}

static void close_worker(struct worker *worker) {
  uring_close(&worker->ring);
  if (worker->memory)
    munmap(worker->memory, page_size + session.largest_payload);
}

// Says that a first worker has done its part of the phase, and waits for the next one. Whether that
// is `next`.
static bool wait_for_phase(enum phase next, int error) {
  pthread_mutex_lock(&lock);
  enum phase current = phase;
  done_count += 1;
  if (error != 0 && first_error == 0)
    first_error = error;
  pthread_cond_broadcast(&changed);
  while (phase == current)
    pthread_cond_wait(&changed, &lock);
  bool is_next = phase == next;
  pthread_mutex_unlock(&lock);
  return is_next;
}

static void work_as_first(struct worker *worker) {
  if (!wait_for_phase(REGISTERING, open_worker(worker)))
    return;
  bool has_request = false;
  int error = register_entry(worker, &has_request);
  if (wait_for_phase(RUNNING, error))
    serve_requests(worker, has_request);
}

static void work_beside_others(struct worker *worker) {
  bool has_request = false;
  int error = open_worker(worker);
  if (error == 0)
    error = register_entry(worker, &has_request);
  pthread_mutex_lock(&lock);
  worker->queue->being_made -= 1;
  // The others serve what there is. This one has none to be missed.
  worker->queue->workers -= error == 0 ? 0 : 1;
  pthread_mutex_unlock(&lock);
  if (error == 0)
    serve_requests(worker, has_request);
}

static void *work(void *argument) {
  struct worker *worker = argument;
  self = worker;
  bind_to_processor(worker->queue->number);
  if (worker->is_first)
    work_as_first(worker);
  else
    work_beside_others(worker);
  close_worker(worker);
  return NULL;
}

// The session.

// The beginning of a file; empty when it cannot be read.
static void read_text(const char *path, char *text, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = file < 0 ? 0 : read(file, text, size - 1);
  text[count > 0 ? count : 0] = 0;
  if (file >= 0)
    close(file);
}

// From a list as in "0-3,8"; 0 when it is none.
static unsigned listed_processors(void) {
  char text[4096];
  read_text("/sys/devices/system/cpu/possible", text, sizeof(text));
  unsigned count = 0;
  char *rest = text;
  while (*rest >= '0' && *rest <= '9') {
    unsigned long first = strtoul(rest, &rest, 10);
    unsigned long last = *rest == '-' ? strtoul(rest + 1, &rest, 10) : first;
    if (last < first || last > 65535)
      return 0;
    count += (unsigned)(last - first) + 1;
    rest += *rest == ',' ? 1 : 0;
  }
  return count;
}

// 0 when it is not known for certain. The kernel has as many queues, and each needs an entry: with
// one too few every program would wait for ever. So another file is asked, too, as containers show
// files of their own; this one has a column for each.
static unsigned possible_processors(void) {
  unsigned count = listed_processors();
  static char text[1 << 16];
  read_text("/proc/softirqs", text, sizeof(text));
  char *end = strchr(text, '\n');
  if (!end)
    return count;
  *end = 0;
  unsigned columns = 0;
  for (char *column = strstr(text, "CPU"); column; column = strstr(column + 3, "CPU"))
    columns += 1;
  return columns == count ? count : 0;
}

static char reason_text[160];

// Waits until all first workers have done what `phase` asks of them; NULL, or why one has not.
static const char *wait_for_first_workers(const char *what) {
  pthread_mutex_lock(&lock);
  while (done_count < queue_count)
    pthread_cond_wait(&changed, &lock);
  done_count = 0;
  int error = first_error;
  pthread_mutex_unlock(&lock);
  if (error == 0)
    return NULL;
  snprintf(reason_text, sizeof(reason_text), "%s: %s", what, strerror(-error));
  return reason_text;
}

static void set_phase(enum phase next) {
  pthread_mutex_lock(&lock);
  phase = next;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void end(void) {
  atomic_store(&is_running, false);
  set_phase(ENDING);
  uint64_t one = 1;
  if (stop_event >= 0 && write(stop_event, &one, sizeof(one)) < 0) {
    // A counter that is 0 takes a 1.
  }
  while (workers) {
    struct worker *worker = workers;
    pthread_join(worker->thread, NULL);
    workers = worker->next;
    free(worker);
  }
  free(queues);
  queues = NULL;
  queue_count = 0;
  if (stop_event >= 0)
    close(stop_event);
  stop_event = -1;
  set_phase(NONE);
}

// What can be known before there is a mount.
const char *ring_obstacle(void) {
  static const char parameter[] = "/sys/module/fuse/parameters/enable_uring";
  char state[8];
  read_text(parameter, state, sizeof(state));
  if (state[0] == 'N')
    return "the kernel's parameter fuse.enable_uring is off";
  if (access(parameter, F_OK) != 0 && access("/sys/module/fuse/parameters", F_OK) == 0)
    return "the kernel has no FUSE over io_uring, which came with Linux 6.14";

  struct uring ring;
  int error = uring_open(&ring, 2);
  if (error == 0) {
    uring_close(&ring);
    return NULL;
  }
  const char *hint = error == -EPERM ? " (kernel.io_uring_disabled, or a filter of system calls)" : "";
  snprintf(reason_text, sizeof(reason_text), "io_uring_setup: %s%s", strerror(-error), hint);
  return reason_text;
}

void ring_set_most_busy(unsigned count) { most_busy = count > 0 ? count : standard_most_busy; }

struct cfuse_ring_figures cfuse_ring_figures(void) {
  pthread_mutex_lock(&lock);
  struct cfuse_ring_figures figures = {.queues = queue_count};
  for (unsigned number = 0; number < queue_count; number++)
    figures.threads += queues[number].workers;
  pthread_mutex_unlock(&lock);
  return figures;
}

static const char *prepare(const struct transport_session *given) {
  session = *given;
  page_size = (size_t)sysconf(_SC_PAGESIZE);
  sched_getaffinity(getpid(), sizeof(all_processors), &all_processors);
  // An extended attribute, with its name, would not fit.
  if (session.largest_payload < 128 << 10)
    return "max_write is less than 128 KiB";
  unsigned count = possible_processors();
  if (count == 0)
    return "it is not known how many processors there may be";

  unsigned share = spare_of_all / count;
  spare = (int)(share < least_spare ? least_spare : share > most_spare ? most_spare : share);
  if (spare > (int)most_busy)
    spare = (int)most_busy;

  stop_event = eventfd(0, EFD_CLOEXEC);
  queues = calloc(count, sizeof(*queues));
  if (!queues || stop_event < 0) {
    end();
    return "no memory";
  }
  pthread_mutex_lock(&lock);
  phase = PREPARING;
  queue_count = count;
  done_count = 0;
  first_error = 0;
  int error = 0;
  for (unsigned number = 0; number < count; number++) {
    queues[number].number = number;
    if (error == 0)
      error = add_worker(&queues[number], true);
    if (error != 0) {
      first_error = -error;
      done_count += 1;
    }
  }
  pthread_mutex_unlock(&lock);

  const char *reason = wait_for_first_workers("io_uring_setup");
  if (reason)
    end();
  return reason;
}

static const char *begin(void) {
  set_phase(REGISTERING);
  const char *reason = wait_for_first_workers("the kernel refused a queue");
  if (reason) {
    // By the refusal the kernel goes back to the device.
    end();
    return reason;
  }
  atomic_store(&is_running, true);
  set_phase(RUNNING);
  pthread_mutex_lock(&lock);
  for (unsigned number = 0; number < queue_count; number++) {
    for (int count = 1; count < spare; count++)
      grow(&queues[number]);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

const struct transport ring_transport = {
    .prepare = prepare, .begin = begin, .receive = receive, .answer = answer, .end = end};
