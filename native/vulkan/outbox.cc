#include "outbox.h"

#include "device_registry.h"
#include "errors.h"

namespace ferrylm::vulkan {

namespace {

struct HostVisible {
  void AllocData(DLTensor* tensor) {
    const std::shared_ptr<Device> device = DeviceRegistry::get().device(tensor->device.device_id);
    std::unique_lock<std::mutex> lock(device->mutex());
    const uint64_t size_bytes = tvm::ffi::GetDataSize(*tensor);
    const uint64_t address = device->allocate(size_bytes, Purpose::kDownload, &lock)->address();
    tensor->data = reinterpret_cast<void*>(address);
  }
  void FreeData(DLTensor* tensor) {
    const auto address = reinterpret_cast<uint64_t>(tensor->data);
    DeviceRegistry::get().free(tensor->device.device_id, address);
  }
};

std::shared_ptr<Device> open_device(int index) {
  std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  device->require_alive();
  return device;
}

}  // namespace

tvm::ffi::Tensor outbox(int device, int64_t count) {
  if (count < 1) fail(Failure::kUsage, "an outbox has at least one number");
  open_device(device);
  return tvm::ffi::Tensor::FromNDAlloc(HostVisible(), tvm::ffi::Shape({count}),
                                       DLDataType{kDLInt, 32, 1}, DLDevice{kDLVulkan, device});
}

int64_t outbox_address(const tvm::ffi::Tensor& tensor) {
  const std::shared_ptr<Device> device = open_device(tensor.device().device_id);
  const std::lock_guard<std::mutex> lock(device->mutex());
  const auto address = reinterpret_cast<uint64_t>(tensor.data_ptr());
  Allocation* allocation = device->memory().find(address);
  if (allocation == nullptr || allocation->mapped() == nullptr) {
    fail(Failure::kUsage, "the tensor is not in memory that the host sees");
  }
  return reinterpret_cast<int64_t>(allocation->mapped() + (address - allocation->address()));
}

int64_t mark(int device) {
  const std::shared_ptr<Device> opened = open_device(device);
  const std::lock_guard<std::mutex> lock(opened->mutex());
  return static_cast<int64_t>(opened->stream().publish());
}

bool is_complete(int device, int64_t serial) {
  const std::shared_ptr<Device> opened = open_device(device);
  const std::lock_guard<std::mutex> lock(opened->mutex());
  return opened->stream().completed() >= static_cast<uint64_t>(serial);
}

void wait(int device, int64_t serial) {
  const std::shared_ptr<Device> opened = open_device(device);
  std::unique_lock<std::mutex> lock(opened->mutex());
  opened->stream().wait(static_cast<uint64_t>(serial), &lock);
}

}  // namespace ferrylm::vulkan
