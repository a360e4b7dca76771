//! The C header of a compiled model: C99 and C++11.

use crate::aot::Interface;

/// The structures that all models share, behind their own guard.
const COMMON: &str = r#"#ifndef QCC_ABI_1
#define QCC_ABI_1
#include <stddef.h>
#include <stdint.h>

/* dtype: 0 float32, 2 int32, 3 uint8, 4 int64, 6 bool, 7 int16, 9 int8 */
typedef struct {
  const char *name;
  int32_t dtype, rank;
  const int64_t *shape;
  size_t bytes;
  int32_t axis, n_scales; /* axis -1: one scale for the whole tensor */
  const float *scales;
  const int32_t *zero_points;
} qcc_tensor_info;

typedef struct {
  uint32_t abi_version;
  const char *name;
  size_t arena_bytes, arena_align, state_bytes;
  uint32_t n_inputs, n_outputs;
  const qcc_tensor_info *inputs, *outputs;
} qcc_model_info;

/* parallel_for runs task(arg, i) for i in 0..n and returns when all are done */
typedef struct {
  void *ctx;
  int32_t n_threads;
  void (*parallel_for)(void *ctx, int32_t n, void (*task)(void *arg, int32_t i), void *arg);
} qcc_parallel;
#endif
"#;

/// The header's text.
pub fn header(interface: &Interface, arena_bytes: usize) -> String {
    let m = &interface.symbol;
    let upper = m.to_uppercase();
    let mut sizes = format!("#define {upper}_ARENA_BYTES {arena_bytes}\n");
    for (kind, list) in [("INPUT", &interface.inputs), ("OUTPUT", &interface.outputs)] {
        for (i, t) in list.iter().enumerate() {
            let name = t.name.replace("*/", "* /");
            sizes += &format!(
                "#define {upper}_{kind}{i}_BYTES {} /* {name}: {} {:?} */\n",
                t.bytes(),
                t.dtype,
                t.shape
            );
        }
    }
    format!(
        "/* Made by qcc from the model '{name}'. */\n#ifndef {upper}_H\n#define {upper}_H\n\n\
         {COMMON}\n{sizes}\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         const qcc_model_info *{m}_info(void);\n\
         /* arena: {upper}_ARENA_BYTES bytes, 64-byte aligned; 0, or an error code */\n\
         int {m}_run(void *arena, const void *const *inputs, void *const *outputs);\n\
         int {m}_run_parallel(void *arena, const void *const *inputs, void *const *outputs,\n\
         \x20   const qcc_parallel *pool);\n\
         void {m}_reset(void *arena);\n\n#ifdef __cplusplus\n}}\n#endif\n#endif\n",
        name = interface.name.replace("*/", "* /")
    )
}

/// The exported functions of a model.
pub fn exported(symbol: &str) -> Vec<String> {
    ["info", "run", "run_parallel", "reset"].map(|f| format!("{symbol}_{f}")).to_vec()
}
