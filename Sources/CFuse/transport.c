// Which transport a session has: rings, where they are wanted and to be had; else the device.
#define _GNU_SOURCE
#include "transport.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

// The protocol, as above version 7.41.
#define OVER_IO_URING (UINT64_C(1) << 41)
// Without MAX_PAGES a request has no more than this many pages.
enum { standard_pages = 32, smallest_payload = 8192 };

static struct transport_session session;
static bool wants_ring;
static bool has_offer;
static const struct transport *transport = &device_transport;
// The same, for threads that wait for requests while it is chosen.
static const struct transport *_Atomic receiver = &device_transport;

// Read by other threads.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char obstacle[200] = "no session has begun";

static void set_obstacle(const char *text) {
  pthread_mutex_lock(&lock);
  snprintf(obstacle, sizeof(obstacle), "%s", text);
  pthread_mutex_unlock(&lock);
}

bool cfuse_ring_obstacle(char *text, size_t size) {
  pthread_mutex_lock(&lock);
  snprintf(text, size, "%s", obstacle);
  bool exists = obstacle[0] != 0;
  pthread_mutex_unlock(&lock);
  return exists;
}

void cfuse_use_ring(bool wanted, unsigned most_busy) {
  ring_set_most_busy(most_busy);
  const char *reason = wanted ? ring_obstacle() : "io_uring is not asked for";
  wants_ring = reason == NULL;
  set_obstacle(reason ? reason : "");
}

void transport_begin_session(struct fuse_session *given, int device) {
  session = (struct transport_session){.session = given, .device = device};
  transport = &device_transport;
  atomic_store(&receiver, transport);
}

void transport_note_offer(const struct fuse_init_in *offer, size_t size) {
  size_t end = offsetof(struct fuse_init_in, flags2) + sizeof(offer->flags2);
  uint64_t flags = 0;
  if (size >= end && (offer->flags & FUSE_INIT_EXT))
    flags = (uint64_t)offer->flags2 << 32;
  has_offer = (flags & OVER_IO_URING) != 0;
}

static size_t largest_payload(const struct fuse_init_out *answer) {
  size_t pages = answer->flags & FUSE_MAX_PAGES ? answer->max_pages : standard_pages;
  size_t size = pages * (size_t)sysconf(_SC_PAGESIZE);
  if (size < answer->max_write)
    size = answer->max_write;
  return size < smallest_payload ? smallest_payload : size;
}

void transport_prepare(struct fuse_init_out *answer, size_t size) {
  if (!wants_ring)
    return;
  if (!has_offer || size < offsetof(struct fuse_init_out, flags2) + sizeof(answer->flags2)) {
    set_obstacle("the kernel does not offer FUSE over io_uring");
    return;
  }
  session.largest_payload = largest_payload(answer);
  const char *reason = ring_transport.prepare(&session);
  if (reason) {
    set_obstacle(reason);
    return;
  }
  answer->flags |= FUSE_INIT_EXT;
  answer->flags2 |= (uint32_t)(OVER_IO_URING >> 32);
  transport = &ring_transport;
}

void transport_begin(void) {
  const char *reason = transport->begin();
  if (reason)
    transport = &device_transport;
  atomic_store(&receiver, transport);
  if (reason || transport == &ring_transport)
    set_obstacle(reason ? reason : "");
}

ssize_t transport_receive(int device, void *buffer, size_t size) {
  const struct transport *running = atomic_load(&receiver);
  return running->receive(device, buffer, size);
}

ssize_t transport_send(int device, struct iovec *pieces, int count) {
  ssize_t written;
  if (!transport->answer(device, pieces, count, &written))
    device_transport.answer(device, pieces, count, &written);
  return written;
}

void transport_end_session(void) {
  transport->end();
  transport = &device_transport;
}
