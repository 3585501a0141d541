// Products of small matrices in vector registers. Sums are in float; a row's sum does not depend on the other rows.
#pragma once

#include "numbers.h"

#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, WIDE = 4;  // numbers of a vector; the most vectors of a tile's row
#else
constexpr int LANES = 8, WIDE = 2;
#endif
constexpr int TALL = 6;  // the most rows of a tile, so that its sums stay in registers
constexpr i64 PANEL = LANES * WIDE;

using floats = float __attribute__((vector_size(4 * LANES)));
using words = uint32_t __attribute__((vector_size(4 * LANES)));
using halves = uint16_t __attribute__((vector_size(2 * LANES)));

inline i64 up(i64 count, i64 multiple) { return (count + multiple - 1) / multiple * multiple; }

template <typename V, typename T>
inline V read(const T *at, int lanes = LANES) {
    V value = {};
    if (lanes == LANES)
        std::memcpy(&value, at, sizeof(V));
    else
        std::memcpy(&value, at, lanes * sizeof(T));
    return value;
}

// The right side of a product: its rows are the inner dimension, its columns lie side by side. `at(k, column)` is what
// one step of STEP rows needs of LANES columns, `add` the sum with such a step.
struct FloatRows {
    using Left = float;
    static constexpr int STEP = 1;
    const float *first;
    i64 stride;

    inline floats at(i64 k, i64 column, i64, int lanes) const {
        return read<floats>(first + k * stride + column, lanes);
    }
    static inline floats add(floats sum, const float *left, floats right) {
#if defined(__AVX512F__)
        return (floats)_mm512_fmadd_ps(_mm512_set1_ps(*left), (__m512)right, (__m512)sum);
#elif defined(__FMA__)
        return (floats)_mm256_fmadd_ps(_mm256_set1_ps(*left), (__m256)right, (__m256)sum);
#else
        return sum + *left * right;
#endif
    }
};

// Of bfloat16, two rows are met at once: a word holds a number of the even row and, above it, one of the odd row.
struct Pairs {
    using Left = bf16;
    static constexpr int STEP = 2;

    static inline floats add(floats sum, const bf16 *left, words right) {
        uint32_t pair;
        std::memcpy(&pair, left, 4);
#if defined(__AVX512BF16__)
        return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)right);
#else
        return sum + get(left[0]) * (floats)(right << 16) + get(left[1]) * (floats)(right & 0xffff0000u);
#endif
    }
};

// Rows as they are stored; where their number is odd, the left side has to end with a zero.
struct HalfRows : Pairs {
    const bf16 *first;
    i64 stride;

    HalfRows(const bf16 *first, i64 stride) : first(first), stride(stride) {}
    inline words at(i64 k, i64 column, i64 inner, int lanes) const {
        const bf16 *row = first + k * stride + column;
        const words even = __builtin_convertvector(read<halves>(row, lanes), words);
        if (k + 1 == inner) return even;
        return even | __builtin_convertvector(read<halves>(row + stride, lanes), words) << 16;
    }
};

// Rows that were paired before: [inner / 2, columns, 2].
struct PairedRows : Pairs {
    const bf16 *first;
    i64 columns;

    PairedRows(const bf16 *first, i64 columns) : first(first), columns(columns) {}
    inline words at(i64 k, i64 column, i64, int) const { return read<words>(first + k * columns + 2 * column); }
};

// The same rows, cheaper to read for a product with many rows on the left: those of bfloat16 paired, in `to`.
inline FloatRows prepared(const FloatRows &rows, i64, i64, std::vector<float> &) { return rows; }
inline PairedRows prepared(const HalfRows &rows, i64 inner, i64 columns, std::vector<bf16> &to) {
    const i64 width = up(columns, LANES);
    to.resize(up(inner, 2) * width);
    for (i64 k = 0; k < inner; k += 2)
        for (i64 column = 0; column < columns; column += LANES) {
            const words pairs = rows.at(k, column, inner, int(std::min<i64>(LANES, columns - column)));
            std::memcpy(to.data() + k * width + 2 * column, &pairs, sizeof pairs);
        }
    return {to.data(), width};
}

inline FloatRows rows_of(const float *first, i64 stride) { return {first, stride}; }
inline HalfRows rows_of(const bf16 *first, i64 stride) { return {first, stride}; }

// A matrix on the left, or the result, by its strides.
template <typename T>
struct Strided {
    T *first;
    i64 row, column = 1;

    Strided rows_from(i64 i) const { return {first + i * row, row, column}; }
    Strided columns_from(i64 i) const { return {first + i * column, row, column}; }
};

// out [N, C * LANES] (+)= left [N, inner] right [inner, columns from `column` on]; `lanes` of a vector are real.
template <int N, int C, typename R>
inline void tile(Strided<const typename R::Left> left, const R &right, i64 inner, i64 column, Strided<float> out,
                 bool adding, int lanes = LANES) {
    floats sum[N][C];
    for (int i = 0; i < N; i++)
        for (int c = 0; c < C; c++)
            sum[i][c] = adding ? read<floats>(out.first + i * out.row + column + c * LANES, lanes) : floats{};
    for (i64 k = 0; k < inner; k += R::STEP) {
        decltype(right.at(0, 0, 0, 0)) seen[C];
        for (int c = 0; c < C; c++) seen[c] = right.at(k, column + c * LANES, inner, lanes);
        for (int i = 0; i < N; i++)
            for (int c = 0; c < C; c++) sum[i][c] = R::add(sum[i][c], left.first + i * left.row + k * left.column, seen[c]);
    }
    for (int i = 0; i < N; i++)
        for (int c = 0; c < C; c++)
            std::memcpy(out.first + i * out.row + column + c * LANES, &sum[i][c], lanes * sizeof(float));
}

template <int N, typename R>
inline void tiles(Strided<const typename R::Left> left, const R &right, i64 inner, i64 columns, Strided<float> out,
                  bool adding) {
    i64 column = 0;
    for (; column + PANEL <= columns; column += PANEL) tile<N, WIDE>(left, right, inner, column, out, adding);
    for (; column + 2 * LANES <= columns; column += 2 * LANES) tile<N, 2>(left, right, inner, column, out, adding);
    for (; column + LANES <= columns; column += LANES) tile<N, 1>(left, right, inner, column, out, adding);
    if (column < columns) tile<N, 1>(left, right, inner, column, out, adding, int(columns - column));
}

// out [rows, columns] = left [rows, inner] right [inner, columns], or += where `adding`.
template <typename R>
inline void product(Strided<const typename R::Left> left, i64 rows, const R &right, i64 inner, i64 columns,
                    Strided<float> out, bool adding) {
    i64 i = 0;
    for (; i + TALL <= rows; i += TALL) tiles<TALL>(left.rows_from(i), right, inner, columns, out.rows_from(i), adding);
    for (; i + 4 <= rows; i += 4) tiles<4>(left.rows_from(i), right, inner, columns, out.rows_from(i), adding);
    for (; i + 2 <= rows; i += 2) tiles<2>(left.rows_from(i), right, inner, columns, out.rows_from(i), adding);
    if (i < rows) tiles<1>(left.rows_from(i), right, inner, columns, out.rows_from(i), adding);
}

inline FloatRows panel_of(const float *weight, i64 inner, i64 panel) { return {weight + panel * inner * PANEL, PANEL}; }
inline PairedRows panel_of(const bf16 *weight, i64 inner, i64 panel) { return {weight + panel * inner * PANEL, PANEL}; }

// out [rows, columns] = x [rows, inner] weight + bias (may be null). The weight lies in panels of PANEL columns,
// [columns / PANEL, inner / STEP, PANEL, STEP], the last filled up with zeros; `inner` is even.
template <typename T>
void linear(const T *x, const T *weight, const T *bias, T *out, i64 rows, i64 inner, i64 columns) {
    constexpr i64 BLOCK = 8 * TALL;
    const i64 panels = up(columns, PANEL) / PANEL, blocks = up(rows, BLOCK) / BLOCK;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads_for(rows * inner * columns / 64))
    for (i64 panel = 0; panel < panels; panel++)
        for (i64 block = 0; block < blocks; block++) {
            float sums[BLOCK * PANEL];
            const i64 first = block * BLOCK, count = std::min(BLOCK, rows - first), column = panel * PANEL;
            product({x + first * inner, inner}, count, panel_of(weight, inner, panel), inner, PANEL, {sums, PANEL}, false);
            for (i64 i = 0; i < count; i++)
                for (i64 j = 0; j < std::min(PANEL, columns - column); j++)
                    put(out[(first + i) * columns + column + j],
                        sums[i * PANEL + j] + (bias ? get(bias[column + j]) : 0.0f));
        }
}

}  // namespace
