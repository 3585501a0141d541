// Attention within the rows of a packed stream, both directions, and the products with keys and values that it is of.
#pragma once

#include "numbers.h"

namespace {

// out[i][t] = sum over j of q[i][j] * keys[j][t], for N queries at a time, which share what is read of the keys.
template <int N, typename T>
inline void scores_of(const float *__restrict__ q, i64 q_stride, const T *__restrict__ keys, i64 places, i64 width,
                      i64 count, float *__restrict__ out, i64 out_stride) {
    for (int i = 0; i < N; i++) std::memset(out + i * out_stride, 0, sizeof(float) * count);
    i64 j = 0;
    for (; j + 4 <= width; j += 4) {
        const T *a = keys + j * places, *b = a + places, *c = b + places, *d = c + places;
#pragma omp simd
        for (i64 t = 0; t < count; t++) {
            const float w = get(a[t]), x = get(b[t]), y = get(c[t]), z = get(d[t]);
            for (int i = 0; i < N; i++) {
                const float *row = q + i * q_stride + j;
                out[i * out_stride + t] += row[0] * w + row[1] * x + row[2] * y + row[3] * z;
            }
        }
    }
    for (; j < width; j++)
        for (int i = 0; i < N; i++)
            for (i64 t = 0; t < count; t++) out[i * out_stride + t] += q[i * q_stride + j] * get(keys[j * places + t]);
}

template <typename T>
inline void scores(const float *q, i64 q_stride, i64 queries, const T *keys, i64 places, i64 width, i64 count,
                   float *out, i64 out_stride) {
    i64 i = 0;
    for (; i + 2 <= queries; i += 2)
        scores_of<2>(q + i * q_stride, q_stride, keys, places, width, count, out + i * out_stride, out_stride);
    if (i < queries) scores_of<1>(q + i * q_stride, q_stride, keys, places, width, count, out + i * out_stride, 0);
}

// out[i][j] += sum over t of p[i][t] * values[t][j], likewise.
template <int N, typename T>
inline void add_values_of(const float *__restrict__ p, i64 p_stride, const T *__restrict__ values, i64 width, i64 count,
                          float *__restrict__ out, i64 out_stride) {
    i64 t = 0;
    for (; t + 4 <= count; t += 4) {
        const T *a = values + t * width, *b = a + width, *c = b + width, *d = c + width;
#pragma omp simd
        for (i64 j = 0; j < width; j++) {
            const float w = get(a[j]), x = get(b[j]), y = get(c[j]), z = get(d[j]);
            for (int i = 0; i < N; i++) {
                const float *row = p + i * p_stride + t;
                out[i * out_stride + j] += row[0] * w + row[1] * x + row[2] * y + row[3] * z;
            }
        }
    }
    for (; t < count; t++)
        for (int i = 0; i < N; i++)
            for (i64 j = 0; j < width; j++) out[i * out_stride + j] += p[i * p_stride + t] * get(values[t * width + j]);
}

template <typename T>
inline void add_values(const float *p, i64 p_stride, i64 queries, const T *values, i64 width, i64 count, float *out,
                       i64 out_stride) {
    i64 i = 0;
    for (; i + 2 <= queries; i += 2)
        add_values_of<2>(p + i * p_stride, p_stride, values, width, count, out + i * out_stride, out_stride);
    if (i < queries) add_values_of<1>(p + i * p_stride, p_stride, values, width, count, out + i * out_stride, 0);
}

// Scores p become exp(p - most); `total` is their sum.
inline void exponentials(float *__restrict__ p, i64 count, float *most, float *total) {
    float largest = p[0], sum = 0;
    for (i64 t = 0; t < count; t++) largest = std::max(largest, p[t]);
    for (i64 t = 0; t < count; t++) p[t] = fast_exp(p[t] - largest);
    for (i64 t = 0; t < count; t++) sum += p[t];
    *most = largest, *total = sum;
}

// Rows that share a prompt lie side by side: tokens start..end of the stream, of which the first `shared` are the prompt.
// A token sees the prompt's tokens and the earlier ones of its own row; a prompt's tokens see the earlier ones of it.
struct Family {
    i64 start, end, shared;
};

// What a thread needs of one family and key head: keys and values in float, both ways round.
struct Scratch {
    std::vector<float> keys_T, keys, values_T, values, q, p, of_p, sum;

    template <typename T>
    void load(const T *k, const T *v, i64 stride, i64 value_stride, i64 count, i64 width, i64 value_width) {
        keys_T.resize(count * width), keys.resize(count * width);
        values_T.resize(count * value_width), values.resize(count * value_width);
        for (i64 t = 0; t < count; t++) {
            for (i64 j = 0; j < width; j++) keys_T[j * count + t] = keys[t * width + j] = get(k[t * stride + j]);
            for (i64 j = 0; j < value_width; j++)
                values_T[j * count + t] = values[t * value_width + j] = get(v[t * value_stride + j]);
        }
    }

    // p[i] = q[i] against the keys [0, prompt) and [row, row + own), one after the other, for each of `queries`.
    void score(i64 prompt, i64 row, i64 own, i64 size, i64 queries, i64 width) {
        scores(q.data(), width, queries, keys_T.data(), size, width, prompt, p.data(), size);
        scores(q.data(), width, queries, keys_T.data() + row, size, width, own, p.data() + prompt, size);
    }
};

// The ranges of a family that token `at` of it sees, whose row begins at `row`: [0, before) and [row, at].
inline i64 before(const Family &f, i64 row) { return row ? f.shared : 0; }

template <typename T>
void attention(const T *q, const T *k, const T *v, const Family *families, i64 count, const i64 *row_starts,
               float scaling, T *out, float *logsum, i64 rows, Heads h, i64 value_width) {
    const i64 shared = h.queries / h.keys;
#pragma omp parallel num_threads(threads_for(rows * h.queries * h.width))
    {
        Scratch s;
        s.q.resize(shared * h.width), s.sum.resize(shared * value_width);
#pragma omp for schedule(dynamic, 1)
        for (i64 task = 0; task < count * h.keys; task++) {
            const Family f = families[task / h.keys];
            const i64 head = task % h.keys, size = f.end - f.start;
            s.load(k + (f.start * h.keys + head) * h.width, v + (f.start * h.keys + head) * value_width,
                   h.keys * h.width, h.keys * value_width, size, h.width, value_width);
            s.p.resize(shared * size);
            for (i64 at = 0; at < size; at++) {
                const i64 row = row_starts[f.start + at] - f.start, prompt = before(f, row), own = at - row + 1;
                const i64 first = (f.start + at) * h.queries + head * shared;
                float *p = s.p.data(), *sum = s.sum.data(), most, total;
                for (i64 j = 0; j < shared * h.width; j++) s.q[j] = get(q[first * h.width + j]) * scaling;
                s.score(prompt, row, own, size, shared, h.width);
                for (i64 i = 0; i < shared; i++) {
                    exponentials(p + i * size, prompt + own, &most, &total);
                    for (i64 t = 0; t < prompt + own; t++) p[i * size + t] /= total;
                    logsum[first + i] = most + std::log(total);
                }
                std::fill(s.sum.begin(), s.sum.end(), 0.0f);
                add_values(p, size, shared, s.values.data(), value_width, prompt, sum, value_width);
                add_values(p + prompt, size, shared, s.values.data() + row * value_width, value_width, own, sum,
                           value_width);
                for (i64 j = 0; j < shared * value_width; j++) put(out[first * value_width + j], sum[j]);
            }
        }
    }
}

// out[j * places + t] += sum over the query heads of a group of q[head][j] * p[head][t].
inline void add_outer(const float *__restrict__ q, i64 width, const float *__restrict__ p, i64 p_stride, i64 heads,
                      i64 count, float *__restrict__ out, i64 places) {
    i64 j = 0;
    for (; j + 4 <= width; j += 4) {
        float *a = out + j * places, *b = a + places, *c = b + places, *d = c + places;
        i64 i = 0;
        for (; i + 2 <= heads; i += 2) {
            const float *x = q + i * width + j, *y = x + width, *s = p + i * p_stride, *r = s + p_stride;
#pragma omp simd
            for (i64 t = 0; t < count; t++) {
                a[t] += x[0] * s[t] + y[0] * r[t];
                b[t] += x[1] * s[t] + y[1] * r[t];
                c[t] += x[2] * s[t] + y[2] * r[t];
                d[t] += x[3] * s[t] + y[3] * r[t];
            }
        }
        for (; i < heads; i++)
            for (i64 n = 0; n < 4; n++)
                for (i64 t = 0; t < count; t++) a[n * places + t] += q[i * width + j + n] * p[i * p_stride + t];
    }
    for (; j < width; j++)
        for (i64 i = 0; i < heads; i++)
            for (i64 t = 0; t < count; t++) out[j * places + t] += q[i * width + j] * p[i * p_stride + t];
}

template <typename T>
void attention_backward(const T *g, const T *q, const T *k, const T *v, const T *out, const float *logsum,
                        const Family *families, i64 count, const i64 *row_starts, float scaling, T *dq, T *dk, T *dv,
                        i64 rows, Heads h, i64 value_width) {
    const i64 shared = h.queries / h.keys;
#pragma omp parallel num_threads(threads_for(rows * h.queries * h.width))
    {
        Scratch s;
        std::vector<float> of_keys, of_values, given(shared * value_width), of_q(shared * h.width), delta(shared);
        s.q.resize(shared * h.width);
#pragma omp for schedule(dynamic, 1)
        for (i64 task = 0; task < count * h.keys; task++) {
            const Family f = families[task / h.keys];
            const i64 head = task % h.keys, size = f.end - f.start;
            s.load(k + (f.start * h.keys + head) * h.width, v + (f.start * h.keys + head) * value_width,
                   h.keys * h.width, h.keys * value_width, size, h.width, value_width);
            s.p.resize(shared * size), s.of_p.resize(shared * size);
            of_keys.assign(size * h.width, 0), of_values.assign(size * value_width, 0);
            for (i64 at = 0; at < size; at++) {
                const i64 row = row_starts[f.start + at] - f.start, prompt = before(f, row), own = at - row + 1;
                const i64 first = (f.start + at) * h.queries + head * shared, seen = prompt + own;
                for (i64 j = 0; j < shared * h.width; j++) s.q[j] = get(q[first * h.width + j]) * scaling;
                for (i64 i = 0; i < shared; i++) {
                    delta[i] = 0;
                    for (i64 j = 0; j < value_width; j++) {
                        const float in = get(g[(first + i) * value_width + j]);
                        given[i * value_width + j] = in;
                        delta[i] += in * get(out[(first + i) * value_width + j]);
                    }
                }
                float *p = s.p.data(), *dp = s.of_p.data();
                s.score(prompt, row, own, size, shared, h.width);
                scores(given.data(), value_width, shared, s.values_T.data(), size, value_width, prompt, dp, size);
                scores(given.data(), value_width, shared, s.values_T.data() + row, size, value_width, own, dp + prompt,
                       size);
                for (i64 i = 0; i < shared; i++) {
                    float *__restrict__ x = p + i * size, *__restrict__ y = dp + i * size;
                    for (i64 t = 0; t < seen; t++) {
                        x[t] = fast_exp(x[t] - logsum[first + i]);
                        y[t] = x[t] * (y[t] - delta[i]);
                    }
                }
                std::fill(of_q.begin(), of_q.end(), 0.0f);
                add_values(dp, size, shared, s.keys.data(), h.width, prompt, of_q.data(), h.width);
                add_values(dp + prompt, size, shared, s.keys.data() + row * h.width, h.width, own, of_q.data(),
                           h.width);
                for (i64 j = 0; j < shared * h.width; j++) put(dq[first * h.width + j], of_q[j] * scaling);
                add_outer(s.q.data(), h.width, dp, size, shared, prompt, of_keys.data(), size);
                add_outer(s.q.data(), h.width, dp + prompt, size, shared, own, of_keys.data() + row, size);
                add_outer(given.data(), value_width, p, size, shared, prompt, of_values.data(), size);
                add_outer(given.data(), value_width, p + prompt, size, shared, own, of_values.data() + row, size);
            }
            for (i64 t = 0; t < size; t++) {
                const i64 place = (f.start + t) * h.keys + head;
                for (i64 j = 0; j < h.width; j++) put(dk[place * h.width + j], of_keys[j * size + t]);
                for (i64 j = 0; j < value_width; j++) put(dv[place * value_width + j], of_values[j * size + t]);
            }
        }
    }
}

}  // namespace
