// The container of a Vulkan module: a header that describes kernels, and their SPIR-V.
//
//   "FERRYVK1", u32 header length, JSON header, zeros to a multiple of 8, SPIR-V modules
#ifndef FERRYLM_VULKAN_CONTAINER_H_
#define FERRYLM_VULKAN_CONTAINER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "hazards.h"

namespace ferrylm::vulkan {

// How an argument of the host's call becomes 8 bytes of the kernel's.
enum class ArgumentKind : uint8_t { kHandle, kInteger, kFloat16, kFloat32, kFloat64 };

struct KernelArgument {
  ArgumentKind kind;
  Access access;  // to what a handle points to
  // Integers are cut to these bits and extended again, so that the upper bytes are defined.
  uint8_t bits = 64;
  bool is_signed = true;
};

// What a trailing argument of the call gives.
struct LaunchExtent {
  bool is_thread;  // threadIdx, else blockIdx
  uint8_t axis;
  // Bytes of shared memory: no extent, and known when the kernel was compiled.
  bool is_shared_bytes = false;
};

struct Kernel {
  std::string name;
  uint64_t spirv_offset = 0;
  uint64_t spirv_bytes = 0;
  std::vector<KernelArgument> arguments;
  std::vector<LaunchExtent> launch;
  uint32_t local_size[3] = {1, 1, 1};
  uint32_t subgroup_size = 0;
  uint32_t shared_bytes = 0;
  bool uses_argument_buffer = false;
  std::vector<std::string> requires_features;
};

struct Container {
  std::string bytes;
  std::vector<Kernel> kernels;
  uint64_t hash = 0;  // of the bytes
  const uint32_t* spirv(const Kernel& kernel) const {
    return reinterpret_cast<const uint32_t*>(bytes.data() + kernel.spirv_offset);
  }
};

// Throws kContainer for anything that is not as the format says.
Container parse_container(std::string bytes);

// FNV-1a: tells contents apart; no defence against intent.
uint64_t hash_bytes(const void* data, uint64_t size_bytes);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_CONTAINER_H_
