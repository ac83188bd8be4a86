// Runs a kernel: blocks one after another, the threads of a block as fibers that pause at barriers and warp
// collectives. A warp runs until all of its lanes wait for the block or have returned, then the next one.

#include "executor.h"

#ifdef WAATA_SANITIZER_ADDRESS
#include <sanitizer/asan_interface.h>
#endif

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "fiber.h"
#include "memory.h"

namespace waata_host {

const uint3* thread_index;
uint3 block_index;
dim3 block_size, grid_size;
unsigned char* dynamic_shared;

namespace {

constexpr unsigned char POISON = 0xff;  // NaN as float and double, a huge index as an integer.
enum class State : std::uint8_t { Ready, Barrier, Warp, Done };

struct Thread {
    uint3 index;
    State state;
    Operation operation;
    unsigned mask, source;
    std::uint64_t value, result;
    Site site;
    // Barriers of the block and of the warp that the thread has met.
    unsigned barriers, warp_barriers;
};

// For ThreadSanitizer, what `fiber_releases` and `fiber_acquires` name. A thread that has passed a barrier may reach the
// next one before another has left the first: two objects in turn, so that what it did in between is not taken for what
// it did before.
char begun, ended, barrier_objects[2], warp_objects[MAX_FIBERS / WARP_SIZE][2];

enum class Order : int { Forward = 0, Reverse = 1, Shuffle = 2 };

std::vector<Entry>& registry() {
    static std::vector<Entry> entries;
    return entries;
}

Thread threads[MAX_FIBERS];
unsigned running;  // Index in `threads`.
const Entry* entry;
const void* const* arguments;
std::string failure;
// Instructions whose lines belong to `failure`; found out outside the fiber, whose stack is small.
std::uintptr_t failed_at, failed_earlier;
// Barriers that this launch has met, and the one that it leaves out ("file:line"; empty for none).
std::vector<Site> met;
std::string left_out;
alignas(128) unsigned char dynamic_memory[MAX_SHARED_BYTES + GUARD_BYTES];

bool same(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }

bool same(const Site& a, const Site& b) { return a.line == b.line && same(a.name, b.name) && same(a.file, b.file); }

std::string place(const char* file, unsigned line) {
    const char* slash = std::strrchr(file, '/');
    return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
}

std::string where() {
    return "kernel `" + std::string(entry->name) + "`, block (" + std::to_string(block_index.x) + ", " +
           std::to_string(block_index.y) + ", " + std::to_string(block_index.z) + ")";
}

std::string who() {
    const uint3& i = threads[running].index;
    return "thread (" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

void run_thread() {
    fiber_acquires(&begun);
    entry->call(arguments);
    fiber_releases(&ended);
    threads[running].state = State::Done;
    pause_fiber();
}

void resume(unsigned thread) {
    running = thread;
    thread_index = &threads[thread].index;
    resume_fiber(thread);
}

// A small generator of its own: the order needs no quality, only the same sequence on every machine.
struct Generator {
    std::uint64_t state;
    std::uint64_t next() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    unsigned below(unsigned n) { return static_cast<unsigned>(next() % n); }
};

void arrange(unsigned* items, unsigned count, Order order, Generator& random) {
    for (unsigned i = 0; i < count; ++i) items[i] = order == Order::Reverse ? count - 1 - i : i;
    if (order == Order::Shuffle) {
        for (unsigned i = count; i > 1; --i) std::swap(items[i - 1], items[random.below(i)]);
    }
}

std::uint64_t fold(Operation operation, const Thread* warp, unsigned group) {
    bool first = true;
    std::uint64_t sum = 0;
    for (unsigned lane = 0; lane < WARP_SIZE; ++lane) {
        if (!(group >> lane & 1)) continue;
        const std::uint64_t value = warp[lane].value;
        const auto less = [](std::uint64_t a, std::uint64_t b) {
            return static_cast<std::int64_t>(a) < static_cast<std::int64_t>(b);
        };
        if (operation == Operation::Ballot) sum |= (value & 1) << lane;
        else if (first) sum = value;
        else if (operation == Operation::Add) sum += value;
        else if (operation == Operation::Min) sum = less(value, sum) ? value : sum;
        else if (operation == Operation::Max) sum = less(sum, value) ? value : sum;
        else if (operation == Operation::And) sum &= value;
        else if (operation == Operation::Or) sum |= value;
        else if (operation == Operation::Xor) sum ^= value;
        first = false;
    }
    return sum;
}

// All lanes of `group` wait for the same collective: gives each its result.
void complete(Thread* warp, unsigned group, Operation operation) {
    const bool per_lane = operation == Operation::Shuffle || operation == Operation::Match;
    const std::uint64_t common = per_lane ? 0 : fold(operation, warp, group);
    for (unsigned lane = 0; lane < WARP_SIZE; ++lane) {
        if (!(group >> lane & 1)) continue;
        Thread& thread = warp[lane];
        thread.result = common;
        if (operation == Operation::Shuffle) {
            // CUDA leaves the value of a lane that takes no part undefined.
            const bool defined = thread.source < WARP_SIZE && (group >> thread.source & 1);
            thread.result = defined ? warp[thread.source].value : ~std::uint64_t{0};
        } else if (operation == Operation::Match) {
            for (unsigned other = 0; other < WARP_SIZE; ++other) {
                if ((group >> other & 1) && warp[other].value == thread.value) thread.result |= 1u << other;
            }
        }
        thread.state = State::Ready;
    }
}

// Completes the collectives of a warp that all their lanes have reached; returns the released lanes.
unsigned release(Thread* warp, unsigned present) {
    unsigned waiting = 0, released = 0;
    for (unsigned lane = 0; lane < WARP_SIZE; ++lane) {
        if ((present >> lane & 1) && warp[lane].state == State::Warp) waiting |= 1u << lane;
    }
    while (waiting) {
        const Thread& first = warp[__builtin_ctz(waiting)];
        const unsigned group = first.mask & present;
        bool reached = (group & waiting) == group;
        for (unsigned lane = 0; reached && lane < WARP_SIZE; ++lane) {
            if (group >> lane & 1) reached = warp[lane].mask == first.mask && same(warp[lane].site, first.site);
        }
        if (reached) {
            if (first.operation == Operation::Sync) warp_synchronized(static_cast<unsigned>(warp - threads) / WARP_SIZE);
            complete(warp, group, first.operation);
            released |= group;
            waiting &= ~group;
        } else {
            waiting &= waiting - 1;
        }
    }
    return released;
}

// Runs a warp until no lane of it can go on alone.
void run_warp(Thread* warp, unsigned present, const unsigned* lanes) {
    const unsigned base = static_cast<unsigned>(warp - threads);
    unsigned ready = 0;
    for (unsigned lane = 0; lane < WARP_SIZE; ++lane) {
        if ((present >> lane & 1) && warp[lane].state == State::Ready) ready |= 1u << lane;
    }
    while (ready) {
        for (unsigned i = 0; i < WARP_SIZE; ++i) {
            if (!(ready >> lanes[i] & 1)) continue;
            resume(base + lanes[i]);
            if (!failure.empty()) return;
        }
        ready = release(warp, present);
    }
}

std::string situation(const Thread& thread) {
    if (thread.state == State::Done) return "returned";
    std::string text = "wait at " + std::string(thread.site.name) + " (" + place(thread.site.file, thread.site.line);
    if (thread.state == State::Warp) {
        char mask[32];
        std::snprintf(mask, sizeof mask, ", mask 0x%08x", thread.mask);
        text += mask;
    }
    return text + ")";
}

void report_divergence(unsigned count) {
    failure = where() + ": not all threads reach the same barrier or collective";
    std::string shown;
    for (unsigned begin = 0, end, lines = 0; begin < count; begin = end) {
        const std::string text = situation(threads[begin]);
        for (end = begin + 1; end < count && situation(threads[end]) == text; ++end) {}
        if (++lines > 16) {
            failure += "\n  ...";
            return;
        }
        failure += end - begin == 1 ? "\n  thread " + std::to_string(begin) + ": "
                                    : "\n  threads " + std::to_string(begin) + " to " + std::to_string(end - 1) + ": ";
        failure += text;
    }
}

// True where all threads wait at the same barrier, and goes on.
bool pass_barrier(unsigned count) {
    std::uint64_t holds = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (threads[i].state != State::Barrier || !same(threads[i].site, threads[0].site)) return false;
        holds += threads[i].value;
    }
    barrier_passed();
    for (unsigned i = 0; i < count; ++i) {
        threads[i].result = holds;
        threads[i].state = State::Ready;
    }
    return true;
}

// Poison. Not by memset: the sanitizers would check it, and there are their red zones between the variables.
[[gnu::optimize("no-tree-loop-distribute-patterns")]] void fill(unsigned char* memory, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) memory[i] = POISON;
}

// With AddressSanitizer what lies behind the dynamic shared memory of this launch is out of bounds.
void guard([[maybe_unused]] unsigned shared_bytes) {
#ifdef WAATA_SANITIZER_ADDRESS
    __asan_unpoison_memory_region(dynamic_memory, sizeof dynamic_memory);
    __asan_poison_memory_region(dynamic_memory + shared_bytes, sizeof dynamic_memory - shared_bytes);
#endif
}

void run_block(unsigned count, unsigned shared_bytes, Order order, Generator& random) {
    block_begins();
    fill(entry->shared_begin, static_cast<std::size_t>(entry->shared_end - entry->shared_begin));
    fill(dynamic_memory, shared_bytes);
    guard(shared_bytes);
    fiber_releases(&begun);
    for (unsigned i = 0; i < count; ++i) {
        const unsigned plane = block_size.x * block_size.y;
        threads[i].index = {i % block_size.x, i % plane / block_size.x, i / plane};
        threads[i].state = State::Ready;
        threads[i].barriers = threads[i].warp_barriers = 0;
        prepare_fiber(i, run_thread);
    }
    const unsigned warps = (count + WARP_SIZE - 1) / WARP_SIZE;
    const auto done = [](const Thread& thread) { return thread.state == State::Done; };
    do {
        unsigned warp_order[MAX_FIBERS / WARP_SIZE], lane_order[WARP_SIZE];
        arrange(warp_order, warps, order, random);
        for (unsigned i = 0; i < warps; ++i) {
            const unsigned first = warp_order[i] * WARP_SIZE, lanes = std::min(WARP_SIZE, count - first);
            arrange(lane_order, WARP_SIZE, order, random);
            run_warp(threads + first, lanes == WARP_SIZE ? 0xffffffffu : (1u << lanes) - 1, lane_order);
            if (!failure.empty()) return;
        }
        if (std::all_of(threads, threads + count, done)) {
            // What the block did comes before whatever the host does next.
            fiber_acquires(&ended);
            return;
        }
    } while (pass_barrier(count));
    report_divergence(count);
}

std::string limits(const dim3& grid, const dim3& block, unsigned shared_bytes) {
    const auto shape = [](const dim3& d) {
        return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
    };
    const std::uint64_t count = std::uint64_t{block.x} * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
        return "grid " + shape(grid) + ": each side must be at least 1, x below 2^31, y and z below 2^16";
    }
    if (count == 0 || block.x > MAX_FIBERS || block.y > MAX_FIBERS || block.z > 64 || count > MAX_FIBERS) {
        return "block " + shape(block) + ": must hold 1 to 1024 threads, at most 64 along z";
    }
    if (entry->max_threads && count > entry->max_threads) {
        return "block " + shape(block) + ": __launch_bounds__ allows " + std::to_string(entry->max_threads) + " threads";
    }
    if (shared_bytes > MAX_SHARED_BYTES) {
        return std::to_string(shared_bytes) + " bytes of dynamic shared memory: sm_86 has " +
               std::to_string(MAX_SHARED_BYTES);
    }
    return {};
}

std::string check(const unsigned* sizes, unsigned count) {
    if (count != entry->parameters) {
        return "takes " + std::to_string(entry->parameters) + " arguments, got " + std::to_string(count);
    }
    for (unsigned i = 0; i < count; ++i) {
        if (sizes[i] != entry->sizes[i]) {
            return "argument " + std::to_string(i) + " has " + std::to_string(entry->sizes[i]) + " bytes, got " +
                   std::to_string(sizes[i]);
        }
    }
    return {};
}

// Of blocks in between than the first and last `end_blocks` nothing runs.
void run_grid(unsigned shared_bytes, std::uint64_t end_blocks, Order order, std::uint64_t seed) {
    Generator random{seed};
    const std::uint64_t blocks = std::uint64_t{grid_size.x} * grid_size.y * grid_size.z;
    // Shuffled blocks: i * step + start (mod blocks), a permutation because step and blocks share no factor.
    std::uint64_t step = 1, start = 0;
    if (order == Order::Shuffle) {
        start = random.next() % blocks;
        do step = random.next() % 0x7fffffffu + 1; while (std::gcd(step, blocks) != 1);
    }
    const unsigned count = block_size.x * block_size.y * block_size.z;
    std::uint64_t block = order == Order::Reverse ? blocks - 1 : start;
    for (std::uint64_t i = 0; i < blocks && failure.empty(); ++i) {
        if (i == end_blocks && blocks > 2 * end_blocks) {
            i = blocks - end_blocks;
            block = order == Order::Forward ? i : block;
        }
        const std::uint64_t plane = std::uint64_t{grid_size.x} * grid_size.y;
        block_index = {static_cast<unsigned>(block % grid_size.x), static_cast<unsigned>(block % plane / grid_size.x),
                       static_cast<unsigned>(block / plane)};
        run_block(count, shared_bytes, order, random);
        block = order == Order::Reverse ? block - 1 : (block + step) % blocks;
    }
}

}  // namespace

unsigned lane() { return running % WARP_SIZE; }

unsigned running_thread() { return running; }

void fault(const char* what, const char* file, unsigned line) {
    failure = where() + ", " + who() + ": " + what + " (" + place(file, line) + ")";
    pause_fiber();
    __builtin_unreachable();
}

void fault_at(const std::string& what, std::uintptr_t instruction, std::uintptr_t earlier) {
    failure = where() + ", " + who() + ": " + what;
    failed_at = instruction;
    failed_earlier = earlier;
    pause_fiber();
    __builtin_unreachable();
}

// Notes a barrier; true where the launch goes on as if it were not there.
bool leaves_out(const Site& site) {
    if (std::none_of(met.begin(), met.end(), [&](const Site& other) { return same(other, site); })) met.push_back(site);
    return !left_out.empty() && left_out == place(site.file, site.line);
}

int Site::barrier(bool predicate) const {
    if (leaves_out(*this)) return predicate;
    Thread& thread = threads[running];
    thread.site = *this;
    thread.value = predicate;
    thread.state = State::Barrier;
    char* const object = &barrier_objects[thread.barriers++ % 2];
    fiber_releases(object);
    pause_fiber();
    fiber_acquires(object);
    return static_cast<int>(thread.result);
}

std::uint64_t Site::collective(Operation operation, unsigned mask, std::uint64_t value, unsigned source) const {
    Thread& thread = threads[running];
    if (!(mask >> lane() & 1)) fault((std::string(name) + ": the mask does not name the calling lane").c_str(), file, line);
    if (operation == Operation::Sync && leaves_out(*this)) return 0;
    thread.site = *this;
    thread.operation = operation;
    thread.mask = mask;
    thread.source = source;
    thread.value = value;
    thread.state = State::Warp;
    if (operation != Operation::Sync) {
        pause_fiber();
        return thread.result;
    }
    char* const object = &warp_objects[running / WARP_SIZE][thread.warp_barriers++ % 2];
    fiber_releases(object);
    pause_fiber();
    fiber_acquires(object);
    return thread.result;
}

void add(const Entry& entry) { registry().push_back(entry); }

}  // namespace waata_host

using namespace waata_host;

extern "C" {

void waata_host_register_all();

unsigned waata_host_kernels() {
    if (registry().empty()) waata_host_register_all();
    return static_cast<unsigned>(registry().size());
}

// `index` below waata_host_kernels().
const Entry* waata_host_kernel(unsigned index) { return &registry()[index]; }

// The `index`-th barrier that the last launch has met, as "file:line"; false where there were fewer.
bool waata_host_barrier(unsigned index, char* text, std::size_t capacity) {
    if (index >= met.size()) return false;
    std::snprintf(text, capacity, "%s", place(met[index].file, met[index].line).c_str());
    return true;
}

// Each of `given` points at the bytes of one argument. On failure, false and a message in `text`.
bool waata_host_launch(const Entry* kernel, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
                       bool host_memory, const char* without, std::uint64_t end_blocks, int order, std::uint64_t seed, const unsigned char* const* given, const unsigned* sizes,
                       unsigned count, char* text, std::size_t capacity) {
    entry = kernel;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {block[0], block[1], block[2]};
    dynamic_shared = dynamic_memory;
    met.clear();
    left_out = without ? without : "";
    failure = fibers_available() ? "" : "no memory for the stacks of a block";
    for (const std::string& problem : {limits(grid_size, block_size, shared_bytes), check(sizes, count)}) {
        if (failure.empty() && !problem.empty()) failure = "kernel `" + std::string(entry->name) + "`: " + problem;
    }
    if (failure.empty()) {
        struct alignas(16) Word {
            unsigned char bytes[16];
        };
        std::vector<std::vector<Word>> copies;
        std::vector<const void*> pointers;
        for (unsigned i = 0; i < count; ++i) {
            copies.emplace_back(sizes[i] / sizeof(Word) + 1);
            std::memcpy(copies.back().data(), given[i], sizes[i]);
            pointers.push_back(copies.back().data());
        }
        arguments = pointers.data();
        failed_at = failed_earlier = 0;
        launch_begins(*kernel, shared_bytes, host_memory);
        run_grid(shared_bytes, end_blocks, static_cast<Order>(order), seed);
        if (failed_at) failure += " (" + source_line(failed_at) + ")";
        if (failed_earlier) failure += "; the other access: " + source_line(failed_earlier);
    }
    std::snprintf(text, capacity, "%s", failure.c_str());
    return failure.empty();
}

}  // extern "C"
