// The shared memory of a workgroup.
#pragma once

#include <cstddef>

namespace emulator {

// Make room for a kernel's arrays and for what the launch asks for. Return false where a workgroup
// may not have so much.
bool reserve_shared(std::size_t static_bytes, std::size_t dynamic_bytes);

// Fill it with 0xFF, a NaN in every type of floats, so that reads of what nobody wrote show.
void spoil_shared();

// Whether memory beyond the end is as it was.
bool shared_end_is_whole();

}  // namespace emulator
