// A whole decoding step of a Llama-shaped model: between small products, calling each on its own would cost more than
// the products do.
#pragma once

#include "decode.h"
#include "layers.h"

namespace {

// As step.py declares it. Weights of products are in panels (product.h); biases and `heads_norm` may be null.
template <typename T>
struct Layer {
    const T *norm, *qkv, *qkv_bias, *heads_norm, *out, *out_bias, *mlp_norm, *gate_up, *down;
    T *keys, *values, *prefix_keys, *prefix_values;
};

struct Shape {
    i64 layers, hidden, inner, vocabulary, queries, keys, width, places, prefix_places;
};

template <typename T>
struct Model {
    const T *embedding, *norm, *head, *head_bias, *cos, *sin;  // cos and sin by position, [positions, width]
    const Layer<T> *layers;
};

// The last token `ids` of each of `rows`, at its place `own` after `depth` shared ones: logits [rows, vocabulary] of
// the next.
template <typename T>
void step(const Shape *shape, const Model<T> *model, float eps, float scaling, const i64 *ids, const i64 *own,
          const i64 *prefix, const i64 *depth, i64 rows, T *out) {
    const Shape &s = *shape;
    const Heads h{s.queries, s.keys, s.width};
    const i64 query_size = s.queries * s.width, key_size = s.keys * s.width, qkv_size = query_size + 2 * key_size;
    std::vector<T> x(rows * s.hidden), normed(rows * s.hidden), delta(rows * s.hidden), qkv(rows * qkv_size);
    std::vector<T> q(rows * query_size), k(rows * key_size), attended(rows * query_size);
    std::vector<T> gate_up(rows * 2 * s.inner), gated(rows * s.inner), cos(rows * s.width), sin(rows * s.width);
    std::vector<float> scale(rows);
    for (i64 r = 0; r < rows; r++) {
        const i64 position = own[r] + depth[r];
        std::copy_n(model->embedding + ids[r] * s.hidden, s.hidden, &x[r * s.hidden]);
        std::copy_n(model->cos + position * s.width, s.width, &cos[r * s.width]);
        std::copy_n(model->sin + position * s.width, s.width, &sin[r * s.width]);
    }
    const T *added = nullptr;
    for (i64 i = 0; i < s.layers; i++) {
        const Layer<T> &l = model->layers[i];
        add_norm(x.data(), added, l.norm, eps, x.data(), normed.data(), scale.data(), rows, s.hidden);
        linear(normed.data(), l.qkv, l.qkv_bias, qkv.data(), rows, s.hidden, qkv_size);
        turn(qkv.data(), l.heads_norm, cos.data(), sin.data(), eps, q.data(), k.data(), rows, h);
        decode(q.data(), k.data(), qkv.data() + query_size + key_size, qkv_size, Stored<T>{l.keys, l.values, s.places},
               Stored<T>{l.prefix_keys, l.prefix_values, s.prefix_places}, own, prefix, depth, scaling, attended.data(),
               rows, h, s.width);
        linear(attended.data(), l.out, l.out_bias, delta.data(), rows, query_size, s.hidden);
        add_norm(x.data(), delta.data(), l.mlp_norm, eps, x.data(), normed.data(), scale.data(), rows, s.hidden);
        linear(normed.data(), l.gate_up, (const T *)nullptr, gate_up.data(), rows, s.hidden, 2 * s.inner);
        swiglu(gate_up.data(), gated.data(), rows, s.inner);
        linear(gated.data(), l.down, (const T *)nullptr, delta.data(), rows, s.inner, s.hidden);
        added = delta.data();
    }
    add_norm(x.data(), added, model->norm, eps, x.data(), normed.data(), scale.data(), rows, s.hidden);
    linear(normed.data(), model->head, model->head_bias, out, rows, s.hidden, s.vocabulary);
}

}  // namespace
