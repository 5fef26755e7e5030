// Runs the kernels of a generated .cu file on the host: g++ -x c++ -include emulation.h. Threads run one after another,
// so a kernel may use neither barriers nor shared memory. OPTLOOM_REVERSED runs them in the opposite order: kernels
// whose result depends on the order are wrong on a device.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__

using cudaStream_t = void *;
inline int cudaGetLastError() { return 0; }

struct Index {
    unsigned x;
};
inline thread_local Index blockIdx, threadIdx, blockDim;

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }

inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

template <typename... Parameters, typename... Arguments>
void emulate(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, Arguments... arguments) {
    blockDim.x = threads;
    for (uint64_t i = 0, count = uint64_t(blocks) * threads; i < count; ++i) {
#ifdef OPTLOOM_REVERSED
        const uint64_t thread = count - 1 - i;
#else
        const uint64_t thread = i;
#endif
        blockIdx.x = unsigned(thread / threads);
        threadIdx.x = unsigned(thread % threads);
        kernel(arguments...);
    }
}
