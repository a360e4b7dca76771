//! The C header of a compiled model: C99 and C++11.
//!
//! The structs are those of `qcc_runtime::abi`, behind a guard of their own, so that headers of
//! several models may be included together.

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
            let (name, bytes) = (comment(&t.name), t.bytes());
            let what = format!("{name}: {} {:?}", t.dtype, t.shape);
            sizes += &format!("#define {upper}_{kind}{i}_BYTES {bytes} /* {what} */\n");
        }
    }
    format!(
        "/* Made by qcc from the model '{name}'. */\n#ifndef QCC_MODEL_{m}_H\n\
         #define QCC_MODEL_{m}_H\n\n\
         {COMMON}\n{sizes}\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         const qcc_model_info *{m}_info(void);\n\n\
         /* Runs the model once. arena: {upper}_ARENA_BYTES bytes, 64-byte aligned, one per call\n\
         \x20  at a time; inputs and outputs in the model's order. 0, or an error code: 1 for an\n\
         \x20  arena that is NULL or not aligned, 2 for a CPU that no code here is for. */\n\
         int {m}_run(void *arena, const void *const *inputs, void *const *outputs);\n\n\
         /* The same result, by the threads of a pool. */\n\
         int {m}_run_parallel(void *arena, const void *const *inputs, void *const *outputs,\n\
         \x20                     const qcc_parallel *pool);\n\n\
         /* Stateful models: state to its initial values. */\n\
         void {m}_reset(void *arena);\n\n#ifdef __cplusplus\n}}\n#endif\n#endif\n",
        name = comment(&interface.name)
    )
}

/// A name from a model file inside a comment: it can neither end the comment nor the line.
fn comment(name: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '*' | '\\') { '_' } else { c };
    name.chars().map(plain).collect::<String>()
}

/// The exported functions of a model.
pub fn exported(symbol: &str) -> Vec<String> {
    ["info", "run", "run_parallel", "reset"].map(|f| format!("{symbol}_{f}")).to_vec()
}
