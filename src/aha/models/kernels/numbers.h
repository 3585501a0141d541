// Numbers of either type, exp in vector registers, and how many threads a piece of work is worth.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
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

// a b + c, rounded once. The compiler joins none of its own (-ffp-contract=off) and reorders nothing but the sums that are
// marked: it has two versions of many loops, for memory that may overlap and for memory that does not, decides between
// them by addresses, and they have to round alike, or the same numbers would not always have the same result.
inline float multiply_add(float a, float b, float c) {
#if defined(__FP_FAST_FMAF)
    return std::fma(a, b, c);
#else
    return a * b + c;
#endif
}

// exp in vector registers: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; within 2 units in the last place.
inline float fast_exp(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float n = std::nearbyint(x * 1.44269504088896341f);
    const float r = multiply_add(n, 2.12194440e-4f, multiply_add(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = multiply_add(p, r, 1.3981999507e-3f);
    p = multiply_add(p, r, 8.3334519073e-3f);
    p = multiply_add(p, r, 4.1665795894e-2f);
    p = multiply_add(p, r, 1.6666665459e-1f);
    p = multiply_add(p, r, 5.0000001201e-1f);
    p = multiply_add(p * r, r, r) + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

// exp(x) for x <= 0, as attention over numbers of type T needs it: in bfloat16 a polynomial for 2^x on [-1/2, 1/2] will
// do, a third cheaper, within 4 units in the last place.
template <typename T>
inline float weight_of(float x) {
    if constexpr (std::is_same_v<T, float>) return fast_exp(x);
    x = std::max(x * 1.44269504088896341f, -125.0f);
    const float n = std::nearbyint(x), f = x - n;
    float p = 1.326472614891827e-3f;
    p = multiply_add(p, f, 9.671512991189957e-3f);
    p = multiply_add(p, f, 5.550733581185341e-2f);
    p = multiply_add(p, f, 2.4022242426872253e-1f);
    p = multiply_add(p, f, 6.931470036506653e-1f);
    p = multiply_add(p, f, 1.0f);
    int32_t bits;
    std::memcpy(&bits, &p, 4);
    bits += int32_t(n) << 23;
    std::memcpy(&p, &bits, 4);
    return p;
}

inline int threads_for(i64 numbers) { return numbers < PARALLEL_FROM ? 1 : omp_get_max_threads(); }

// Query heads, key heads, and the width of each.
struct Heads {
    i64 queries, keys, width;
};

}  // namespace
