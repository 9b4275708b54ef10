#include "shared_memory.h"

#include <cstring>

#include "workgroup.h"

namespace emulator {
namespace {

constexpr std::size_t kMostBytes = 227 << 10;  // CUDA C++ Programming Guide, sm_90
constexpr std::size_t kAlignment = 1024;       // of dynamic shared memory, for TMA's swizzles
constexpr std::size_t kGuardBytes = 8 << 10;
constexpr unsigned char kGarbage = 0xFF;

alignas(kAlignment) unsigned char memory[kMostBytes + kAlignment + kGuardBytes];
std::size_t dynamic_start = 0, end = 0;

}  // namespace

bool reserve_shared(std::size_t static_bytes, std::size_t dynamic_bytes) {
  dynamic_start = (static_bytes + kAlignment - 1) / kAlignment * kAlignment;
  end = dynamic_bytes > 0 ? dynamic_start + dynamic_bytes : static_bytes;
  return static_bytes + dynamic_bytes <= kMostBytes;
}

void spoil_shared() { std::memset(memory, kGarbage, end + kGuardBytes); }

bool shared_end_is_whole() {
  for (std::size_t i = end; i < end + kGuardBytes; ++i) {
    if (memory[i] != kGarbage) return false;
  }
  return true;
}

unsigned char* static_shared() { return memory; }
unsigned char* dynamic_shared() { return memory + dynamic_start; }

uint32_t shared_address(const void* pointer) {
  const auto* at = static_cast<const unsigned char*>(pointer);
  if (at < memory || at >= memory + end) fail("an address that is not one of shared memory");
  return static_cast<uint32_t>(at - memory);
}

unsigned char* shared_pointer(uint32_t address) {
  if (address >= end) fail("the address %u in a shared memory of %zu bytes", address, end);
  return memory + address;
}

}  // namespace emulator
