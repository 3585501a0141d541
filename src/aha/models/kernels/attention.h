// Attention within the rows of a packed stream, both directions, and the products with keys and values that it is of.
#pragma once

#include "numbers.h"

namespace {

// A matrix of floats by its strides; T says in which type it is stored.
template <typename T>
struct Matrix {
    T *at;
    i64 row, column = 1;
};

// out [N, columns] += left [N, inner] right [inner, columns], whose columns are neighbours; N rows share what is read of
// `right`.
template <int N, typename T>
inline void add_rows(Matrix<const float> left, Matrix<const T> right, i64 inner, i64 columns, Matrix<float> out) {
    i64 k = 0;
    for (; k + 4 <= inner; k += 4) {
        const T *a = right.at + k * right.row, *b = a + right.row, *c = b + right.row, *d = c + right.row;
#pragma omp simd
        for (i64 t = 0; t < columns; t++) {
            const float w = get(a[t]), x = get(b[t]), y = get(c[t]), z = get(d[t]);
            for (int i = 0; i < N; i++) {
                const float *l = left.at + i * left.row + k * left.column;
                out.at[i * out.row + t] +=
                    l[0] * w + l[left.column] * x + l[2 * left.column] * y + l[3 * left.column] * z;
            }
        }
    }
    for (; k < inner; k++)
        for (int i = 0; i < N; i++) {
            const float l = left.at[i * left.row + k * left.column];
#pragma omp simd
            for (i64 t = 0; t < columns; t++) out.at[i * out.row + t] += l * get(right.at[k * right.row + t]);
        }
}

template <typename T>
inline void add_product(Matrix<const float> left, i64 rows, Matrix<const T> right, i64 inner, i64 columns,
                        Matrix<float> out) {
    for (; rows >= 2; rows -= 2, left.at += 2 * left.row, out.at += 2 * out.row)
        add_rows<2>(left, right, inner, columns, out);
    if (rows) add_rows<1>(left, right, inner, columns, out);
}

// out[i][t] = sum over j of q[i][j] * keys[j][t].
template <typename T>
inline void scores(const float *q, i64 q_stride, i64 queries, const T *keys, i64 places, i64 width, i64 count,
                   float *out, i64 out_stride) {
    for (i64 i = 0; i < queries; i++) std::fill_n(out + i * out_stride, count, 0.0f);
    add_product<T>({q, q_stride}, queries, {keys, places}, width, count, {out, out_stride});
}

// out[i][j] += sum over t of p[i][t] * values[t][j].
template <typename T>
inline void add_values(const float *p, i64 p_stride, i64 queries, const T *values, i64 width, i64 count, float *out,
                       i64 out_stride) {
    add_product<T>({p, p_stride}, queries, {values, width}, count, width, {out, out_stride});
}

// out[j][t] += sum over the query heads of a group of q[head][j] * p[head][t].
inline void add_outer(const float *q, i64 width, const float *p, i64 p_stride, i64 heads, i64 count, float *out,
                      i64 places) {
    add_product<float>({q, 1, width}, width, {p, p_stride}, heads, count, {out, places});
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
