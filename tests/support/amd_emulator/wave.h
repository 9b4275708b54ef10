// A wave of 32 or 64 lanes on the threads of workgroup.h.
#pragma once

#include <cstdint>

#include "workgroup.h"

namespace amd {

emulator::Scope wave();
uint32_t lane();

}  // namespace amd
