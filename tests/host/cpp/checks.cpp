// Undefined behaviour that g++ can check while a kernel runs (-fsanitize in build.rs) ends the launch with a
// message, as everything else does. These are the functions that g++ calls; the usual ones would print and go on.
// The layout of their first argument is that of libubsan.

#ifndef WAATA_SANITIZER

#include <cstdint>
#include <cstdio>

#include "executor.h"

namespace {

struct Location {
    const char* file;
    std::uint32_t line, column;
};

struct Mismatch {
    Location location;
    const void* type;
    unsigned char log2_alignment, kind;
};

[[noreturn]] void report(const Location* location, const char* what) {
    waata_host::fault(what, location->file, location->line);
}

}  // namespace

extern "C" {

void __ubsan_handle_type_mismatch_v1(Mismatch* data, std::uintptr_t address) {
    if (address == 0) report(&data->location, "access through a null pointer");
    char what[96];
    std::snprintf(what, sizeof what, "misaligned access: address %#zx is no multiple of %u",
                  static_cast<std::size_t>(address), 1u << data->log2_alignment);
    report(&data->location, what);
}

void __ubsan_handle_out_of_bounds(Location* location, std::uintptr_t) { report(location, "array index out of bounds"); }

void __ubsan_handle_divrem_overflow(Location* location, std::uintptr_t, std::uintptr_t) {
    report(location, "integer division by zero or overflow");
}

void __ubsan_handle_shift_out_of_bounds(Location* location, std::uintptr_t, std::uintptr_t) {
    report(location, "shift by more than the width of the type");
}

void __ubsan_handle_add_overflow(Location* location, std::uintptr_t, std::uintptr_t) {
    report(location, "signed integer overflow in an addition");
}

void __ubsan_handle_sub_overflow(Location* location, std::uintptr_t, std::uintptr_t) {
    report(location, "signed integer overflow in a subtraction");
}

void __ubsan_handle_mul_overflow(Location* location, std::uintptr_t, std::uintptr_t) {
    report(location, "signed integer overflow in a multiplication");
}

void __ubsan_handle_negate_overflow(Location* location, std::uintptr_t) {
    report(location, "signed integer overflow in a negation");
}

}  // extern "C"

#endif
