// How requests come to libfuse, and how answers go to the kernel.
#ifndef CFUSE_TRANSPORT_H
#define CFUSE_TRANSPORT_H

#include "CFuse.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/// A session in the eyes of a transport.
struct transport_session {
  struct fuse_session *session;
  int device;
  /// The answer to INIT says what requests may be like.
  size_t largest_payload;
};

/// One way to the kernel. The functions are called in the order in which they stand here; `receive`
/// and `answer` any number of times, by any thread.
struct transport {
  /// Before the answer to INIT goes out. NULL, or why requests cannot come this way: then
  /// nothing else is called.
  const char *(*prepare)(const struct transport_session *session);
  /// When the kernel has the answer to INIT. NULL, or why requests will not come this way.
  const char *(*begin)(void);
  /// read(2) of what comes over the device. The thread may be cancelled in it.
  ssize_t (*receive)(int device, void *buffer, size_t size);
  /// Whether this answers a request that came this way; then `written` is what writev(2) would
  /// have returned.
  bool (*answer)(int device, struct iovec *pieces, int count, ssize_t *written);
  /// When the session has ended: no thread of the transport's own is left afterwards.
  void (*end)(void);
};

/// read(2) and writev(2) on the device. Requests are read by libfuse's own loop. It takes each
/// answer, and what is no answer.
extern const struct transport device_transport;

/// Rings of io_uring, one for each thread. FORGET, INTERRUPT and notices go over the device all the
/// same.
extern const struct transport ring_transport;

/// Why there can be no rings, as far as that is known before there is a mount; else NULL.
const char *ring_obstacle(void);

/// How many requests of one processor are served at a time; 0 for the standard.
void ring_set_most_busy(unsigned count);

// Between libfuse and the transports; see CFuse.h for what chooses one.

void transport_begin_session(struct fuse_session *session, int device);

/// Notes what the kernel offers.
void transport_note_offer(const struct fuse_init_in *offer, size_t size);

/// Completes the answer to INIT, which is going out.
void transport_prepare(struct fuse_init_out *answer, size_t size);

/// When the kernel has the answer to INIT.
void transport_begin(void);

/// read(2) of what comes over the device.
ssize_t transport_receive(int device, void *buffer, size_t size);

/// writev(2) of an answer or a notice.
ssize_t transport_send(int device, struct iovec *pieces, int count);

void transport_end_session(void);

/// Takes note of what a request says that libfuse does not pass on, and makes those that it does not
/// know into others. Called by the thread that serves the request, before. Returns the request's
/// size afterwards.
size_t transport_note_request(void *request, size_t size);

/// Tells the log of what goes wrong.
void transport_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
