// Fibers: one per CUDA thread of a block, each with its own stack, switched by hand.
#pragma once

#include <cstdint>

namespace waata_host {

constexpr unsigned MAX_FIBERS = 1024;

// False where the operating system refuses the stacks.
bool fibers_available();
// The next `resume_fiber(slot)` starts `entry` from the top; what ran in the slot before is forgotten.
void prepare_fiber(unsigned slot, void (*entry)());
// From the scheduler: runs the fiber until it pauses.
void resume_fiber(unsigned slot);
// From the running fiber: goes back to the scheduler. `entry` must end here, not return.
void pause_fiber();
// Whether an address lies on the stack of the running fiber.
bool on_fiber_stack(std::uintptr_t address);

// For ThreadSanitizer, which takes each fiber for a thread: what was done before a release is seen after an acquire
// of the same object.
void fiber_releases(void* object);
void fiber_acquires(void* object);

}  // namespace waata_host
