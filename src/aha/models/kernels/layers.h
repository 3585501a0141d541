// What lies between a layer's products: norms with their residuals, rotations, gated activations; both directions.
#pragma once

#include "numbers.h"

namespace {

template <typename T>
inline float inverse_rms(const T *x, i64 size, float eps) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (i64 j = 0; j < size; j++) sum += get(x[j]) * get(x[j]);
    return 1.0f / std::sqrt(sum / float(size) + eps);
}

// dx of y = x * s * w with s = inverse_rms(x): s * g w - x * s^3 / size * sum(g w x). Adds g x s to `of_weight`.
template <typename T, typename G>
inline void norm_backward_row(const G *__restrict__ g, const T *__restrict__ x, const T *__restrict__ w, float s,
                              i64 size, float *__restrict__ dx, float *__restrict__ of_weight) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (i64 j = 0; j < size; j++) {
        const float gx = g[j] * get(x[j]);
        of_weight[j] += gx * s;
        dot += gx * get(w[j]);
    }
    const float back = dot * s * s * s / float(size);
    for (i64 j = 0; j < size; j++) dx[j] = g[j] * get(w[j]) * s - get(x[j]) * back;
}

// Weight gradients: each thread adds up its rows, then the threads' sums are added in their order.
template <typename T>
void add_up(const std::vector<std::vector<float>> &parts, T *out) {
    for (size_t j = 0; j < parts[0].size(); j++) {
        float sum = 0;
        for (const auto &part : parts) sum += part[j];
        put(out[j], sum);
    }
}

// sum = x + delta (delta may be null: sum is not written); out = sum / rms(sum) * w; scale[row] = 1 / rms.
template <typename T>
void add_norm(const T *x, const T *delta, const T *w, float eps, T *sum, T *out, float *scale, i64 rows, i64 size) {
#pragma omp parallel for num_threads(threads_for(rows * size))
    for (i64 r = 0; r < rows; r++) {
        const T *row = x + r * size;
        if (delta) {
            for (i64 j = 0; j < size; j++) put(sum[r * size + j], get(row[j]) + get(delta[r * size + j]));
            row = sum + r * size;
        }
        const float s = inverse_rms(row, size, eps);
        for (i64 j = 0; j < size; j++) put(out[r * size + j], get(row[j]) * s * get(w[j]));
        scale[r] = s;
    }
}

// The gradient of what add_norm normed; `through` (may be null) is what comes through its other output.
template <typename T>
void norm_backward(const T *g, const T *through, const T *x, const T *w, const float *scale, T *dx, T *dw, i64 rows,
                   i64 size) {
    const int threads = threads_for(rows * size);
    std::vector<std::vector<float>> parts(threads, std::vector<float>(size));
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> wide(size), back(size);
        float *of_weight = parts[omp_get_thread_num()].data();
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; r++) {
            for (i64 j = 0; j < size; j++) wide[j] = get(g[r * size + j]);
            norm_backward_row(wide.data(), x + r * size, w, scale[r], size, back.data(), of_weight);
            if (through)
                for (i64 j = 0; j < size; j++) back[j] += get(through[r * size + j]);
            for (i64 j = 0; j < size; j++) put(dx[r * size + j], back[j]);
        }
    }
    add_up(parts, dw);
}

// Query and key heads of qkv [rows, (H + 2 K) D] are normed by w [2, D] (may be null) and turned by cos, sin [rows, D].
template <typename T>
void turn(const T *qkv, const T *w, const T *cos, const T *sin, float eps, T *q, T *k, i64 rows, Heads h) {
    const i64 turned = h.queries + h.keys, stride = (turned + h.keys) * h.width, half = h.width / 2;
#pragma omp parallel num_threads(threads_for(rows * stride))
    {
        std::vector<float> y(h.width);
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; r++) {
            const T *c = cos + r * h.width, *s = sin + r * h.width;
            for (i64 i = 0; i < turned; i++) {
                const T *x = qkv + r * stride + i * h.width;
                for (i64 j = 0; j < h.width; j++) y[j] = get(x[j]);
                if (w) {
                    const T *weight = w + (i < h.queries ? 0 : h.width);
                    const float scale = inverse_rms(x, h.width, eps);
                    for (i64 j = 0; j < h.width; j++) y[j] *= scale * get(weight[j]);
                }
                T *out = i < h.queries ? q + (r * h.queries + i) * h.width
                                       : k + (r * h.keys + i - h.queries) * h.width;
                for (i64 j = 0; j < half; j++) {
                    put(out[j], y[j] * get(c[j]) - y[j + half] * get(s[j]));
                    put(out[j + half], y[j + half] * get(c[j + half]) + y[j] * get(s[j + half]));
                }
            }
        }
    }
}

template <typename T>
void turn_backward(const T *gq, const T *gk, const T *gv, const T *qkv, const T *w, const T *cos, const T *sin,
                   float eps, T *dqkv, T *dw, i64 rows, Heads h) {
    const i64 turned = h.queries + h.keys, stride = (turned + h.keys) * h.width, half = h.width / 2;
    const int threads = threads_for(rows * stride);
    std::vector<std::vector<float>> parts(threads, std::vector<float>(2 * h.width));
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> y(h.width), back(h.width);
        float *of_weight = parts[omp_get_thread_num()].data();
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; r++) {
            const T *c = cos + r * h.width, *s = sin + r * h.width;
            for (i64 i = 0; i < turned; i++) {
                const bool query = i < h.queries;
                const T *g = query ? gq + (r * h.queries + i) * h.width : gk + (r * h.keys + i - h.queries) * h.width;
                for (i64 j = 0; j < half; j++) {
                    const float low = get(g[j]), high = get(g[j + half]);
                    y[j] = low * get(c[j]) + high * get(s[j + half]);
                    y[j + half] = high * get(c[j + half]) - low * get(s[j]);
                }
                const T *x = qkv + r * stride + i * h.width;
                float *dx = y.data();
                if (w) {
                    const i64 kind = query ? 0 : h.width;
                    const float scale = inverse_rms(x, h.width, eps);
                    norm_backward_row(y.data(), x, w + kind, scale, h.width, back.data(), of_weight + kind);
                    dx = back.data();
                }
                for (i64 j = 0; j < h.width; j++) put(dqkv[r * stride + i * h.width + j], dx[j]);
            }
            std::memcpy(dqkv + r * stride + turned * h.width, gv + r * h.keys * h.width,
                        sizeof(T) * h.keys * h.width);
        }
    }
    if (w) add_up(parts, dw);
}

// out = silu(gate) * up of gate_up [rows, 2 size].
template <typename T>
void swiglu(const T *gate_up, T *out, i64 rows, i64 size) {
#pragma omp parallel for num_threads(threads_for(rows * size))
    for (i64 r = 0; r < rows; r++) {
        const T *__restrict__ gate = gate_up + r * 2 * size, *__restrict__ up = gate + size;
        T *__restrict__ row = out + r * size;
        for (i64 j = 0; j < size; j++) {
            const float x = get(gate[j]);
            put(row[j], x / (1.0f + fast_exp(-x)) * get(up[j]));
        }
    }
}

template <typename T>
void swiglu_backward(const T *g, const T *gate_up, T *d, i64 rows, i64 size) {
#pragma omp parallel for num_threads(threads_for(rows * size))
    for (i64 r = 0; r < rows; r++) {
        const T *__restrict__ gate = gate_up + r * 2 * size, *__restrict__ up = gate + size;
        const T *__restrict__ given = g + r * size;
        T *__restrict__ dgate = d + r * 2 * size, *__restrict__ dup = dgate + size;
#pragma omp simd
        for (i64 j = 0; j < size; j++) {
            const float x = get(gate[j]), sigmoid = 1.0f / (1.0f + fast_exp(-x)), in = get(given[j]);
            put(dgate[j], in * get(up[j]) * sigmoid * (1.0f + x * (1.0f - sigmoid)));
            put(dup[j], in * x * sigmoid);
        }
    }
}

}  // namespace
