// What lies between the matrix products of a Llama-shaped model on a CPU, each step in one pass over its data.
//
// Built on first use for the processor that it runs on and called through ctypes (build.py); the same mathematics in
// PyTorch is in fused.py, for other devices, other types and machines without a compiler. T is float or bfloat16; sums
// are in float. Threads are OpenMP's, the ones that PyTorch set; a row's result does not depend on how many there are.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using i64 = int64_t;

constexpr i64 PARALLEL_FROM = 1 << 15;  // numbers below which a second thread costs more than it saves

struct bf16 {
    uint16_t bits;
};

inline float get(const float &x) { return x; }
inline float get(const bf16 &x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline void put(float &x, float value) { x = value; }
inline void put(bf16 &x, float value) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    x.bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// exp in vector registers: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; within 2 units in the last place.
inline float fast_exp(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float n = std::nearbyint(x * 1.44269504088896341f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

inline int threads_for(i64 numbers) { return numbers < PARALLEL_FROM ? 1 : omp_get_max_threads(); }

template <typename T>
inline float inverse_rms(const T *x, i64 size, float eps) {
    float sum = 0;
    for (i64 j = 0; j < size; j++) sum += get(x[j]) * get(x[j]);
    return 1.0f / std::sqrt(sum / float(size) + eps);
}

// dx of y = x * s * w with s = inverse_rms(x): s * g w - x * s^3 / size * sum(g w x). Adds g x s to `of_weight`.
template <typename T, typename G>
inline void norm_backward_row(const G *__restrict__ g, const T *__restrict__ x, const T *__restrict__ w, float s,
                              i64 size, float *__restrict__ dx, float *__restrict__ of_weight) {
    float dot = 0;
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

struct Heads {
    i64 queries, keys, width;
};

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

// Keys and values of some rows: keys [*, K, D, places], so that places are neighbours, and values [*, K, places, Dv].
template <typename T>
struct Stored {
    T *keys, *values;
    i64 places;
};

template <typename T>
inline void scores(const float *__restrict__ q, const T *__restrict__ keys, i64 places, i64 width, i64 count,
                   float *__restrict__ out) {
    for (i64 t = 0; t < count; t++) out[t] = 0;
    i64 d = 0;
    for (; d + 4 <= width; d += 4) {
        const T *a = keys + d * places, *b = a + places, *c = b + places, *e = c + places;
        for (i64 t = 0; t < count; t++)
            out[t] += q[d] * get(a[t]) + q[d + 1] * get(b[t]) + q[d + 2] * get(c[t]) + q[d + 3] * get(e[t]);
    }
    for (; d < width; d++)
        for (i64 t = 0; t < count; t++) out[t] += q[d] * get(keys[d * places + t]);
}

template <typename T>
inline void add_values(const float *__restrict__ p, const T *__restrict__ values, i64 width, i64 count,
                       float *__restrict__ out) {
    i64 t = 0;
    for (; t + 4 <= count; t += 4) {
        const T *a = values + t * width, *b = a + width, *c = b + width, *e = c + width;
        for (i64 j = 0; j < width; j++)
            out[j] += p[t] * get(a[j]) + p[t + 1] * get(b[j]) + p[t + 2] * get(c[j]) + p[t + 3] * get(e[j]);
    }
    for (; t < count; t++)
        for (i64 j = 0; j < width; j++) out[j] += p[t] * get(values[t * width + j]);
}

// One query a row against the row's own places 0..own[row], the last of which is written here, and, before them, the
// depth[row] first places of shared prefix number prefix[row].
template <typename T>
void decode(const T *q, const T *k, const T *v, i64 v_stride, Stored<T> slots, Stored<T> prefixes, const i64 *own,
            const i64 *prefix, const i64 *depth, float scaling, T *out, i64 rows, Heads h, i64 value_width) {
    const i64 shared = h.queries / h.keys;
    i64 numbers = 0;
    for (i64 r = 0; r < rows; r++) numbers += (own[r] + depth[r]) * h.queries;
#pragma omp parallel num_threads(threads_for(numbers * h.width / 4))
    {
        std::vector<float> query(h.width), p, sum(value_width);
#pragma omp for schedule(dynamic, 8)
        for (i64 r = 0; r < rows; r++) {
            const i64 before = depth[r], count = own[r] + 1;
            p.resize(before + count);
            for (i64 head = 0; head < h.keys; head++) {
                T *keys = slots.keys + (r * h.keys + head) * h.width * slots.places;
                T *values = slots.values + (r * h.keys + head) * slots.places * value_width;
                for (i64 j = 0; j < h.width; j++)
                    keys[j * slots.places + own[r]] = k[(r * h.keys + head) * h.width + j];
                std::memcpy(values + own[r] * value_width, v + r * v_stride + head * value_width,
                            sizeof(T) * value_width);
                const i64 place = (prefix[r] * h.keys + head) * prefixes.places;
                for (i64 i = head * shared; i < (head + 1) * shared; i++) {
                    for (i64 j = 0; j < h.width; j++) query[j] = get(q[(r * h.queries + i) * h.width + j]) * scaling;
                    if (before)
                        scores(query.data(), prefixes.keys + place * h.width, prefixes.places, h.width, before, p.data());
                    scores(query.data(), keys, slots.places, h.width, count, p.data() + before);
                    float most = p[0], total = 0;
                    for (i64 t = 0; t < before + count; t++) most = std::max(most, p[t]);
                    for (i64 t = 0; t < before + count; t++) p[t] = fast_exp(p[t] - most);
                    for (i64 t = 0; t < before + count; t++) total += p[t];
                    std::fill(sum.begin(), sum.end(), 0.0f);
                    if (before)
                        add_values(p.data(), prefixes.values + place * value_width, value_width, before, sum.data());
                    add_values(p.data() + before, values, value_width, count, sum.data());
                    for (i64 j = 0; j < value_width; j++)
                        put(out[(r * h.queries + i) * value_width + j], sum[j] / total);
                }
            }
        }
    }
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
        s.q.resize(h.width), s.sum.resize(value_width);
#pragma omp for schedule(dynamic, 1)
        for (i64 task = 0; task < count * h.keys; task++) {
            const Family f = families[task / h.keys];
            const i64 head = task % h.keys, size = f.end - f.start;
            s.load(k + (f.start * h.keys + head) * h.width, v + (f.start * h.keys + head) * value_width,
                   h.keys * h.width, h.keys * value_width, size, h.width, value_width);
            s.p.resize(size);
            for (i64 at = 0; at < size; at++) {
                const i64 row = row_starts[f.start + at] - f.start, prompt = before(f, row), own = at - row + 1;
                float *p = s.p.data();
                for (i64 i = head * shared; i < (head + 1) * shared; i++) {
                    const i64 place = (f.start + at) * h.queries + i;
                    for (i64 j = 0; j < h.width; j++) s.q[j] = get(q[place * h.width + j]) * scaling;
                    scores(s.q.data(), s.keys_T.data(), size, h.width, prompt, p);
                    scores(s.q.data(), s.keys_T.data() + row, size, h.width, own, p + prompt);
                    float most = p[0], total = 0;
                    for (i64 t = 0; t < prompt + own; t++) most = std::max(most, p[t]);
                    for (i64 t = 0; t < prompt + own; t++) p[t] = fast_exp(p[t] - most);
                    for (i64 t = 0; t < prompt + own; t++) total += p[t];
                    std::fill(s.sum.begin(), s.sum.end(), 0.0f);
                    add_values(p, s.values.data(), value_width, prompt, s.sum.data());
                    add_values(p + prompt, s.values.data() + row * value_width, value_width, own, s.sum.data());
                    for (i64 j = 0; j < value_width; j++) put(out[place * value_width + j], s.sum[j] / total);
                    logsum[place] = most + std::log(total);
                }
            }
        }
    }
}

// out[j * places + t] += sum over the query heads of a group of q[head][j] * p[head][t].
inline void add_outer(const float *__restrict__ q, i64 width, const float *__restrict__ p, i64 p_stride, i64 heads,
                      i64 count, float *__restrict__ out, i64 places) {
    for (i64 j = 0; j < width; j++) {
        float *__restrict__ row = out + j * places;
        i64 i = 0;
        for (; i + 2 <= heads; i += 2) {
            const float a = q[i * width + j], b = q[(i + 1) * width + j];
            const float *__restrict__ x = p + i * p_stride, *__restrict__ y = x + p_stride;
            for (i64 t = 0; t < count; t++) row[t] += a * x[t] + b * y[t];
        }
        for (; i < heads; i++)
            for (i64 t = 0; t < count; t++) row[t] += q[i * width + j] * p[i * p_stride + t];
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
        std::vector<float> of_keys, of_values, given(shared * value_width), of_q(h.width);
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
                for (i64 i = 0; i < shared; i++) {
                    const i64 place = (f.start + at) * h.queries + head * shared + i;
                    float *p = s.p.data() + i * size, *dp = s.of_p.data() + i * size;
                    float *query = s.q.data() + i * h.width, *of_out = given.data() + i * value_width, delta = 0;
                    for (i64 j = 0; j < h.width; j++) query[j] = get(q[place * h.width + j]) * scaling;
                    for (i64 j = 0; j < value_width; j++) {
                        of_out[j] = get(g[place * value_width + j]);
                        delta += of_out[j] * get(out[place * value_width + j]);
                    }
                    scores(query, s.keys_T.data(), size, h.width, prompt, p);
                    scores(query, s.keys_T.data() + row, size, h.width, own, p + prompt);
                    scores(of_out, s.values_T.data(), size, value_width, prompt, dp);
                    scores(of_out, s.values_T.data() + row, size, value_width, own, dp + prompt);
                    for (i64 t = 0; t < prompt + own; t++) {
                        p[t] = fast_exp(p[t] - logsum[place]);
                        dp[t] = p[t] * (dp[t] - delta);
                    }
                    std::fill(of_q.begin(), of_q.end(), 0.0f);
                    add_values(dp, s.keys.data(), h.width, prompt, of_q.data());
                    add_values(dp + prompt, s.keys.data() + row * h.width, h.width, own, of_q.data());
                    for (i64 j = 0; j < h.width; j++) put(dq[place * h.width + j], of_q[j] * scaling);
                }
                const float *p = s.p.data(), *dp = s.of_p.data();
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

// A token of softmax(logits / temperature) for each row by inverse CDF, and its log-prob.
template <typename T>
void sample(const T *logits, float temperature, const float *uniform, i64 *tokens, float *logprobs, i64 rows, i64 size) {
    constexpr i64 BLOCK = 256;
#pragma omp parallel num_threads(threads_for(rows * size))
    {
        std::vector<float> p(size), sums((size + BLOCK - 1) / BLOCK);
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; r++) {
            const T *row = logits + r * size;
            float most = get(row[0]);
            for (i64 j = 0; j < size; j++) most = std::max(most, get(row[j]));
            float total = 0;
            for (i64 b = 0; b < i64(sums.size()); b++) {
                const i64 end = std::min(size, (b + 1) * BLOCK);
                float sum = 0;
                for (i64 j = b * BLOCK; j < end; j++) {
                    const float x = (get(row[j]) - most) / temperature;
                    p[j] = x < -87.0f ? 0.0f : fast_exp(x);
                    sum += p[j];
                }
                total += sums[b] = sum;
            }
            // The last token that is possible catches what rounding leaves over.
            const float point = uniform[r] * total;
            float reached = 0;
            i64 b = 0, token = -1;
            for (; b + 1 < i64(sums.size()) && reached + sums[b] <= point; b++) reached += sums[b];
            for (i64 j = b * BLOCK; j < size; j++) {
                if (p[j] == 0.0f) continue;
                token = j;
                reached += p[j];
                if (reached > point) break;
            }
            while (token < 0 || p[token] == 0.0f) token = token < 0 ? size - 1 : token - 1;
            tokens[r] = token;
            logprobs[r] = (get(row[token]) - most) / temperature - std::log(total);
        }
    }
}

}  // namespace

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
    }

extern "C" {
EXPORT(float, float32)
EXPORT(bf16, bfloat16)
}
