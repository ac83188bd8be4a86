#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#if defined(WAATA_SANITIZER_ADDRESS)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(WAATA_SANITIZER_THREAD)
#include <sanitizer/tsan_interface.h>
#endif

#if !defined(__x86_64__) || defined(WAATA_HOST_UCONTEXT)
#define PORTABLE_SWITCH 1
#include <ucontext.h>
#endif

namespace waata_host {
namespace {

// Only touched pages cost memory. A page without access below each stack turns an overflow into a crash at the spot.
constexpr std::size_t STACK_BYTES = 128 * 1024;

unsigned char* allocate_stacks() {
    void* memory = mmap(nullptr, STACK_BYTES * MAX_FIBERS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    unsigned char* const stacks = static_cast<unsigned char*>(memory);
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    for (unsigned slot = 0; slot < MAX_FIBERS; ++slot) {
        if (mprotect(stacks + slot * STACK_BYTES, page, PROT_NONE) != 0) return nullptr;
    }
    return stacks;
}

unsigned char* stacks() {
    static unsigned char* const memory = allocate_stacks();
    return memory;
}

unsigned running = 0;

}  // namespace

bool fibers_available() { return stacks() != nullptr; }

bool on_fiber_stack(std::uintptr_t address) {
    return address - reinterpret_cast<std::uintptr_t>(stacks() + running * STACK_BYTES) < STACK_BYTES;
}

#if defined(WAATA_SANITIZER_ADDRESS)

// AddressSanitizer must know the bounds of the stack that is switched to.
namespace {
const void* scheduler_stack;
std::size_t scheduler_bytes;

void annotate_start(unsigned slot) {
    unsigned char* const stack = stacks() + slot * STACK_BYTES;
    __sanitizer_start_switch_fiber(nullptr, stack, STACK_BYTES);
}
void annotate_started() { __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_bytes); }
void annotate_pause() { __sanitizer_start_switch_fiber(nullptr, scheduler_stack, scheduler_bytes); }
void annotate_paused() { __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr); }
void annotate_prepared(unsigned slot) {
    __asan_unpoison_memory_region(stacks() + slot * STACK_BYTES + 4096, STACK_BYTES - 4096);
}
}  // namespace
void fiber_releases(void*) {}
void fiber_acquires(void*) {}

#elif defined(WAATA_SANITIZER_THREAD)

// ThreadSanitizer takes a fiber for a thread of its own. A switch orders nothing: only the barriers do.
namespace {
constexpr unsigned NO_SYNC = 1;
void* contexts_of_fibers[MAX_FIBERS];
void* context_of_scheduler;

void annotate_start(unsigned slot) {
    context_of_scheduler = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(contexts_of_fibers[slot], NO_SYNC);
}
void annotate_started() {}
void annotate_pause() { __tsan_switch_to_fiber(context_of_scheduler, NO_SYNC); }
void annotate_paused() {}
void annotate_prepared(unsigned slot) {
    if (!contexts_of_fibers[slot]) contexts_of_fibers[slot] = __tsan_create_fiber(0);
}
}  // namespace
void fiber_releases(void* object) { __tsan_release(object); }
void fiber_acquires(void* object) { __tsan_acquire(object); }

#else

namespace {
void annotate_start(unsigned) {}
void annotate_started() {}
void annotate_pause() {}
void annotate_paused() {}
void annotate_prepared(unsigned) {}
}  // namespace
void fiber_releases(void*) {}
void fiber_acquires(void*) {}

#endif

namespace {
void (*entries[MAX_FIBERS])();

void begin() {
    annotate_started();
    entries[running]();
}
}  // namespace

#ifdef PORTABLE_SWITCH

namespace {
ucontext_t contexts[MAX_FIBERS];
ucontext_t scheduler;
}  // namespace

void prepare_fiber(unsigned slot, void (*entry)()) {
    ucontext_t& context = contexts[slot];
    getcontext(&context);
    context.uc_stack.ss_sp = stacks() + slot * STACK_BYTES;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = nullptr;
    entries[slot] = entry;
    annotate_prepared(slot);
    makecontext(&context, begin, 0);
}

void resume_fiber(unsigned slot) {
    running = slot;
    annotate_start(slot);
    swapcontext(&scheduler, &contexts[slot]);
    annotate_paused();
}

void pause_fiber() {
    const unsigned slot = running;
    annotate_pause();
    swapcontext(&contexts[slot], &scheduler);
    annotate_started();
}

#else

// Stores the stack pointer of the caller, loads the other one; the System V ABI has the callee keep these six.
extern "C" void waata_host_switch(void** store, void* load);
asm(R"(
    .text
    .p2align 4
    .type waata_host_switch, @function
waata_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size waata_host_switch, . - waata_host_switch
)");

namespace {
void* stack_pointers[MAX_FIBERS];
void* scheduler;
}  // namespace

void prepare_fiber(unsigned slot, void (*entry)()) {
    // Tops at different cache sets: with all at the same one, the stacks of a block evict each other.
    const std::size_t colour = (slot % 61) * 64;
    void** top = reinterpret_cast<void**>(stacks() + (slot + 1) * STACK_BYTES - colour);
    top[-1] = nullptr;  // Where `entry` would return to; also aligns its frame.
    top[-2] = reinterpret_cast<void*>(begin);
    entries[slot] = entry;
    annotate_prepared(slot);
    for (int saved = 3; saved <= 8; ++saved) top[-saved] = nullptr;
    stack_pointers[slot] = top - 8;
}

void resume_fiber(unsigned slot) {
    running = slot;
    annotate_start(slot);
    waata_host_switch(&scheduler, stack_pointers[slot]);
    annotate_paused();
}

void pause_fiber() {
    annotate_pause();
    waata_host_switch(&stack_pointers[running], scheduler);
    annotate_started();
}

#endif

}  // namespace waata_host
