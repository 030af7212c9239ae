#include "CCodecs.h"

#include <sodium.h>
#include <xxhash.h>

uint64_t ccodecs_xxhash64(const void *bytes, size_t count) { return XXH64(bytes, count, 0); }

void ccodecs_sha256(const void *bytes, size_t count, void *digest) {
  crypto_hash_sha256(digest, bytes, count);
}

void ccodecs_blake2b(const void *bytes, size_t count, void *digest) {
  crypto_generichash_blake2b(digest, 32, bytes, count, NULL, 0);
}
