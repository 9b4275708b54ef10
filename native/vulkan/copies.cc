#include "copies.h"

#include <algorithm>
#include <vector>

#include "device_registry.h"
#include "errors.h"
#include "lost_memory.h"

namespace ferrylm::vulkan {

namespace {

constexpr uint64_t kBounceBytes = 16ull << 20;

// The live allocation that holds all of the range.
Allocation* require_range(Device& device, uint64_t address, uint64_t size_bytes) {
  Allocation* allocation = device.memory().find(address);
  if (allocation == nullptr) {
    if (LostMemory::get().holds(address)) {
      fail(Failure::kDeviceLost, "the tensor was on a device that is lost; load the model again");
    }
    fail(Failure::kUsage, "the address to copy is no memory of " + device.info().name);
  }
  if (size_bytes > allocation->size_bytes - (address - allocation->address())) {
    fail(Failure::kUsage,
         "a copy of " + human_bytes(size_bytes) + " runs past its tensor on " + device.info().name);
  }
  return allocation;
}

}  // namespace

void copy_to_device(const void* from, int device, uint64_t to, uint64_t size_bytes) {
  const std::shared_ptr<Device> opened = DeviceRegistry::get().device(device);
  opened->require_alive();
  std::unique_lock<std::mutex> lock(opened->mutex());
  Allocation* target = require_range(*opened, to, size_bytes);
  opened->staging().upload(from, target, to - target->address(), size_bytes, &lock);
}

void copy_to_host(int device, uint64_t from, void* to, uint64_t size_bytes) {
  const std::shared_ptr<Device> opened = DeviceRegistry::get().device(device);
  opened->require_alive();
  std::unique_lock<std::mutex> lock(opened->mutex());
  Allocation* source = require_range(*opened, from, size_bytes);
  opened->staging().download(source, from - source->address(), to, size_bytes, &lock);
}

void copy_on_devices(int from_device, uint64_t from, int to_device, uint64_t to,
                     uint64_t size_bytes) {
  if (from_device != to_device) {
    // Through the host: devices share no memory.
    std::vector<uint8_t> bounce(std::min(size_bytes, kBounceBytes));
    for (uint64_t done = 0; done < size_bytes; done += bounce.size()) {
      const uint64_t piece_bytes = std::min<uint64_t>(bounce.size(), size_bytes - done);
      copy_to_host(from_device, from + done, bounce.data(), piece_bytes);
      copy_to_device(bounce.data(), to_device, to + done, piece_bytes);
    }
    return;
  }
  const std::shared_ptr<Device> opened = DeviceRegistry::get().device(from_device);
  opened->require_alive();
  const std::lock_guard<std::mutex> lock(opened->mutex());
  Allocation* source = require_range(*opened, from, size_bytes);
  Allocation* target = require_range(*opened, to, size_bytes);
  if (from == to) return;
  if (std::max(from, to) - std::min(from, to) < size_bytes) {
    fail(Failure::kUsage, "a copy overlaps itself");
  }
  opened->stream().copy({source, Access::kRead}, from - source->address(), {target, Access::kWrite},
                        to - target->address(), size_bytes);
}

}  // namespace ferrylm::vulkan
