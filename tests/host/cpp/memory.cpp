#include "memory.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

#include "executor.h"
#include "fiber.h"

namespace waata_host {
namespace {

constexpr unsigned char POISON = 0xff;
// Sparse allocations are not filled: their pages exist when they are touched.
constexpr std::size_t FILLED_BYTES = std::size_t{64} << 20;

}  // namespace

std::string source_line(std::uintptr_t instruction) {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void*>(instruction), &info) || !info.dli_fbase) return "?";
    char program[4096] = {}, command[4352];
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return "?";
    // The instruction before the return address is the call. The loader gives a position-independent program its base.
    const std::uintptr_t offset = instruction - 1 - reinterpret_cast<std::uintptr_t>(info.dli_fbase);
    std::snprintf(command, sizeof command, "addr2line -i -e '%s' %#zx 2>/dev/null", program, static_cast<std::size_t>(offset));
    FILE* const pipe = popen(command, "r");
    if (!pipe) return "?";
    std::string lines;
    for (char line[4096]; std::fgets(line, sizeof line, pipe);) {
        line[std::strcspn(line, "\n ")] = 0;
        const char* const slash = std::strrchr(line, '/');
        if (std::strstr(line, "/host/cpp/")) continue;
        lines += (lines.empty() ? "" : ", from ") + std::string(slash ? slash + 1 : line);
    }
    pclose(pipe);
    return lines.empty() ? "?" : lines;
}

#ifndef WAATA_SANITIZER

namespace {

constexpr std::size_t PAGE = 4096;
// Address space, not memory: pages exist once they are touched.
constexpr std::size_t ARENA_BYTES = std::size_t{2} << 40;
// Between two allocations, so that an index that is off lands in no other one.
constexpr std::size_t GAP = 64 * 1024;
// Freed blocks of one size that wait before the oldest is used again.
constexpr std::size_t QUARANTINE = 64;

// What is known of four bytes. Intervals are numbered through all launches: one ends at each barrier of a block, and
// blocks run one after another.
struct Cell {
    std::uint32_t write_interval, read_interval;
    std::uint32_t write_site, read_site;    // Instruction, from the program's base.
    std::uint32_t write_warp, read_warp;    // How often the thread's warp had synchronized in its block.
    std::uint16_t write_thread, read_thread;
    std::uint8_t write_mask, read_mask;     // Bytes of the last access.
    std::uint8_t written;                   // Bytes that hold a value.
    std::uint8_t flags;
};
static_assert(sizeof(Cell) == 32);
enum : std::uint8_t { LANES = 1, WARPS = 2, BLOCKS = 4, ATOMIC = 8 };  // Who else has read; the last write's kind.

enum class Kind { Read, Write, Atomic };

unsigned char* arena;
Cell* arena_cells;
std::size_t arena_used;
struct Allocation {
    std::size_t bytes;
    bool written;  // The whole of a sparse one, by clearing it.
};
std::map<std::uintptr_t, Allocation> allocations;
std::map<std::size_t, std::deque<std::uintptr_t>> freed;

// The allocation of a page, by the low bits of its number: the checks of a kernel find theirs here.
struct Found {
    std::uintptr_t page, begin, end;
    bool written;
} found[1024];

const Entry* entry;
bool host_memory_allowed;
unsigned shared_bytes;
Cell* static_cells;   // Of the file's section and of dynamic shared memory, as large as the largest so far.
std::size_t static_capacity;
Cell dynamic_cells[(MAX_SHARED_BYTES + GUARD_BYTES) / 4];
std::uint32_t interval = 1, first_of_launch = 1, first_of_block = 1;
std::uint32_t warp_syncs[MAX_FIBERS / WARP_SIZE];

std::size_t pages(std::size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

bool reserve() {
    if (arena) return true;
    const auto map = [](std::size_t bytes) {
        return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    };
    void* const memory = map(ARENA_BYTES);
    void* const cells = map(ARENA_BYTES / 4 * sizeof(Cell));
    if (memory == MAP_FAILED || cells == MAP_FAILED) return false;
    arena_cells = static_cast<Cell*>(cells);
    arena = static_cast<unsigned char*>(memory);
    return true;
}

bool in_arena(std::uintptr_t address) { return arena && address - reinterpret_cast<std::uintptr_t>(arena) < ARENA_BYTES; }

Cell* arena_cell(std::uintptr_t address) { return arena_cells + (address - reinterpret_cast<std::uintptr_t>(arena)) / 4; }

// The allocation that begins at or before an address; end() where there is none.
auto allocation_before(std::uintptr_t address) {
    auto next = allocations.upper_bound(address);
    return next == allocations.begin() ? allocations.end() : std::prev(next);
}

// Null where the range is not inside one allocation.
const Found* inside(std::uintptr_t address, std::size_t bytes) {
    Found& known = found[address / PAGE % 1024];
    if (known.page != address / PAGE) {
        const auto holder = allocation_before(address);
        if (holder == allocations.end() || address - holder->first >= holder->second.bytes) return nullptr;
        known = {address / PAGE, holder->first, holder->first + holder->second.bytes, holder->second.written};
    }
    return address >= known.begin && address + bytes <= known.end ? &known : nullptr;
}

std::uint32_t site_of(void* instruction) {
    extern const char base[] asm("__executable_start");
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(instruction) - reinterpret_cast<std::uintptr_t>(base));
}

std::uintptr_t instruction_at(std::uint32_t site) {
    extern const char base[] asm("__executable_start");
    return reinterpret_cast<std::uintptr_t>(base) + site;
}

bool in_program(std::uintptr_t address) {
    extern const char base[] asm("__executable_start"), end[] asm("_end");
    return address >= reinterpret_cast<std::uintptr_t>(base) && address < reinterpret_cast<std::uintptr_t>(end);
}

const char* verb(Kind kind) { return kind == Kind::Read ? "read" : kind == Kind::Write ? "write" : "atomic operation"; }

[[noreturn, gnu::noinline]] void out_of_bounds(Kind kind, unsigned bytes, std::uintptr_t address, void* instruction) {
    const auto holder = allocation_before(address);
    char where[160];
    if (!in_arena(address)) {
        std::snprintf(where, sizeof where, "at %#zx, which is no device memory", static_cast<std::size_t>(address));
    } else if (holder != allocations.end() && address - holder->first < holder->second.bytes + GAP / 2) {
        std::snprintf(where, sizeof where, "at byte %zu of an allocation of %zu bytes",
                      static_cast<std::size_t>(address - holder->first), holder->second.bytes);
    } else {
        const auto next = allocations.upper_bound(address);
        if (next != allocations.end() && next->first - address <= GAP / 2) {
            std::snprintf(where, sizeof where, "%zu bytes before an allocation of %zu bytes",
                          static_cast<std::size_t>(next->first - address), next->second.bytes);
        } else {
            std::snprintf(where, sizeof where, "in no allocation (freed, or far off)");
        }
    }
    fault_at(std::string(verb(kind)) + " of " + std::to_string(bytes) + " bytes out of bounds, " + where,
             reinterpret_cast<std::uintptr_t>(instruction));
}

std::string name_thread(unsigned thread) {
    const unsigned plane = block_size.x * block_size.y;
    return "thread (" + std::to_string(thread % block_size.x) + ", " + std::to_string(thread % plane / block_size.x) +
           ", " + std::to_string(thread / plane) + ")";
}

[[noreturn, gnu::noinline]] void race(Kind kind, const Cell& cell, bool with_write, void* instruction) {
    const std::uint32_t when = with_write ? cell.write_interval : cell.read_interval;
    const bool other_block = when < first_of_block || (!with_write && (cell.flags & BLOCKS));
    const std::string who = other_block ? "another block" : name_thread(with_write ? cell.write_thread : cell.read_thread);
    fault_at("race: " + std::string(verb(kind)) + " of what " + who + (with_write ? " writes" : " reads") +
                 (other_block ? " in the same launch" : " with no barrier between"),
             reinterpret_cast<std::uintptr_t>(instruction), instruction_at(with_write ? cell.write_site : cell.read_site));
}

[[noreturn, gnu::noinline]] void not_written(bool shared, void* instruction) {
    fault_at(std::string("read of ") + (shared ? "shared" : "device") + " memory that nobody has written",
             reinterpret_cast<std::uintptr_t>(instruction));
}

bool same_warp(unsigned a, unsigned b) { return a / WARP_SIZE == b / WARP_SIZE; }

// The thread's access to one word comes after that of (`when`, `thread`, `warp`), whatever the schedule.
bool ordered(std::uint32_t when, unsigned thread, std::uint32_t warp, unsigned self) {
    if (when < first_of_launch) return true;
    if (when < first_of_block) return false;
    if (when < interval || thread == self) return true;
    return same_warp(thread, self) && warp < warp_syncs[self / WARP_SIZE];
}

void check_reads(Kind kind, const Cell& cell, unsigned self, std::uint8_t mask, void* instruction) {
    if (cell.read_interval < first_of_launch || !(cell.read_mask & mask)) return;
    bool safe = !(cell.flags & BLOCKS) && ordered(cell.read_interval, cell.read_thread, cell.read_warp, self);
    if (safe && cell.read_interval == interval) {
        if (cell.flags & WARPS) safe = false;
        if ((cell.flags & LANES) && !(cell.read_warp < warp_syncs[self / WARP_SIZE])) safe = false;
    }
    if (!safe) race(kind, cell, false, instruction);
}

void note_read(Cell& cell, unsigned self, std::uint8_t mask, void* instruction) {
    std::uint8_t flags = 0;
    const bool overlaps = cell.read_mask & mask;
    if (overlaps && cell.read_interval >= first_of_launch) {
        flags = cell.read_interval < first_of_block ? BLOCKS : cell.flags & BLOCKS;
        if (cell.read_interval == interval) {
            flags |= cell.flags & WARPS;
            if (!same_warp(cell.read_thread, self)) flags |= WARPS;
            else if (cell.read_warp == warp_syncs[self / WARP_SIZE])
                flags |= cell.read_thread == self ? cell.flags & LANES : LANES;
        }
    }
    cell.flags = static_cast<std::uint8_t>((cell.flags & ATOMIC) | flags);
    cell.read_interval = interval;
    cell.read_thread = static_cast<std::uint16_t>(self);
    cell.read_warp = warp_syncs[self / WARP_SIZE];
    cell.read_mask = mask;
    cell.read_site = site_of(instruction);
}

void note_write(Cell& cell, unsigned self, std::uint8_t mask, bool atomic, void* instruction) {
    cell.flags = static_cast<std::uint8_t>((cell.flags & ~ATOMIC) | (atomic ? ATOMIC : 0));
    cell.write_interval = interval;
    cell.write_thread = static_cast<std::uint16_t>(self);
    cell.write_warp = warp_syncs[self / WARP_SIZE];
    cell.write_mask = mask;
    cell.write_site = site_of(instruction);
    cell.written |= mask;
}

template <Kind kind>
void check(Cell& cell, std::uint8_t mask, bool shared, bool written, void* instruction) {
    const unsigned self = running_thread();
    // Shared memory starts afresh with each block.
    if (shared && cell.write_interval < first_of_block) cell.written = 0;
    if (kind != Kind::Write && !written && (cell.written & mask) != mask) not_written(shared, instruction);
    const bool both_atomic = kind == Kind::Atomic && (cell.flags & ATOMIC);
    if ((cell.write_mask & mask) && !both_atomic &&
        !(shared && cell.write_interval < first_of_block) &&
        !ordered(cell.write_interval, cell.write_thread, cell.write_warp, self)) {
        race(kind, cell, true, instruction);
    }
    if (kind == Kind::Read) {
        if (shared && cell.read_interval < first_of_block) cell.read_mask = 0;
        note_read(cell, self, mask, instruction);
    } else {
        if (!(shared && cell.read_interval < first_of_block)) check_reads(kind, cell, self, mask, instruction);
        note_write(cell, self, mask, kind == Kind::Atomic, instruction);
    }
}

template <Kind kind>
[[gnu::always_inline]] inline void access(const void* pointer, std::size_t bytes, void* instruction) {
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(pointer);
    Cell* cell;
    bool shared = true, written = false;
    if (in_arena(address)) {
        const Found* const holder = inside(address, bytes);
        if (!holder) out_of_bounds(kind, static_cast<unsigned>(bytes), address, instruction);
        cell = arena_cell(address);
        shared = false;
        written = holder->written;
    } else if (address - reinterpret_cast<std::uintptr_t>(entry->shared_begin) <
               static_cast<std::size_t>(entry->shared_end - entry->shared_begin)) {
        cell = static_cells + (address - reinterpret_cast<std::uintptr_t>(entry->shared_begin)) / 4;
    } else if (address - reinterpret_cast<std::uintptr_t>(dynamic_shared) < MAX_SHARED_BYTES + GUARD_BYTES) {
        const std::size_t at = address - reinterpret_cast<std::uintptr_t>(dynamic_shared);
        if (at + bytes > shared_bytes) {
            fault_at(std::string(verb(kind)) + " behind the " + std::to_string(shared_bytes) +
                         " bytes of dynamic shared memory",
                     reinterpret_cast<std::uintptr_t>(instruction));
        }
        cell = dynamic_cells + at / 4;
    } else {
        // The thread's own stack; constants, and the executor's variables.
        const bool own = on_fiber_stack(address) || (kind == Kind::Read && in_program(address));
        if (!own && (!host_memory_allowed || in_program(address)))
            out_of_bounds(kind, static_cast<unsigned>(bytes), address, instruction);
        return;
    }
    std::size_t first = address % 4;
    for (std::size_t left = bytes; left > 0; ++cell) {
        const std::size_t part = left < 4 - first ? left : 4 - first;
        check<kind>(*cell, static_cast<std::uint8_t>(((1u << part) - 1) << first), shared, written, instruction);
        left -= part;
        first = 0;
    }
}

void mark_written(std::uintptr_t address, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes;) {
        const std::size_t first = (address + at) % 4, part = bytes - at < 4 - first ? bytes - at : 4 - first;
        arena_cell(address + at)->written |= static_cast<std::uint8_t>(((1u << part) - 1) << first);
        at += part;
    }
}

}  // namespace

void launch_begins(const Entry& kernel, unsigned dynamic_bytes, bool host_memory) {
    entry = &kernel;
    shared_bytes = dynamic_bytes;
    host_memory_allowed = host_memory;
    const std::size_t words = static_cast<std::size_t>(kernel.shared_end - kernel.shared_begin) / 4 + 1;
    if (words > static_capacity) {
        std::free(static_cells);
        static_cells = static_cast<Cell*>(std::calloc(words, sizeof(Cell)));
        static_capacity = words;
    }
    first_of_launch = ++interval;
}

void block_begins() {
    first_of_block = ++interval;
    std::memset(warp_syncs, 0, sizeof warp_syncs);
}

void barrier_passed() { ++interval; }

void warp_synchronized(unsigned warp) { ++warp_syncs[warp]; }

void atomic_access(const void* address, unsigned bytes) { access<Kind::Atomic>(address, bytes, __builtin_return_address(0)); }

#else

void launch_begins(const Entry&, unsigned, bool) {}
void block_begins() {}
void barrier_passed() {}
void warp_synchronized(unsigned) {}
void atomic_access(const void*, unsigned) {}

#endif

}  // namespace waata_host

using namespace waata_host;

extern "C" {

#ifndef WAATA_SANITIZER

// Zero where the system gives no memory.
std::uint64_t waata_host_allocate(std::size_t bytes) {
    if (!reserve()) return 0;
    const std::size_t size = pages(bytes);
    auto& waiting = freed[size];
    std::uintptr_t address;
    if (waiting.size() > (bytes > FILLED_BYTES ? 0 : QUARANTINE)) {
        address = waiting.front();
        waiting.pop_front();
    } else {
        if (arena_used + size + 2 * GAP > ARENA_BYTES) return 0;
        address = reinterpret_cast<std::uintptr_t>(arena) + arena_used + GAP;
        arena_used += size + GAP;
    }
    allocations[address] = {bytes, false};
    if (bytes <= FILLED_BYTES) std::memset(reinterpret_cast<void*>(address), POISON, bytes);
    return address;
}

void waata_host_free(std::uint64_t address) {
    const auto known = allocations.find(address);
    if (known == allocations.end()) std::abort();
    const std::size_t size = pages(known->second.bytes);
    madvise(reinterpret_cast<void*>(address), size, MADV_DONTNEED);
    madvise(arena_cell(address), size / 4 * sizeof(Cell), MADV_DONTNEED);
    allocations.erase(known);
    freed[size].push_back(address);
    std::memset(found, 0, sizeof found);
}

// Whether a copy by the driver stays inside one allocation.
bool waata_host_holds(std::uint64_t address, std::size_t bytes) {
    return bytes == 0 || (in_arena(address) && inside(address, bytes));
}

void waata_host_written(std::uint64_t address, std::size_t bytes) { mark_written(address, bytes); }

// The whole of a sparse allocation becomes zero without being touched.
void waata_host_zero(std::uint64_t address, std::size_t bytes) {
    const auto holder = allocations.find(address);
    if (bytes > FILLED_BYTES && holder != allocations.end() && holder->second.bytes == bytes) {
        madvise(reinterpret_cast<void*>(address), pages(bytes), MADV_DONTNEED);
        holder->second.written = true;
        std::memset(found, 0, sizeof found);
        return;
    }
    std::memset(reinterpret_cast<void*>(address), 0, bytes);
    mark_written(address, bytes);
}

// A copy holds values where its source does.
void waata_host_copied(std::uint64_t to, std::uint64_t from, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += 4) arena_cell(to + at)->written |= arena_cell(from + at)->written;
}

#define WAATA_HOOKS(name, bytes)                                                                                    \
    void __tsan_read##name(void* p) { access<Kind::Read>(p, bytes, __builtin_return_address(0)); }                  \
    void __tsan_write##name(void* p) { access<Kind::Write>(p, bytes, __builtin_return_address(0)); }                \
    void __tsan_volatile_read##name(void* p) { access<Kind::Read>(p, bytes, __builtin_return_address(0)); }         \
    void __tsan_volatile_write##name(void* p) { access<Kind::Write>(p, bytes, __builtin_return_address(0)); }       \
    void __tsan_unaligned_read##name(void* p) { access<Kind::Read>(p, bytes, __builtin_return_address(0)); }        \
    void __tsan_unaligned_write##name(void* p) { access<Kind::Write>(p, bytes, __builtin_return_address(0)); }
WAATA_HOOKS(1, 1)
WAATA_HOOKS(2, 2)
WAATA_HOOKS(4, 4)
WAATA_HOOKS(8, 8)
WAATA_HOOKS(16, 16)
#undef WAATA_HOOKS
void __tsan_read_range(void* p, std::size_t bytes) { access<Kind::Read>(p, bytes, __builtin_return_address(0)); }
void __tsan_write_range(void* p, std::size_t bytes) { access<Kind::Write>(p, bytes, __builtin_return_address(0)); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

#else

std::uint64_t waata_host_allocate(std::size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0) return 0;
    if (bytes <= FILLED_BYTES) std::memset(memory, POISON, bytes);
    return reinterpret_cast<std::uint64_t>(memory);
}
void waata_host_free(std::uint64_t address) { std::free(reinterpret_cast<void*>(address)); }
bool waata_host_holds(std::uint64_t, std::size_t) { return true; }
void waata_host_written(std::uint64_t, std::size_t) {}
void waata_host_zero(std::uint64_t address, std::size_t bytes) {
    std::memset(reinterpret_cast<void*>(address), 0, bytes);
}
void waata_host_copied(std::uint64_t, std::uint64_t, std::size_t) {}

#endif

}  // extern "C"
