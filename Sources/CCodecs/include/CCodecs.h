#ifndef CCODECS_H
#define CCODECS_H

#include <stddef.h>
#include <stdint.h>

// Checksums and compression from Debian's libraries, and system calls. The only logic of our own is
// how the sums of several sectors are made at a time.

// The raw CRC-32C update: the state goes in and comes out without inversion.
uint32_t ccodecs_crc32c(uint32_t state, const void *bytes, size_t count);

// The standard CRC-32C of each of `count` sectors of `size` bytes, which stand one behind the other:
// four bytes each, the least significant first.
void ccodecs_crc32c_sectors(const void *bytes, size_t size, size_t count, void *sums);

uint64_t ccodecs_xxhash64(const void *bytes, size_t count);

// `digest` has room for 32 bytes.
void ccodecs_sha256(const void *bytes, size_t count, void *digest);
void ccodecs_blake2b(const void *bytes, size_t count, void *digest);

// The state that compressors and decompressors keep between calls, made where it is first needed:
// one of each library, so that no call sets up tables anew. For one thread at a time.
typedef struct ccodecs_context ccodecs_context;

// NULL when there is no memory.
ccodecs_context *ccodecs_context_new(void);
void ccodecs_context_free(ccodecs_context *context);

// Each returns the number of bytes produced, or -1 if the input is damaged or does not fit `capacity`.
// A stream that ends early is not an error, nor is one of which the first `capacity` bytes were asked.
ptrdiff_t ccodecs_zlib_decompress(ccodecs_context *context, const void *in, size_t in_count,
                                  void *out, size_t capacity);
ptrdiff_t ccodecs_zstd_decompress(ccodecs_context *context, const void *in, size_t in_count,
                                  void *out, size_t capacity);

// One LZO1X segment.
ptrdiff_t ccodecs_lzo1x_decompress(const void *in, size_t in_count, void *out, size_t capacity);

// Each returns the number of bytes produced, or -1 if these are more than `capacity`, or there is no
// memory. Levels: 1 to 9 of zlib, -15 to 15 but 0 of zstd. A zstd frame needs no longer window than
// its input.
ptrdiff_t ccodecs_zlib_compress(ccodecs_context *context, int level, const void *in,
                                size_t in_count, void *out, size_t capacity);
ptrdiff_t ccodecs_zstd_compress(ccodecs_context *context, int level, const void *in,
                                size_t in_count, void *out, size_t capacity);

// One LZO1X segment, of 64 KiB at most.
ptrdiff_t ccodecs_lzo1x_compress(ccodecs_context *context, const void *in, size_t in_count,
                                 void *out, size_t capacity);

// What Linux has and Swift's Glibc does not show: makes a hole in a file, or tells a block device
// that a range is unused. Returns 0, or -1 and sets errno, as fallocate(2) does.
int ccodecs_punch_hole(int descriptor, uint64_t offset, uint64_t length);

// Also for Swift's Glibc: the processors on which a thread may run (0 is the calling one, a process's
// number its first one), ascending, at most `size`. Their number; 0 when it is not known.
size_t ccodecs_processors_of(int thread, int *processors, size_t size);

// From now on the calling thread runs on these alone. Returns 0, or -1 and sets errno.
int ccodecs_use_processors(const int *processors, size_t count);

// The calling thread's number, of which a process's first one is the process's.
int ccodecs_thread_number(void);

#endif
