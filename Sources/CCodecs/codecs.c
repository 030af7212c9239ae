#include "CCodecs.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <sodium.h>
#include <xxhash.h>

uint32_t ccodecs_crc32c(uint32_t state, const void *bytes, size_t count) {
  const unsigned char *next = bytes;

  // ISA-L counts in int.
  while (count > INT_MAX) {
    state = crc32_iscsi((unsigned char *)next, 1 << 30, state);
    next += 1 << 30;
    count -= 1 << 30;
  }

  return crc32_iscsi((unsigned char *)next, (int)count, state);
}

uint64_t ccodecs_xxhash64(const void *bytes, size_t count) { return XXH64(bytes, count, 0); }

void ccodecs_sha256(const void *bytes, size_t count, void *digest) {
  crypto_hash_sha256(digest, bytes, count);
}

void ccodecs_blake2b(const void *bytes, size_t count, void *digest) {
  crypto_generichash_blake2b(digest, 32, bytes, count, NULL, 0);
}
