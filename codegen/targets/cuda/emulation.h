// Runs the kernels of a generated .cu file on the host, compiled as C++ behind this header. Threads run one after
// another, in an order that `optloom_order` chooses: 0 as they are numbered, others shuffled. What a thread does up to a
// barrier is done by all threads of its block before any of them goes on.
#pragma once
#include <cstdint>
#include <cstring>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(threads)
#define __builtin_assume(condition)

extern "C" unsigned long long optloom_order;
unsigned long long optloom_order = 0;

struct Index {
    unsigned x;
};
static Index blockIdx, threadIdx, blockDim;

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }
inline float fabsf(float a) { return __builtin_fabsf(a); }
inline double fabs(double a) { return __builtin_fabs(a); }
inline float powf(float a, float b) { return __builtin_powf(a, b); }
inline double pow(double a, double b) { return __builtin_pow(a, b); }

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

namespace emulation {

// The i-th of `count` in the order chosen: steps of a size without a common divisor visit each once.
inline uint64_t shuffled(uint64_t i, uint64_t count) {
    if (optloom_order == 0 || count < 2) return i;
    uint64_t step = optloom_order % count | 1;
    for (auto common = [](uint64_t a, uint64_t b) { while (b) a = std::exchange(b, a % b); return a; }; common(step, count) > 1;) ++step;
    return (optloom_order + i * step) % count;
}

constexpr int most_threads = 1024, stack_size = 1 << 15;
static ucontext_t scheduler, threads[most_threads];
static char stacks[most_threads][stack_size];
static bool is_done[most_threads];
static void (*body)(void *), *arguments;

static void run_thread() {
    body(arguments);
    is_done[threadIdx.x] = true;
    swapcontext(&threads[threadIdx.x], &scheduler);
}

// A block of threads that meet at barriers.
static void run_block(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        is_done[i] = false;
        getcontext(&threads[i]);
        threads[i].uc_stack.ss_sp = stacks[i];
        threads[i].uc_stack.ss_size = stack_size;
        makecontext(&threads[i], run_thread, 0);
    }
    for (unsigned done = 0; done < count;)
        for (unsigned i = 0; i < count; ++i) {
            const unsigned thread = unsigned(shuffled(i, count));
            if (is_done[thread]) continue;
            threadIdx.x = thread;
            swapcontext(&scheduler, &threads[thread]);
            done += is_done[thread];
        }
}

template <typename... P, size_t... i>
void call(void (*kernel)(P...), void **arguments, std::index_sequence<i...>) {
    kernel(*static_cast<std::remove_const_t<P> *>(arguments[i])...);
}

// What cuLaunchKernel does. `has_barriers`: threads of a block are run side by side.
template <typename... P>
void launch(void (*kernel)(P...), bool has_barriers, unsigned blocks, unsigned count, void **parameters) {
    blockDim.x = count;
    struct Call {
        void (*kernel)(P...);
        void **parameters;
    } packed = {kernel, parameters};
    arguments = &packed;
    body = [](void *packed) {
        const Call &of = *static_cast<Call *>(packed);
        call(of.kernel, of.parameters, std::index_sequence_for<P...>{});
    };
    for (unsigned i = 0; i < blocks; ++i) {
        blockIdx.x = unsigned(shuffled(i, blocks));
        if (has_barriers) {
            run_block(count);
            continue;
        }
        for (unsigned j = 0; j < count; ++j) {
            threadIdx.x = unsigned(shuffled(j, count));
            body(arguments);
        }
    }
}

}  // namespace emulation

inline void __syncthreads() { swapcontext(&emulation::threads[threadIdx.x], &emulation::scheduler); }
