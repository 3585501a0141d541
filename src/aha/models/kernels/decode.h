// A decoding step: one query a row against what the row has stored, and the draw of its next token.
#pragma once

#include "attention.h"

namespace {

// Keys and values of some rows: keys [*, K, D, places], so that places are neighbours, and values [*, K, places, Dv].
template <typename T>
struct Stored {
    T *keys, *values;
    i64 places;
};

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
        std::vector<float> query(shared * h.width), p, sum(shared * value_width);
#pragma omp for schedule(dynamic, 8)
        for (i64 r = 0; r < rows; r++) {
            const i64 before = depth[r], count = own[r] + 1, seen = before + count;
            p.resize(shared * seen);
            for (i64 head = 0; head < h.keys; head++) {
                T *keys = slots.keys + (r * h.keys + head) * h.width * slots.places;
                T *values = slots.values + (r * h.keys + head) * slots.places * value_width;
                for (i64 j = 0; j < h.width; j++)
                    keys[j * slots.places + own[r]] = k[(r * h.keys + head) * h.width + j];
                std::memcpy(values + own[r] * value_width, v + r * v_stride + head * value_width,
                            sizeof(T) * value_width);
                const i64 place = (prefix[r] * h.keys + head) * prefixes.places;
                const i64 first = r * h.queries + head * shared;
                for (i64 j = 0; j < shared * h.width; j++) query[j] = get(q[first * h.width + j]) * scaling;
                if (before)
                    scores(query.data(), h.width, shared, prefixes.keys + place * h.width, prefixes.places, h.width,
                           before, p.data(), seen);
                scores(query.data(), h.width, shared, keys, slots.places, h.width, count, p.data() + before, seen);
                std::fill(sum.begin(), sum.end(), 0.0f);
                float most, total;
                for (i64 i = 0; i < shared; i++) {
                    exponentials(p.data() + i * seen, seen, &most, &total);
                    for (i64 t = 0; t < seen; t++) p[i * seen + t] /= total;
                }
                if (before)
                    add_values(p.data(), seen, shared, prefixes.values + place * value_width, value_width, before,
                               sum.data(), value_width);
                add_values(p.data() + before, seen, shared, values, value_width, count, sum.data(), value_width);
                for (i64 j = 0; j < shared * value_width; j++) put(out[first * value_width + j], sum[j]);
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
