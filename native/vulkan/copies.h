// Copies between host and devices by address; device numbers are TVM's.
#ifndef FERRYLM_VULKAN_COPIES_H_
#define FERRYLM_VULKAN_COPIES_H_

#include <cstdint>

namespace ferrylm::vulkan {

// Each throws kUsage when an address range is not of one live tensor of the device.
void copy_to_device(const void* from, int device, uint64_t to, uint64_t size_bytes);
void copy_to_host(int device, uint64_t from, void* to, uint64_t size_bytes);
void copy_on_devices(int from_device, uint64_t from, int to_device, uint64_t to,
                     uint64_t size_bytes);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_COPIES_H_
