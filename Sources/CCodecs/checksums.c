#include "CCodecs.h"

#include <endian.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>

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

static void put(unsigned char *sums, size_t index, uint32_t state) {
  uint32_t sum = htole32(~state);
  memcpy(sums + index * sizeof sum, &sum, sizeof sum);
}

static void one_by_one(
    const unsigned char *bytes, size_t size, size_t count, unsigned char *sums) {
  for (size_t sector = 0; sector < count; sector++)
    put(sums, sector, ccodecs_crc32c(~0u, bytes + sector * size, size));
}

#if defined(__x86_64__)

#include <immintrin.h>

// Four sectors at a time. The processor takes eight bytes a cycle with its crc32 instruction, whose
// result comes after three cycles: so three sectors keep it busy, without the sums of parts that one
// sector in three streams would need. Beside them its carry-less multiplication has time for a
// fourth sector. One sector at a time, as ISA-L does it, also makes the processor fetch ahead from
// one place in memory only.
enum { together = 4, row = 64 };

#define FOURFOLD __attribute__((target("sse4.2,pclmul")))

// What a reflected remainder in 128 bits becomes when 16 bytes or 64 more follow: its low half times
// x^(n + 31), its high half times x^(n - 33), n being their number of bits; modulo CRC-32C's
// polynomial, bits reversed.
#define BEHIND_16 _mm_set_epi64x(0x493c7d27, 0xf20c0dfe)
#define BEHIND_64 _mm_set_epi64x(0x9e4addf8, 0x740eef02)

FOURFOLD static inline __m128i fold(__m128i value, __m128i factors, __m128i next) {
  __m128i low = _mm_clmulepi64_si128(value, factors, 0x00);
  __m128i high = _mm_clmulepi64_si128(value, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

FOURFOLD static inline __m128i load_16(const unsigned char *at) {
  return _mm_loadu_si128((const __m128i *)at);
}

FOURFOLD static inline uint64_t add_8(uint64_t state, const unsigned char *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return _mm_crc32_u64(state, word);
}

// Sixteen bytes more of three sectors.
FOURFOLD static inline void add_16(uint64_t states[3], const unsigned char *at, size_t size) {
  for (int word = 0; word < 16; word += 8) {
    states[0] = add_8(states[0], at + word);
    states[1] = add_8(states[1], at + size + word);
    states[2] = add_8(states[2], at + 2 * size + word);
  }
}

FOURFOLD static void four(const unsigned char *bytes, size_t size, unsigned char *sums) {
  const unsigned char *fourth = bytes + 3 * size;
  uint64_t states[3] = {~0u, ~0u, ~0u};
  // The state at the beginning is part of the first bytes.
  __m128i parts[4] = {
      _mm_xor_si128(load_16(fourth), _mm_cvtsi32_si128(-1)),
      load_16(fourth + 16),
      load_16(fourth + 32),
      load_16(fourth + 48),
  };

  const unsigned char *last = bytes + size - row;
  for (; bytes < last; bytes += row) {
    // Sixteen bytes of each in turn, so that each multiplication has time to come to an end.
    for (int part = 0; part < 4; part++) {
      add_16(states, bytes + 16 * part, size);
      parts[part] = fold(parts[part], BEHIND_64, load_16(bytes + 3 * size + row + 16 * part));
    }
  }
  for (int part = 0; part < 4; part++) add_16(states, last + 16 * part, size);

  for (size_t sector = 0; sector < 3; sector++) put(sums, sector, (uint32_t)states[sector]);

  __m128i rest = parts[0];
  for (int part = 1; part < 4; part++) rest = fold(rest, BEHIND_16, parts[part]);
  uint64_t state = _mm_crc32_u64(0, (uint64_t)_mm_extract_epi64(rest, 0));
  put(sums, 3, (uint32_t)_mm_crc32_u64(state, (uint64_t)_mm_extract_epi64(rest, 1)));
}

// For processors that multiply without carry in long vectors ISA-L has a way of its own, which they
// are left to.
static int serves_four(void) {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") &&
         !(__builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512vl"));
}

void ccodecs_crc32c_sectors(const void *bytes, size_t size, size_t count, void *sums) {
  const unsigned char *next = bytes;
  unsigned char *next_sums = sums;

  if (count >= together && size >= row && size % row == 0 && serves_four()) {
    for (; count >= together; count -= together) {
      four(next, size, next_sums);
      next += together * size;
      next_sums += together * sizeof(uint32_t);
    }
  }

  one_by_one(next, size, count, next_sums);
}

#else

void ccodecs_crc32c_sectors(const void *bytes, size_t size, size_t count, void *sums) {
  one_by_one(bytes, size, count, sums);
}

#endif
