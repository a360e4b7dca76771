/* Runs the digits model, compiled to an object file, on images from standard input:
 * 64 bytes each, 8x8 pixels of 0..255. Prints the digit and its probability. */
#include "digits.h"
#include <stdio.h>
#include <stdlib.h>

/* The input's code for a real value: value / scale + zero point, rounded, within int8. */
static signed char quantize(float value, const qcc_tensor_info *t) {
  float code = value / t->scales[0] + (float)t->zero_points[0];
  int rounded = (int)(code < 0 ? code - 0.5f : code + 0.5f);
  if (rounded < -128) rounded = -128;
  if (rounded > 127) rounded = 127;
  return (signed char)rounded;
}

/* The real value of an output's code. */
static float dequantize(int code, const qcc_tensor_info *t) {
  return t->scales[0] * (float)(code - t->zero_points[0]);
}

int main(void) {
  const qcc_model_info *info = digits_info();
  unsigned char pixels[DIGITS_INPUT0_BYTES];
  signed char codes[DIGITS_INPUT0_BYTES], scores[DIGITS_OUTPUT0_BYTES];
  const void *inputs[] = {codes};
  void *outputs[] = {scores};
  /* All the memory that a call needs; its size is a multiple of the alignment for C's sake. */
  size_t align = info->arena_align;
  void *arena = aligned_alloc(align, (info->arena_bytes + align - 1) / align * align);
  if (!arena) return 1;
  while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
    for (size_t i = 0; i < sizeof pixels; ++i)
      codes[i] = quantize((float)pixels[i] / 255.0f, &info->inputs[0]);
    int error = digits_run(arena, inputs, outputs);
    if (error) {
      fprintf(stderr, "digits_run: error %d\n", error);
      return 1;
    }
    int best = 0;
    for (int i = 1; i < (int)sizeof scores; ++i)
      if (scores[i] > scores[best]) best = i;
    printf("%d (%.3f)\n", best, (double)dequantize(scores[best], &info->outputs[0]));
  }
  free(arena);
  return 0;
}
