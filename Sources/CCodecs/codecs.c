#include "CCodecs.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <lzo/lzo1x.h>
#include <sodium.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

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

ptrdiff_t ccodecs_zlib_decompress(const void *in, size_t in_count, void *out, size_t capacity) {
  z_stream stream = {0};
  if (in_count > UINT_MAX || capacity > UINT_MAX || inflateInit(&stream) != Z_OK) return -1;

  stream.next_in = (Bytef *)in;
  stream.avail_in = (uInt)in_count;
  stream.next_out = out;
  stream.avail_out = (uInt)capacity;

  int status = inflate(&stream, Z_FINISH);
  size_t produced = capacity - stream.avail_out;
  inflateEnd(&stream);

  // Z_BUF_ERROR with a full output: the stream holds more than was asked for.
  if (status == Z_STREAM_END || (status == Z_BUF_ERROR && produced == capacity)) {
    return (ptrdiff_t)produced;
  }
  return -1;
}

ptrdiff_t ccodecs_zstd_decompress(const void *in, size_t in_count, void *out, size_t capacity) {
  ZSTD_DStream *stream = ZSTD_createDStream();
  if (stream == NULL) return -1;

  ZSTD_inBuffer input = {in, in_count, 0};
  ZSTD_outBuffer output = {out, capacity, 0};
  size_t status = 1;

  // One frame; what follows it in the extent is padding.
  while (status != 0 && output.pos < output.size) {
    size_t before_in = input.pos, before_out = output.pos;
    status = ZSTD_decompressStream(stream, &output, &input);
    if (ZSTD_isError(status)) {
      ZSTD_freeDStream(stream);
      return -1;
    }
    if (input.pos == before_in && output.pos == before_out) break;
  }

  ZSTD_freeDStream(stream);
  return status == 0 || output.pos == output.size ? (ptrdiff_t)output.pos : -1;
}

ptrdiff_t ccodecs_lzo1x_decompress(const void *in, size_t in_count, void *out, size_t capacity) {
  lzo_uint produced = capacity;
  int status = lzo1x_decompress_safe(in, in_count, out, &produced, NULL);
  return status == LZO_E_OK ? (ptrdiff_t)produced : -1;
}
