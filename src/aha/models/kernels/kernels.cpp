// What lies between the matrix products of a Llama-shaped model on a CPU, each step in one pass over its data.
//
// Built on first use for the processor that it runs on and called through ctypes (build.py); the same mathematics in
// PyTorch is in fused.py, for other devices, other types and machines without a compiler. T is float or bfloat16; sums
// are in float. Threads are OpenMP's, the ones that PyTorch set; a row's result does not depend on how many there are.

#include "step.h"

#define EXPORT(T, NAME)                                                                                               \
    void add_norm_##NAME(const T *x, const T *delta, const T *w, float eps, T *sum, T *out, float *scale, i64 rows,   \
                         i64 size) {                                                                                  \
        add_norm(x, delta, w, eps, sum, out, scale, rows, size);                                                      \
    }                                                                                                                 \
    void norm_backward_##NAME(const T *g, const T *through, const T *x, const T *w, const float *scale, T *dx, T *dw, \
                              i64 rows, i64 size) {                                                                   \
        norm_backward(g, through, x, w, scale, dx, dw, rows, size);                                                   \
    }                                                                                                                 \
    void turn_##NAME(const T *qkv, const T *w, const T *cos, const T *sin, float eps, T *q, T *k, i64 rows,           \
                     i64 queries, i64 keys, i64 width) {                                                              \
        turn(qkv, w, cos, sin, eps, q, k, rows, Heads{queries, keys, width});                                         \
    }                                                                                                                 \
    void turn_backward_##NAME(const T *gq, const T *gk, const T *gv, const T *qkv, const T *w, const T *cos,          \
                              const T *sin, float eps, T *dqkv, T *dw, i64 rows, i64 queries, i64 keys, i64 width) {  \
        turn_backward(gq, gk, gv, qkv, w, cos, sin, eps, dqkv, dw, rows, Heads{queries, keys, width});                \
    }                                                                                                                 \
    void swiglu_##NAME(const T *gate_up, T *out, i64 rows, i64 size) { swiglu(gate_up, out, rows, size); }            \
    void swiglu_backward_##NAME(const T *g, const T *gate_up, T *d, i64 rows, i64 size) {                             \
        swiglu_backward(g, gate_up, d, rows, size);                                                                   \
    }                                                                                                                 \
    void decode_##NAME(const T *q, const T *k, const T *v, i64 v_stride, T *keys, T *values, i64 places, T *p_keys,   \
                       T *p_values, i64 p_places, const i64 *own, const i64 *prefix, const i64 *depth, float scaling, \
                       T *out, i64 rows, i64 queries, i64 key_heads, i64 width, i64 value_width) {                    \
        decode(q, k, v, v_stride, Stored<T>{keys, values, places}, Stored<T>{p_keys, p_values, p_places}, own,        \
               prefix, depth, scaling, out, rows, Heads{queries, key_heads, width}, value_width);                     \
    }                                                                                                                 \
    void attention_##NAME(const T *q, const T *k, const T *v, const i64 *families, i64 count, const i64 *row_starts,   \
                          float scaling, T *out, float *logsum, i64 rows, i64 queries, i64 keys, i64 width,           \
                          i64 value_width) {                                                                          \
        attention(q, k, v, (const Family *)families, count, row_starts, scaling, out, logsum, rows,                   \
                  Heads{queries, keys, width}, value_width);                                                          \
    }                                                                                                                 \
    void attention_backward_##NAME(const T *g, const T *q, const T *k, const T *v, const T *out, const float *logsum, \
                                   const i64 *families, i64 count, const i64 *row_starts, float scaling, T *dq,       \
                                   T *dk, T *dv, i64 rows, i64 queries, i64 keys, i64 width, i64 value_width) {       \
        attention_backward(g, q, k, v, out, logsum, (const Family *)families, count, row_starts, scaling, dq, dk, dv, \
                           rows, Heads{queries, keys, width}, value_width);                                           \
    }                                                                                                                 \
    void sample_##NAME(const T *logits, float temperature, const float *uniform, i64 *tokens, float *logprobs,        \
                       i64 rows, i64 size) {                                                                          \
        sample(logits, temperature, uniform, tokens, logprobs, rows, size);                                           \
    }                                                                                                                 \
    void step_##NAME(const Shape *shape, const void *model, float eps, float scaling, const i64 *ids, const i64 *own,  \
                     const i64 *prefix, const i64 *depth, i64 rows, T *out) {                                         \
        step(shape, (const Model<T> *)model, eps, scaling, ids, own, prefix, depth, rows, out);                       \
    }

extern "C" {
EXPORT(float, float32)
EXPORT(bf16, bfloat16)

i64 panel_columns() { return PANEL; }
}
