// Attention within the rows of a packed stream, both directions.
#pragma once

#include "product.h"

namespace {

// Scores [size], a multiple of LANES, become exp(scaling (score - the largest)), scaling > 0; returns their sum, and the
// largest, scaled.
template <typename T>
inline float exponentials(float *__restrict__ p, i64 size, float scaling, float *most) {
    floats most_of = read<floats>(p), sums = {};
    for (i64 t = LANES; t < size; t += LANES) {
        const floats x = read<floats>(p + t);
        most_of = x > most_of ? x : most_of;
    }
    float largest = most_of[0], sum = 0;
    for (int i = 1; i < LANES; i++) largest = std::max(largest, most_of[i]);
    *most = largest * scaling;
    for (i64 t = 0; t < size; t += LANES) {
        for (int i = 0; i < LANES; i++) p[t + i] = weight_of<T>((p[t + i] - largest) * scaling);
        sums += read<floats>(p + t);
    }
    for (int i = 0; i < LANES; i++) sum += sums[i];
    return sum;
}

// Rows that share a prompt lie side by side: tokens start..end of the stream, of which the first `shared` are the prompt.
// A token sees the prompt's tokens and the earlier ones of its own row; a prompt's tokens see the earlier ones of it.
struct Family {
    i64 start, end, shared;
};

// `count` tokens of a family from `at` on, which are in one row that begins at `row`, so that they share what is read of
// keys and values. Their scores are in two ranges, each of whole vectors: of the `prompt` tokens before their row, then,
// from `begin` on, of the `own` ones that the last of them sees in it.
struct Block {
    i64 at, count, row, prompt, own, begin, width;

    // The end of what token number i of the block sees.
    i64 end(i64 i) const { return begin + own - count + i + 1; }
};

// The block that begins at a token; `heads` query heads read the same keys.
inline Block block_at(const Family &f, const i64 *row_starts, i64 at, i64 end, i64 heads) {
    const i64 *starts = row_starts + f.start, most = std::max<i64>(8, 4 * TALL / heads);
    i64 count = 1;
    while (count < most && at + count < end && starts[at + count] == starts[at]) count++;
    const i64 row = starts[at] - f.start, prompt = row ? f.shared : 0, own = at + count - row;
    const i64 begin = up(prompt, LANES);
    return {at, count, row, prompt, own, begin, begin + up(own, LANES)};
}

// Sets what a line of a block does not see.
inline void set_unseen(const Block &b, i64 token, float *line, float value) {
    std::fill(line + b.prompt, line + b.begin, value);
    std::fill(line + b.end(token), line + b.width, value);
}

// Rows of one side (keys, or values) of a family and key head, in float and both ways round. The turned one ends with
// zeros, so that whole vectors can be read from any place.
struct Side {
    i64 size, places, width;
    std::vector<float> rows, turned;

    template <typename T>
    void load(const T *from, i64 stride, i64 tokens, i64 numbers) {
        size = tokens, width = numbers, places = up(size, LANES) + LANES;
        rows.resize(size * width), turned.assign(places * width, 0);
        for (i64 t = 0; t < size; t++)
            for (i64 j = 0; j < width; j++) turned[j * places + t] = rows[t * width + j] = get(from[t * stride + j]);
    }

    // out [lines, b.width] = left [lines, width] against the tokens of both ranges.
    void score(const Block &b, i64 lines, const float *left, float *out) const {
        const Strided<const float> l{left, width};
        product(l, lines, rows_of(turned.data(), places), width, b.begin, {out, b.width}, false);
        product(l, lines, rows_of(turned.data() + b.row, places), width, b.width - b.begin, {out + b.begin, b.width},
                false);
    }

    // out [lines, width] = weights [lines, b.width] times the rows of both ranges.
    void sum(const Block &b, i64 lines, const float *weights, float *out) const {
        const Strided<const float> w{weights, b.width};
        product(w, lines, rows_of(rows.data(), width), b.prompt, width, {out, width}, false);
        product(w.columns_from(b.begin), lines, rows_of(rows.data() + b.row * width, width), b.own, width, {out, width},
                true);
    }

    // of_turned [width, places] += left [lines, width] transposed, times weights [lines, b.width].
    void add_outer(const Block &b, i64 lines, const float *left, const float *weights, float *of_turned) const {
        const Strided<const float> l{left, 1, width};
        product(l, width, rows_of(weights, b.width), lines, b.begin, {of_turned, places}, true);
        product(l, width, rows_of(weights + b.begin, b.width), lines, b.width - b.begin, {of_turned + b.row, places},
                true);
    }
};

// `numbers` of each of `tokens`, scaled, one after the other.
template <typename T>
inline void gather(const T *from, i64 stride, i64 tokens, i64 numbers, float scaling, std::vector<float> &to) {
    to.resize(tokens * numbers);
    for (i64 i = 0; i < tokens; i++)
        for (i64 j = 0; j < numbers; j++) to[i * numbers + j] = get(from[i * stride + j]) * scaling;
}

template <typename T>
inline void spread(const std::vector<float> &from, i64 tokens, i64 numbers, T *to, i64 stride, float scaling = 1) {
    for (i64 i = 0; i < tokens; i++)
        for (i64 j = 0; j < numbers; j++) put(to[i * stride + j], from[i * numbers + j] * scaling);
}

template <typename T>
void attention(const T *q, const T *k, const T *v, const Family *families, i64 count, const i64 *row_starts,
               float scaling, T *out, float *logsum, i64 rows, Heads h, i64 value_width) {
    const i64 shared = h.queries / h.keys;
    const int threads = threads_for(rows * h.queries * h.width);
    const i64 parts = up(2 * threads, count * h.keys) / (count * h.keys);  // few families are cut, for all threads
#pragma omp parallel num_threads(threads)
    {
        Side keys, values;
        std::vector<float> query, p, sum, total;
#pragma omp for schedule(dynamic, 1)
        for (i64 task = 0; task < count * h.keys * parts; task++) {
            const Family f = families[task / parts / h.keys];
            const i64 head = task / parts % h.keys, part = task % parts, size = f.end - f.start;
            const i64 last = size * (part + 1) / parts;
            keys.load(k + (f.start * h.keys + head) * h.width, h.keys * h.width, size, h.width);
            values.load(v + (f.start * h.keys + head) * value_width, h.keys * value_width, size, value_width);
            for (i64 at = size * part / parts; at < last;) {
                const Block b = block_at(f, row_starts, at, last, shared);
                const i64 first = (f.start + at) * h.queries + head * shared, lines = b.count * shared;
                gather(q + first * h.width, h.queries * h.width, b.count, shared * h.width, scaling, query);
                p.resize(lines * b.width), sum.resize(lines * value_width), total.resize(lines);
                keys.score(b, lines, query.data(), p.data());
                for (i64 i = 0; i < lines; i++) {
                    float *line = p.data() + i * b.width, most;
                    const i64 token = i / shared;
                    set_unseen(b, token, line, -INFINITY);
                    total[i] = exponentials<T>(line, b.width, 1, &most);
                    set_unseen(b, token, line, 0);
                    logsum[first + token * h.queries + i % shared] = most + std::log(total[i]);
                }
                values.sum(b, lines, p.data(), sum.data());
                for (i64 i = 0; i < lines; i++)
                    for (i64 j = 0; j < value_width; j++) sum[i * value_width + j] /= total[i];
                spread(sum, b.count, shared * value_width, out + first * value_width, h.queries * value_width);
                at += b.count;
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
        Side keys, values;
        std::vector<float> query, given, result, p, dp, of_query, of_keys, of_values;
#pragma omp for schedule(dynamic, 1)
        for (i64 task = 0; task < count * h.keys; task++) {
            const Family f = families[task / h.keys];
            const i64 head = task % h.keys, size = f.end - f.start;
            T *dk_at = dk + (f.start * h.keys + head) * h.width, *dv_at = dv + (f.start * h.keys + head) * value_width;
            keys.load(k + (dk_at - dk), h.keys * h.width, size, h.width);
            values.load(v + (dv_at - dv), h.keys * value_width, size, value_width);
            of_keys.assign(h.width * keys.places, 0), of_values.assign(value_width * values.places, 0);
            for (i64 at = 0; at < size;) {
                const Block b = block_at(f, row_starts, at, size, shared);
                const i64 first = (f.start + at) * h.queries + head * shared, lines = b.count * shared;
                const i64 stride = h.queries * value_width;
                gather(q + first * h.width, h.queries * h.width, b.count, shared * h.width, scaling, query);
                gather(g + first * value_width, stride, b.count, shared * value_width, 1, given);
                gather(out + first * value_width, stride, b.count, shared * value_width, 1, result);
                p.resize(lines * b.width), dp.resize(lines * b.width), of_query.resize(lines * h.width);
                keys.score(b, lines, query.data(), p.data());
                values.score(b, lines, given.data(), dp.data());
                for (i64 i = 0; i < lines; i++) {
                    float *__restrict__ x = p.data() + i * b.width, *__restrict__ y = dp.data() + i * b.width;
                    const i64 token = i / shared;
                    const float sum = logsum[first + token * h.queries + i % shared];
                    float delta = 0;
#pragma omp simd reduction(+ : delta)
                    for (i64 j = i * value_width; j < (i + 1) * value_width; j++) delta += given[j] * result[j];
                    for (i64 t = 0; t < b.width; t++) {
                        x[t] = fast_exp(x[t] - sum);
                        y[t] = x[t] * (y[t] - delta);
                    }
                    set_unseen(b, token, x, 0), set_unseen(b, token, y, 0);
                }
                keys.sum(b, lines, dp.data(), of_query.data());
                spread(of_query, b.count, shared * h.width, dq + first * h.width, h.queries * h.width, scaling);
                keys.add_outer(b, lines, query.data(), dp.data(), of_keys.data());
                values.add_outer(b, lines, given.data(), p.data(), of_values.data());
                at += b.count;
            }
            for (i64 t = 0; t < size; t++) {
                for (i64 j = 0; j < h.width; j++) put(dk_at[t * h.keys * h.width + j], of_keys[j * keys.places + t]);
                for (i64 j = 0; j < value_width; j++)
                    put(dv_at[t * h.keys * value_width + j], of_values[j * values.places + t]);
            }
        }
    }
}

}  // namespace
