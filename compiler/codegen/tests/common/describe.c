/* Prints the description of two models, whose headers are included together. */
#include "m.h"
#include "other.h"
#include "m.h"
#include <stdio.h>

static void tensors(const qcc_tensor_info *t, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    printf("%s dtype %d rank %d bytes %zu axis %d shape", t[i].name, (int)t[i].dtype,
           (int)t[i].rank, t[i].bytes, (int)t[i].axis);
    for (int32_t k = 0; k < t[i].rank; ++k) printf(" %d", (int)t[i].shape[k]);
    for (int32_t k = 0; k < t[i].n_scales; ++k)
      printf(" (%g %d)", (double)t[i].scales[k], (int)t[i].zero_points[k]);
    printf("\n");
  }
}

int main(void) {
  const qcc_model_info *both[2];
  both[0] = m_info();
  both[1] = other_info();
  for (int i = 0; i < 2; ++i) {
    printf("%s abi %u arena %zu align %zu state %zu\n", both[i]->name, both[i]->abi_version,
           both[i]->arena_bytes, both[i]->arena_align, both[i]->state_bytes);
    tensors(both[i]->inputs, both[i]->n_inputs);
    tensors(both[i]->outputs, both[i]->n_outputs);
  }
  return M_ARENA_BYTES != both[0]->arena_bytes;
}
