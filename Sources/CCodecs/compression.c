#include "CCodecs.h"

#include <libdeflate.h>
#include <limits.h>
#include <lzo/lzo1x.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

// What a segment of the longest input may take when it cannot be compressed.
#define LONGEST_SEGMENT (64u << 10)
#define LZO_WORST(count) ((count) + (count) / 16 + 64 + 3)

// Linux's limit: longer windows are never written, and would be memory that an image asks for.
#define LARGEST_WINDOW_LOG 17

struct ccodecs_context {
  struct libdeflate_decompressor *inflater;
  struct libdeflate_compressor *deflater;
  int deflater_level;
  z_stream stream;
  int has_stream;
  ZSTD_DCtx *zstd_decoder;
  ZSTD_CCtx *zstd_encoder;
  int zstd_level;
  void *lzo_work;
  unsigned char *lzo_segment;
};

ccodecs_context *ccodecs_context_new(void) { return calloc(1, sizeof(ccodecs_context)); }

void ccodecs_context_free(ccodecs_context *context) {
  if (context == NULL) return;
  if (context->inflater != NULL) libdeflate_free_decompressor(context->inflater);
  if (context->deflater != NULL) libdeflate_free_compressor(context->deflater);
  if (context->has_stream) inflateEnd(&context->stream);
  ZSTD_freeDCtx(context->zstd_decoder);
  ZSTD_freeCCtx(context->zstd_encoder);
  free(context->lzo_work);
  free(context->lzo_segment);
  free(context);
}

// libdeflate knows whole streams only. What it does not take zlib looks at: a stream that holds more
// than was asked for, or damage.
static ptrdiff_t inflate_part(ccodecs_context *context, const void *in, size_t in_count, void *out,
                              size_t capacity) {
  z_stream *stream = &context->stream;
  if (!context->has_stream) {
    memset(stream, 0, sizeof *stream);
    if (inflateInit(stream) != Z_OK) return -1;
    context->has_stream = 1;
  } else if (inflateReset(stream) != Z_OK) {
    return -1;
  }
  stream->next_in = (Bytef *)in;
  stream->avail_in = (uInt)in_count;
  stream->next_out = out;
  stream->avail_out = (uInt)capacity;

  int status = inflate(stream, Z_FINISH);
  size_t produced = capacity - stream->avail_out;
  // Z_BUF_ERROR with a full output: the stream holds more than was asked for.
  if (status == Z_STREAM_END || (status == Z_BUF_ERROR && produced == capacity)) {
    return (ptrdiff_t)produced;
  }
  return -1;
}

ptrdiff_t ccodecs_zlib_decompress(ccodecs_context *context, const void *in, size_t in_count,
                                  void *out, size_t capacity) {
  if (in_count > UINT_MAX || capacity > UINT_MAX) return -1;
  if (context->inflater == NULL) context->inflater = libdeflate_alloc_decompressor();
  if (context->inflater != NULL) {
    size_t used = 0, produced = 0;
    enum libdeflate_result result = libdeflate_zlib_decompress_ex(
        context->inflater, in, in_count, out, capacity, &used, &produced);
    if (result == LIBDEFLATE_SUCCESS) return (ptrdiff_t)produced;
  }
  return inflate_part(context, in, in_count, out, capacity);
}

// The first bytes of a frame, through a window of the decoder's own.
static ptrdiff_t decode_part(ZSTD_DCtx *decoder, const void *in, size_t in_count, void *out,
                             size_t capacity) {
  ZSTD_DCtx_reset(decoder, ZSTD_reset_session_only);
  ZSTD_inBuffer input = {in, in_count, 0};
  ZSTD_outBuffer output = {out, capacity, 0};
  size_t status = 1;

  // One frame; what follows it in the extent is padding.
  while (status != 0 && output.pos < output.size) {
    size_t before_in = input.pos, before_out = output.pos;
    status = ZSTD_decompressStream(decoder, &output, &input);
    if (ZSTD_isError(status)) return -1;
    if (input.pos == before_in && output.pos == before_out) break;
  }
  return status == 0 || output.pos == output.size ? (ptrdiff_t)output.pos : -1;
}

ptrdiff_t ccodecs_zstd_decompress(ccodecs_context *context, const void *in, size_t in_count,
                                  void *out, size_t capacity) {
  if (context->zstd_decoder == NULL) {
    context->zstd_decoder = ZSTD_createDCtx();
    if (context->zstd_decoder == NULL) return -1;
    ZSTD_DCtx_setParameter(context->zstd_decoder, ZSTD_d_windowLogMax, LARGEST_WINDOW_LOG);
  }
  // A whole frame goes straight to where it is wanted. Behind it in the extent is padding.
  size_t frame = ZSTD_findFrameCompressedSize(in, in_count);
  if (!ZSTD_isError(frame) && frame <= in_count) {
    size_t produced = ZSTD_decompressDCtx(context->zstd_decoder, out, capacity, in, frame);
    if (!ZSTD_isError(produced)) return (ptrdiff_t)produced;
  }
  return decode_part(context->zstd_decoder, in, in_count, out, capacity);
}

ptrdiff_t ccodecs_lzo1x_decompress(const void *in, size_t in_count, void *out, size_t capacity) {
  lzo_uint produced = capacity;
  int status = lzo1x_decompress_safe(in, in_count, out, &produced, NULL);
  return status == LZO_E_OK ? (ptrdiff_t)produced : -1;
}

ptrdiff_t ccodecs_zlib_compress(ccodecs_context *context, int level, const void *in,
                                size_t in_count, void *out, size_t capacity) {
  if (context->deflater != NULL && context->deflater_level != level) {
    libdeflate_free_compressor(context->deflater);
    context->deflater = NULL;
  }
  if (context->deflater == NULL) {
    context->deflater = libdeflate_alloc_compressor(level);
    context->deflater_level = level;
    if (context->deflater == NULL) return -1;
  }
  size_t produced = libdeflate_zlib_compress(context->deflater, in, in_count, out, capacity);
  return produced == 0 ? -1 : (ptrdiff_t)produced;
}

ptrdiff_t ccodecs_zstd_compress(ccodecs_context *context, int level, const void *in,
                                size_t in_count, void *out, size_t capacity) {
  if (context->zstd_encoder == NULL) {
    context->zstd_encoder = ZSTD_createCCtx();
    if (context->zstd_encoder == NULL) return -1;
    context->zstd_level = 0;
  }
  if (context->zstd_level != level) {
    size_t status =
        ZSTD_CCtx_setParameter(context->zstd_encoder, ZSTD_c_compressionLevel, level);
    if (ZSTD_isError(status)) return -1;
    context->zstd_level = level;
  }
  size_t produced = ZSTD_compress2(context->zstd_encoder, out, capacity, in, in_count);
  return ZSTD_isError(produced) ? -1 : (ptrdiff_t)produced;
}

ptrdiff_t ccodecs_lzo1x_compress(ccodecs_context *context, const void *in, size_t in_count,
                                 void *out, size_t capacity) {
  if (in_count > LONGEST_SEGMENT) return -1;
  if (context->lzo_work == NULL) context->lzo_work = malloc(LZO1X_1_MEM_COMPRESS);
  if (context->lzo_work == NULL) return -1;
  // The library writes without looking how much room there is.
  int fits = capacity >= LZO_WORST(in_count);
  if (!fits && context->lzo_segment == NULL) {
    context->lzo_segment = malloc(LZO_WORST(LONGEST_SEGMENT));
    if (context->lzo_segment == NULL) return -1;
  }
  unsigned char *target = fits ? out : context->lzo_segment;
  lzo_uint produced = 0;
  if (lzo1x_1_compress(in, in_count, target, &produced, context->lzo_work) != LZO_E_OK) return -1;
  if (fits) return (ptrdiff_t)produced;
  if (produced > capacity) return -1;
  memcpy(out, target, produced);
  return (ptrdiff_t)produced;
}
