/* Runs a model of one input and one output: input bytes from standard input, output bytes to
 * standard output. Buffers are exactly as large as the description says. */
#include "m.h"
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  const qcc_model_info *info = m_info();
  size_t n_in = info->inputs[0].bytes, n_out = info->outputs[0].bytes;
  void *arena = aligned_alloc(info->arena_align, (info->arena_bytes + 63) / 64 * 64);
  char *x = malloc(n_in), *y = malloc(n_out);
  const void *inputs[1];
  void *outputs[1];
  inputs[0] = x;
  outputs[0] = y;
  if (fread(x, 1, n_in, stdin) != n_in) return 10;
  m_reset(arena);
  if (m_run(NULL, inputs, outputs) != 1) return 11;
  if (m_run((char *)arena + 1, inputs, outputs) != 1) return 12;
  if (m_run(arena, inputs, outputs)) return 13;
  if (m_run_parallel(arena, inputs, outputs, NULL)) return 14;
  return fwrite(y, 1, n_out, stdout) != n_out;
}
