// Device memory, and what is known of each word of it and of shared memory: whether it may be accessed, whether it
// was written, and by which thread of which block it was last read and written.
//
// g++ calls a function before each access of a kernel (-fsanitize=thread); in the usual build those functions are
// memory.cpp's. In a build with a sanitizer (WAATA_SANITIZER) they are the sanitizer's, and device memory is its heap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace waata_host {

struct Entry;

// What the executor tells as it goes. `count` threads in the block; `host_memory`: addresses that are no device
// memory are not checked.
void launch_begins(const Entry& entry, unsigned shared_bytes, bool host_memory);
void block_begins();
void barrier_passed();
void warp_synchronized(unsigned warp);

// An atomic operation of the running thread.
void atomic_access(const void* address, unsigned bytes);

// The source line of an instruction of this program, as "file:line", with the lines that it was inlined into.
std::string source_line(std::uintptr_t instruction);

}  // namespace waata_host
