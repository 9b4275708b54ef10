// The device number that TVM has set for the calling thread (__tvm_set_device).
#ifndef FERRYLM_VULKAN_ACTIVE_DEVICE_H_
#define FERRYLM_VULKAN_ACTIVE_DEVICE_H_

namespace ferrylm::vulkan {

inline int& active_device() {
  static thread_local int index = 0;
  return index;
}

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_ACTIVE_DEVICE_H_
