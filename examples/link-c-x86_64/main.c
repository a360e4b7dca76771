/* Runs the digits model, compiled to an object file, on one image.
 * Image: 64 bytes, 8x8 pixels of 0..255, from standard input. */
#include "digits.h"
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  const qcc_model_info *info = digits_info();
  unsigned char pixels[DIGITS_INPUT0_BYTES];
  signed char codes[DIGITS_INPUT0_BYTES], probabilities[DIGITS_OUTPUT0_BYTES];
  if (fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels) {
    fprintf(stderr, "expected %zu bytes\n", sizeof pixels);
    return 1;
  }
  /* real = pixel / 255, code = real / scale + zero point */
  float scale = info->inputs[0].scales[0];
  int zero_point = info->inputs[0].zero_points[0];
  for (size_t i = 0; i < sizeof pixels; ++i) {
    int code = (int)(pixels[i] / 255.0f / scale + 0.5f) + zero_point;
    codes[i] = (signed char)(code > 127 ? 127 : code);
  }
  void *arena = aligned_alloc(info->arena_align, (info->arena_bytes + 63) / 64 * 64);
  const void *inputs[] = {codes};
  void *outputs[] = {probabilities};
  int error = digits_run(arena, inputs, outputs);
  if (error) {
    fprintf(stderr, "digits_run: error %d\n", error);
    return 1;
  }
  int best = 0;
  for (int i = 1; i < (int)sizeof probabilities; ++i)
    if (probabilities[i] > probabilities[best]) best = i;
  printf("%d (%.3f)\n", best, (probabilities[best] + 128) / 256.0);
  free(arena);
  return 0;
}
