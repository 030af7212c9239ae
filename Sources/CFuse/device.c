#define _GNU_SOURCE
#include "transport.h"

static const char *prepare(const struct transport_session *session) {
  (void)session;
  return NULL;
}

static const char *begin(void) { return NULL; }

static bool answer(int device, struct iovec *pieces, int count, ssize_t *written) {
  // What answers no request is a notice.
  const struct fuse_out_header *header = pieces[0].iov_base;
  if (pieces[0].iov_len >= sizeof(*header) && header->unique != 0)
    cfuse_will_answer(device);
  *written = writev(device, pieces, count);
  return true;
}

static void end(void) {}

const struct transport device_transport = {
    .prepare = prepare,
    .begin = begin,
    .receive = cfuse_next_request,
    .answer = answer,
    .end = end,
};
