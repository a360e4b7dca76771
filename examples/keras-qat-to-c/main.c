/* Classifies a test set with the QAT model, compiled to an object file: reads, from standard input, per
 * image its label (one byte), 64 pixels of 0..255, and ten probabilities each (floats, little-endian) of
 * TensorFlow's simulation and of its integer conversion. Prints accuracy, how its answers compare with
 * both, and the mean time. */
#define _POSIX_C_SOURCE 199309L
#include "digits_qat.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PIXELS = 64, CLASSES = 10 };

typedef struct {
  unsigned char label, pixels[PIXELS];
  float simulated[CLASSES], converted[CLASSES];
} sample;

static int read_sample(sample *s) {
  return fread(&s->label, 1, 1, stdin) == 1 && fread(s->pixels, 1, PIXELS, stdin) == PIXELS &&
         fread(s->simulated, sizeof(float), CLASSES, stdin) == CLASSES &&
         fread(s->converted, sizeof(float), CLASSES, stdin) == CLASSES;
}

static int best_of(const float *values) {
  int best = 0;
  for (int i = 1; i < CLASSES; ++i)
    if (values[i] > values[best]) best = i;
  return best;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void) {
  const qcc_model_info *info = digits_qat_info();
  float image[PIXELS], probabilities[CLASSES];
  const void *inputs[] = {image};
  void *outputs[] = {probabilities};
  _Static_assert(DIGITS_QAT_INPUT0_BYTES == sizeof image, "the model takes 64 floats");
  _Static_assert(DIGITS_QAT_OUTPUT0_BYTES == sizeof probabilities, "the model gives ten floats");
  /* All the memory that a call needs; its size is a multiple of the alignment for C's sake. */
  size_t align = info->arena_align;
  void *arena = aligned_alloc(align, (info->arena_bytes + align - 1) / align * align);
  if (!arena) return 1;

  int images = 0, right = 0, agree = 0, equal = 0;
  double time = 0.0, distance = 0.0;
  for (sample s; read_sample(&s); ++images) {
    /* The model is a float graph to its callers: its first kernel quantizes, its last dequantizes. */
    for (int i = 0; i < PIXELS; ++i) image[i] = (float)s.pixels[i] / 255.0f;
    double start = seconds();
    int error = digits_qat_run(arena, inputs, outputs);
    time += seconds() - start;
    if (error) {
      fprintf(stderr, "digits_qat_run: error %d\n", error);
      return 1;
    }
    right += best_of(probabilities) == s.label;
    agree += best_of(probabilities) == best_of(s.simulated);
    for (int i = 0; i < CLASSES; ++i) {
      double d = (double)probabilities[i] - (double)s.simulated[i];
      if (d < 0) d = -d;
      if (d > distance) distance = d;
      equal += probabilities[i] == s.converted[i];
    }
  }
  free(arena);
  if (images == 0) {
    fprintf(stderr, "no images; usage: digits_qat < testset.bin\n");
    return 1;
  }
  printf("%d of %d test images right (%.2f %%)\n", right, images, 100.0 * right / images);
  printf("%d of %d as TensorFlow's simulation; probabilities at most %.4f from it\n", agree, images, distance);
  printf("%d of %d probabilities equal those of TensorFlow's integer conversion\n", equal, images * CLASSES);
  printf("%.2f us per image\n", 1e6 * time / images);
  return 0;
}
