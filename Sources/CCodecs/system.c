#define _GNU_SOURCE
#include "CCodecs.h"

#include <fcntl.h>

int ccodecs_punch_hole(int descriptor, uint64_t offset, uint64_t length) {
  return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                   (off_t)length);
}
