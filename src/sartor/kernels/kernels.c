/* A transformer's products and attention where a processor multiplies bfloat16 (products.h, attention.h),
   and what stands between them, each in one go over its numbers (functions.h).

   Every function of the last file is there for float32 and for bfloat16 (its name says which), and
   computes in float32 either way. Tensors are contiguous unless strides, in numbers, are given; what is
   summed is summed in one order, so the same input gives the same bits; SUMS(total) lets a loop's sum be
   made of several. No function allocates, and none keeps anything: several threads may call at once. */

#define _GNU_SOURCE /* syscall */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bfloat16;

enum { LANES = 16 };

#define PRAGMA(words) _Pragma(#words)
#define SUMS(total) PRAGMA(omp simd reduction(+ : total))

static inline float wide(bfloat16 number) {
    union { uint32_t bits; float value; } made = {.bits = (uint32_t)number << 16};
    return made.value;
}

/* To the nearest, the even one of two. A no-number stays one: those that computing makes, and those that
   were bfloat16, end in zeros. */
static inline bfloat16 narrow(float number) {
    union { float value; uint32_t bits; } given = {.value = number};
    return (bfloat16)((given.bits + 0x7fffu + ((given.bits >> 16) & 1u)) >> 16);
}

/* 2^k of a whole k from -126 to 127; of a no-number, 1. */
static inline float power_of_two(float k) {
    union { uint32_t bits; float value; } made;
    made.bits = (uint32_t)((int32_t)(k == k ? k : 0.0f) + 127) << 23;
    return made.value;
}

/* e^x in float32, relative error below 2e-7; beyond +-80 that of the bound, which is far from the
   smallest numbers: a processor takes a hundred times as long with those. x = k ln 2 + r, and e^r by
   a polynomial (Moshier, Cephes, expf.c). */
static inline float exponential(float x) {
    x = x < -80.0f ? -80.0f : x;
    x = x > 80.0f ? 80.0f : x;
    float k = __builtin_floorf(x * 1.44269504088896341f + 0.5f);
    float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * power_of_two(k);
}

/* The same for what is rounded to bfloat16's 8 bits: relative error below 8e-5. x = (k + f) ln 2, and
   2^f by the cubic whose largest relative error is the smallest (fitted with NumPy). */
static inline float exponential_short(float x) {
    x = x < -80.0f ? -80.0f : x;
    x = x > 80.0f ? 80.0f : x;
    float twos = x * 1.44269504088896341f, k = __builtin_floorf(twos + 0.5f), f = twos - k;
    float p = ((0.05517151f * f + 0.24261118f) * f + 0.69326102f) * f + 0.99992807f;
    return p * power_of_two(k);
}

#define NUMBER float
#define NAMED(name) name##_float32
#define WIDE(number) (number)
#define NARROW(number) (number)
#define EXPONENTIAL(x) exponential(x)
#include "functions.h"
#undef NUMBER
#undef NAMED
#undef WIDE
#undef NARROW
#undef EXPONENTIAL

#define NUMBER bfloat16
#define NAMED(name) name##_bfloat16
#define WIDE(number) wide(number)
#define NARROW(number) narrow(number)
#define EXPONENTIAL(x) exponential_short(x)
#include "functions.h"

#include "products.h"

#include "attention.h"
