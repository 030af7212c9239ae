// When files were made: Linux 6.6 and later asks for that, with STATX of the protocol 7.39.
#ifndef CFUSE_BIRTH_H
#define CFUSE_BIRTH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/// libfuse below 3.18 does not know STATX. So it is given GETATTR in its place, whose fields STATX begins
/// with. Called by the thread that serves the request, before. Returns the request's new size.
size_t birth_take(void *request, size_t size);

/// The answer to STATX, with room for all of it.
struct birth_answer {
  uint8_t bytes[512];
};

/// Makes the answer to GETATTR in `pieces` that to STATX, in `room`, where that is what was asked.
void birth_complete(struct iovec *pieces, int count, struct birth_answer *room);

#endif
