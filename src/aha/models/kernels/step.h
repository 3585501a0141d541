// A whole decoding step of a Llama-shaped model: between small products, calling each on its own would cost more than
// the products do.
#pragma once

#include <memory>

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
    const auto room = [rows](i64 numbers) { return std::unique_ptr<T[]>(new T[rows * numbers]); };
    const auto x = room(s.hidden), normed = room(s.hidden), delta = room(s.hidden), qkv = room(qkv_size);
    const auto q = room(query_size), k = room(key_size), attended = room(query_size);
    const auto gate_up = room(2 * s.inner), gated = room(s.inner), cos = room(s.width), sin = room(s.width);
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
        add_norm(x.get(), added, l.norm, eps, x.get(), normed.get(), scale.data(), rows, s.hidden);
        linear(normed.get(), l.qkv, l.qkv_bias, qkv.get(), rows, s.hidden, qkv_size);
        turn(qkv.get(), l.heads_norm, cos.get(), sin.get(), eps, q.get(), k.get(), rows, h);
        decode(q.get(), k.get(), qkv.get() + query_size + key_size, qkv_size, Stored<T>{l.keys, l.values, s.places},
               Stored<T>{l.prefix_keys, l.prefix_values, s.prefix_places}, own, prefix, depth, scaling, attended.get(),
               rows, h, s.width);
        linear(attended.get(), l.out, l.out_bias, delta.get(), rows, query_size, s.hidden);
        add_norm(x.get(), delta.get(), l.mlp_norm, eps, x.get(), normed.get(), scale.data(), rows, s.hidden);
        linear(normed.get(), l.gate_up, (const T *)nullptr, gate_up.get(), rows, s.hidden, 2 * s.inner);
        swiglu(gate_up.get(), gated.get(), rows, s.inner);
        linear(gated.get(), l.down, (const T *)nullptr, delta.get(), rows, s.inner, s.hidden);
        added = delta.get();
    }
    add_norm(x.get(), added, model->norm, eps, x.get(), normed.get(), scale.data(), rows, s.hidden);
    linear(normed.get(), model->head, model->head_bias, out, rows, s.hidden, s.vocabulary);
}

}  // namespace
