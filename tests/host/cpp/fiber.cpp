#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

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
    makecontext(&context, entry, 0);
}

void resume_fiber(unsigned slot) {
    running = slot;
    swapcontext(&scheduler, &contexts[slot]);
}

void pause_fiber() { swapcontext(&contexts[running], &scheduler); }

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
    top[-2] = reinterpret_cast<void*>(entry);
    for (int saved = 3; saved <= 8; ++saved) top[-saved] = nullptr;
    stack_pointers[slot] = top - 8;
}

void resume_fiber(unsigned slot) {
    running = slot;
    waata_host_switch(&scheduler, stack_pointers[slot]);
}

void pause_fiber() { waata_host_switch(&stack_pointers[running], scheduler); }

#endif

}  // namespace waata_host
