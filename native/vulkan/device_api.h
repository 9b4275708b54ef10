// TVM's device interface for kDLVulkan.
#ifndef FERRYLM_VULKAN_DEVICE_API_H_
#define FERRYLM_VULKAN_DEVICE_API_H_

#include <tvm/runtime/device_api.h>

namespace ferrylm::vulkan {

class VulkanDeviceApi final : public tvm::runtime::DeviceAPI {
 public:
  static VulkanDeviceApi* get();

  void SetDevice(tvm::Device device) final;
  void GetAttr(tvm::Device device, tvm::runtime::DeviceAttrKind kind, tvm::ffi::Any* value) final;
  void GetTargetProperty(tvm::Device device, const std::string& property,
                         tvm::ffi::Any* value) final;
  // The address is the device's own, so that interior pointers and views work.
  void* AllocDataSpace(tvm::Device device, size_t size_bytes, size_t alignment,
                       DLDataType type_hint) final;
  void FreeDataSpace(tvm::Device device, void* pointer) final;
  // All streams of a device are one: work runs in the order of the calls.
  void StreamSync(tvm::Device device, TVMStreamHandle stream) final;
  bool SupportsDevicePointerArithmeticsOnHost() final { return true; }

 protected:
  void CopyDataFromTo(const void* from, size_t from_offset, void* to, size_t to_offset,
                      size_t size_bytes, tvm::Device from_device, tvm::Device to_device,
                      DLDataType type_hint, TVMStreamHandle stream) final;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_DEVICE_API_H_
