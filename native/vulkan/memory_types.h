// Which memory types serve which purpose on a device, best first.
#ifndef FERRYLM_VULKAN_MEMORY_TYPES_H_
#define FERRYLM_VULKAN_MEMORY_TYPES_H_

#include <cstdint>
#include <vector>

#include "device_info.h"

namespace ferrylm::vulkan {

enum class Purpose : uint8_t {
  kDevice,    // tensors
  kUpload,    // written by the host, read by the device
  kDownload,  // written by the device, read by the host: cached where possible
};
constexpr int kPurposeCount = 3;

// Indices of memory types. On unified memory every heap serves tensors, device-local and
// host-visible ones first; elsewhere only device-local heaps do: tensors in host memory would make
// a discrete GPU ten times slower without a word.
std::vector<uint32_t> memory_types_for(const DeviceInfo& info, Purpose purpose);

// Whether blocks of this type are mapped into the host for as long as they live.
bool is_mapped(const DeviceInfo& info, uint32_t type);

// Whether the host reads memory of this type through its caches; without, reading is slow.
bool is_cached(const DeviceInfo& info, uint32_t type);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_MEMORY_TYPES_H_
