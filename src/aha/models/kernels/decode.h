// A decoding step: one query a row against what the row has stored, and the draw of its next token.
#pragma once

#include "attention.h"

namespace {

// Keys and values of some rows: keys [*, K, D, places], so that places are neighbours, and values [*, K, places, Dv].
template <typename T>
struct Stored {
    T *keys, *values;
    i64 places;

    // Those of one key head, by its number among all rows'.
    Stored head(i64 number, i64 width, i64 value_width) const {
        return {keys + number * width * places, values + number * places * value_width, places};
    }
};

// Each of `size` numbers, a multiple of LANES, as the sum of two.
inline void split(const float *from, i64 size, bf16 *high, bf16 *low) {
#if defined(__AVX512BF16__)
    for (i64 i = 0; i < size; i += LANES) {
        const __m512 x = _mm512_loadu_ps(from + i);
        const __m256bh near = _mm512_cvtneps_pbh(x);
        const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)near), 16);
        _mm256_storeu_si256((__m256i *)(high + i), (__m256i)near);
        _mm256_storeu_si256((__m256i *)(low + i), (__m256i)_mm512_cvtneps_pbh(_mm512_sub_ps(x, (__m512)bits)));
    }
#else
    for (i64 i = 0; i < size; i++) {
        put(high[i], from[i]);
        put(low[i], from[i] - get(high[i]));
    }
#endif
}

// out [lines, Dv] = weights [lines, width] times the first `places` values. The weights end with zeros. In bfloat16 they
// are split into two parts, so that they lose nothing of what the packed attention keeps in float.
template <typename R>
inline void weigh(const std::vector<float> &weights, i64 lines, i64 width, const R &values, i64 places, i64 value_width,
                  std::vector<float> &, float *out) {
    product({weights.data(), width}, lines, values, places, value_width, {out, value_width}, false);
}
template <typename R>
inline void weigh(const std::vector<float> &weights, i64 lines, i64 width, const R &values, i64 places, i64 value_width,
                  std::vector<bf16> &parts, float *out) {
    const i64 size = lines * width;
    parts.resize(2 * size);
    bf16 *high = parts.data(), *low = high + size;
    split(weights.data(), size, high, low);
    for (const bf16 *part : {high, low})
        product({part, width}, lines, values, places, value_width, {out, value_width}, part == low);
}

// What a query has seen: exp(score - most) of it, its total, and its sum with the values [Dv].
struct Seen {
    float *most, *total, *sum;

    // Adds what it has seen elsewhere.
    void add(const Seen &other, i64 value_width) const {
        const float larger = std::max(*most, *other.most);
        const float here = fast_exp(*most - larger), there = fast_exp(*other.most - larger);
        for (i64 j = 0; j < value_width; j++) sum[j] = sum[j] * here + other.sum[j] * there;
        *total = *total * here + *other.total * there;
        *most = larger;
    }
};

// The same of many queries.
struct AllSeen {
    std::vector<float> most, total, sum;

    void resize(i64 count, i64 value_width) { most.resize(count), total.resize(count), sum.resize(count * value_width); }
    Seen at(i64 i, i64 value_width) { return {&most[i], &total[i], &sum[i * value_width]}; }
};

// What a thread needs to attend with some lines: queries of rows and heads that see the same places.
template <typename T>
struct Lines {
    static constexpr i64 TOGETHER = 256;          // places: their scores stay in the first cache
    static constexpr i64 PREPARE_FROM = 2 * TALL;  // lines that pay for rows being prepared
    std::vector<float> p;
    std::vector<T> parts, keys, values;
    AllSeen seen, part;

    // `seen` of queries [lines, D] and the first `places` of one key head.
    void attend(const T *query, i64 lines, Stored<T> at, i64 width, i64 value_width, i64 places, float scaling) {
        seen.resize(lines, value_width);
        for (i64 first = 0; first < places; first += TOGETHER) {
            AllSeen &to = first ? part : seen;
            to.resize(lines, value_width);
            look(query, lines, {at.keys + first, at.values + first * value_width, at.places}, width, value_width,
                 std::min(TOGETHER, places - first), scaling, to);
            for (i64 i = 0; first && i < lines; i++) seen.at(i, value_width).add(part.at(i, value_width), value_width);
        }
    }

    void look(const T *query, i64 lines, Stored<T> at, i64 width, i64 value_width, i64 places, float scaling,
              AllSeen &to) {
        const auto key_rows = rows_of(at.keys, at.places), value_rows = rows_of(at.values, value_width);
        if (lines < PREPARE_FROM) return look(query, lines, key_rows, value_rows, width, value_width, places, scaling, to);
        look(query, lines, prepared(key_rows, width, up(places, LANES), keys),
             prepared(value_rows, places, value_width, values), width, value_width, places, scaling, to);
    }

    template <typename R>
    void look(const T *query, i64 lines, const R &keys, const R &values, i64 width, i64 value_width, i64 places,
              float scaling, AllSeen &to) {
        const i64 size = up(places, LANES);
        p.resize(lines * size);
        product({query, width}, lines, keys, width, size, {p.data(), size}, false);
        for (i64 i = 0; i < lines; i++) {
            float *line = p.data() + i * size;
            std::fill(line + places, line + size, -INFINITY);
            to.total[i] = exponentials<T>(line, size, scaling, &to.most[i]);
            std::fill(line + places, line + size, 0.0f);
        }
        weigh(p, lines, size, values, places, value_width, parts, to.sum.data());
    }
};

// The rows' queries against the prefixes that they continue. Rows of one prefix are taken together: it is read once.
template <typename T>
AllSeen attend_prefixes(const T *q, Stored<T> prefixes, const i64 *prefix, const i64 *depth, float scaling, i64 rows,
                        Heads h, i64 value_width) {
    const i64 shared = h.queries / h.keys, together = std::max<i64>(1, 4 * TALL / shared);
    AllSeen seen;
    seen.resize(rows * h.queries, value_width);
    std::vector<i64> order, starts;
    for (i64 r = 0; r < rows; r++)
        if (depth[r]) order.push_back(r);
    std::stable_sort(order.begin(), order.end(), [&](i64 a, i64 b) { return prefix[a] < prefix[b]; });
    for (i64 i = 0; i < i64(order.size()); i++)
        if (!i || i - starts.back() == together || prefix[order[i]] != prefix[order[i - 1]]) starts.push_back(i);
    starts.push_back(order.size());
    i64 numbers = 0;
    for (i64 r : order) numbers += depth[r] * h.queries * h.width;
#pragma omp parallel num_threads(threads_for(numbers / 4))
    {
        Lines<T> work;
        std::vector<T> query;
#pragma omp for schedule(dynamic, 1)
        for (i64 task = 0; task < i64(starts.size() - 1) * h.keys; task++) {
            const i64 head = task % h.keys, first = starts[task / h.keys], last = starts[task / h.keys + 1];
            const i64 place = prefix[order[first]] * h.keys + head, numbers = shared * h.width;
            query.resize((last - first) * numbers);
            for (i64 i = first; i < last; i++)
                std::copy_n(q + (order[i] * h.keys + head) * numbers, numbers, query.data() + (i - first) * numbers);
            work.attend(query.data(), (last - first) * shared, prefixes.head(place, h.width, value_width), h.width,
                        value_width, depth[order[first]], scaling);
            for (i64 i = first; i < last; i++) {
                const i64 to = (order[i] * h.keys + head) * shared, from = (i - first) * shared;
                std::copy_n(&work.seen.most[from], shared, &seen.most[to]);
                std::copy_n(&work.seen.total[from], shared, &seen.total[to]);
                std::copy_n(&work.seen.sum[from * value_width], shared * value_width, &seen.sum[to * value_width]);
            }
        }
    }
    return seen;
}

// One query a row against the row's own places 0..own[row], the last of which is written here, and, before them, the
// depth[row] first places of shared prefix number prefix[row].
template <typename T>
void decode(const T *q, const T *k, const T *v, i64 v_stride, Stored<T> slots, Stored<T> prefixes, const i64 *own,
            const i64 *prefix, const i64 *depth, float scaling, T *out, i64 rows, Heads h, i64 value_width) {
    const i64 shared = h.queries / h.keys;
    i64 numbers = 0, deepest = 0;
    for (i64 r = 0; r < rows; r++) numbers += own[r] * h.queries, deepest = std::max(deepest, depth[r]);
    AllSeen before;
    if (deepest) before = attend_prefixes(q, prefixes, prefix, depth, scaling, rows, h, value_width);
#pragma omp parallel num_threads(threads_for(numbers * h.width / 4))
    {
        Lines<T> work;
#pragma omp for schedule(dynamic, 8)
        for (i64 r = 0; r < rows; r++)
            for (i64 head = 0; head < h.keys; head++) {
                const Stored<T> at = slots.head(r * h.keys + head, h.width, value_width);
                for (i64 j = 0; j < h.width; j++) at.keys[j * at.places + own[r]] = k[(r * h.keys + head) * h.width + j];
                std::copy_n(v + r * v_stride + head * value_width, value_width, at.values + own[r] * value_width);
                const i64 first = (r * h.keys + head) * shared;
                work.attend(q + first * h.width, shared, at, h.width, value_width, own[r] + 1, scaling);
                for (i64 i = 0; i < shared; i++) {
                    const Seen seen = work.seen.at(i, value_width);
                    if (depth[r]) seen.add(before.at(first + i, value_width), value_width);
                    for (i64 j = 0; j < value_width; j++)
                        put(out[(first + i) * value_width + j], seen.sum[j] / *seen.total);
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
#pragma omp simd reduction(max : most)
            for (i64 j = 0; j < size; j++) most = std::max(most, get(row[j]));
            float total = 0;
            for (i64 b = 0; b < i64(sums.size()); b++) {
                const i64 end = std::min(size, (b + 1) * BLOCK);
                float sum = 0;
#pragma omp simd reduction(+ : sum)
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
