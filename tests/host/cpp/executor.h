// What compiled kernel files see of the executor: indices, barriers, warp collectives, the registry.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "vectors.h"

namespace waata_host {

constexpr unsigned WARP_SIZE = 32;
// What a block can have on every supported architecture (sm_86, sm_89 and sm_120 have the least).
constexpr unsigned MAX_SHARED_BYTES = 99 * 1024;
// Behind dynamic shared memory, so that an access there stays in memory of the executor's.
constexpr unsigned GUARD_BYTES = 4096;

// Plain globals: one launch runs at a time, on one thread of the operating system.
extern const uint3* thread_index;
extern uint3 block_index;
extern dim3 block_size, grid_size;
extern unsigned char* dynamic_shared;

// The current thread's lane in its warp.
unsigned lane();

// The current thread's number in its block.
unsigned running_thread();

// Ends the launch with this message. Returns to the scheduler, never to the kernel.
[[noreturn]] void fault(const char* what, const char* file, unsigned line);
// The same with the source line of an instruction, and of the earlier access that it collides with.
[[noreturn]] void fault_at(const std::string& what, std::uintptr_t instruction, std::uintptr_t earlier = 0);

// What is not part of the kernel: its accesses are not checked.
#define WAATA_UNCHECKED __attribute__((no_sanitize("thread"), noinline))

enum class Operation : std::uint8_t { Sync, Shuffle, Ballot, Add, Min, Max, And, Or, Xor, Match };

// A call of a barrier or a collective in the source.
struct Site {
    const char* name;
    const char* file;
    unsigned line;

    // Waits for all threads of the block; returns for how many of them `predicate` holds.
    int barrier(bool predicate) const;
    // Waits for the lanes in `mask`; `source` is the lane whose value a shuffle returns.
    std::uint64_t collective(Operation operation, unsigned mask, std::uint64_t value, unsigned source = 0) const;

    void sync_block() const { barrier(false); }
    int count(int predicate) const { return barrier(predicate != 0); }
    int block_and(int predicate) const { return barrier(predicate == 0) == 0; }
    int block_or(int predicate) const { return barrier(predicate != 0) != 0; }

    void sync_warp(unsigned mask = 0xffffffffu) const { collective(Operation::Sync, mask, 0); }
    unsigned ballot(unsigned mask, int predicate) const {
        return static_cast<unsigned>(collective(Operation::Ballot, mask, predicate != 0));
    }
    int any(unsigned mask, int predicate) const { return ballot(mask, predicate) != 0; }
    int all(unsigned mask, int predicate) const { return ballot(mask, !predicate) == 0; }

    // The shuffles follow CUDA: `width` cuts the warp into segments; a source outside the segment is the lane itself.
    template <typename T>
    auto shuffle(unsigned mask, T value, int source, int width = WARP_SIZE) const {
        return exchange(mask, +value, segment(width) | (source & (width - 1)));
    }
    template <typename T>
    auto shuffle_up(unsigned mask, T value, unsigned delta, int width = WARP_SIZE) const {
        return exchange(mask, +value, lane() - segment(width) < delta ? lane() : lane() - delta);
    }
    template <typename T>
    auto shuffle_down(unsigned mask, T value, unsigned delta, int width = WARP_SIZE) const {
        return exchange(mask, +value, lane() + delta >= segment(width) + width ? lane() : lane() + delta);
    }
    template <typename T>
    auto shuffle_xor(unsigned mask, T value, int bits, int width = WARP_SIZE) const {
        const unsigned source = lane() ^ static_cast<unsigned>(bits);
        return exchange(mask, +value, source >= segment(width) + width ? lane() : source);
    }

    unsigned add(unsigned mask, unsigned value) const { return reduce(Operation::Add, mask, value); }
    int add(unsigned mask, int value) const { return reduce(Operation::Add, mask, value); }
    unsigned minimum(unsigned mask, unsigned value) const { return reduce(Operation::Min, mask, value); }
    int minimum(unsigned mask, int value) const { return reduce(Operation::Min, mask, value); }
    unsigned maximum(unsigned mask, unsigned value) const { return reduce(Operation::Max, mask, value); }
    int maximum(unsigned mask, int value) const { return reduce(Operation::Max, mask, value); }
    unsigned bit_and(unsigned mask, unsigned value) const { return reduce(Operation::And, mask, value); }
    unsigned bit_or(unsigned mask, unsigned value) const { return reduce(Operation::Or, mask, value); }
    unsigned bit_xor(unsigned mask, unsigned value) const { return reduce(Operation::Xor, mask, value); }
    template <typename T>
    unsigned match(unsigned mask, T value) const {
        return static_cast<unsigned>(collective(Operation::Match, mask, bits(+value)));
    }

private:
    static unsigned segment(int width) { return lane() & ~static_cast<unsigned>(width - 1); }

    template <typename T>
    static std::uint64_t bits(T value) {
        static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "CUDA exchanges 4 or 8 bytes");
        std::uint64_t raw = 0;
        std::memcpy(&raw, &value, sizeof(T));
        return raw;
    }
    template <typename T>
    T exchange(unsigned mask, T value, unsigned source) const {
        const std::uint64_t raw = collective(Operation::Shuffle, mask, bits(value), source);
        std::memcpy(&value, &raw, sizeof(T));
        return value;
    }
    // Sign extension to 64 bits keeps the order of int and, by zero extension, that of unsigned.
    template <typename T>
    T reduce(Operation operation, unsigned mask, T value) const {
        return static_cast<T>(collective(operation, mask, static_cast<std::uint64_t>(std::int64_t{value})));
    }
};

// A kernel as the registry holds it.
struct Entry {
    const char* name;
    void (*call)(const void* const* arguments);
    const unsigned* sizes;
    unsigned parameters;
    // From __launch_bounds__; 0 where there is none.
    unsigned max_threads;
    // Planted faults and probes, which test the executor itself.
    bool internal;
    // Static shared memory of the kernel's file.
    unsigned char *shared_begin, *shared_end;
};

void add(const Entry& entry);

// Reads the arguments of a kernel from `void**`, as cuLaunchKernel does. Each lies at a multiple of 16.
template <auto kernel>
struct Caller;

template <typename... P, void (*kernel)(P...)>
struct Caller<kernel> {
    static_assert((std::is_trivially_copyable_v<P> && ...), "a kernel's parameters are passed as bytes");
    static constexpr unsigned sizes[] = {static_cast<unsigned>(sizeof(P))..., 0};
    static constexpr unsigned parameters = sizeof...(P);

    WAATA_UNCHECKED static void call(const void* const* arguments) { expand(arguments, std::index_sequence_for<P...>{}); }

    template <std::size_t... I>
    WAATA_UNCHECKED static void expand([[maybe_unused]] const void* const* arguments, std::index_sequence<I...>) {
        kernel(*static_cast<const std::remove_cv_t<P>*>(arguments[I])...);
    }
};

}  // namespace waata_host
