#include "device.h"

#include "errors.h"
#include "instance.h"

namespace ferrylm::vulkan {

namespace {

uint64_t next_generation() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

std::shared_ptr<Device> Device::open(const DeviceInfo& info) {
  const std::string reason = unusable_because(info);
  if (!reason.empty()) {
    fail(Failure::kFeature, "the device " + info.name + " cannot be used: " + reason);
  }
  return std::shared_ptr<Device>(new Device(info));
}

Device::Device(const DeviceInfo& info)
    : logical_(info),
      generation_(next_generation()),
      memory_(logical_.info(), Instance::get().functions(), logical_.functions(),
              logical_.handle()) {
  functions().vkGetDeviceQueue(handle(), info.queue_family, 0, &queue_);
}

// Pipelines and recordings hold the device, so only the last batches are left to wait for.
Device::~Device() { functions().vkDeviceWaitIdle(handle()); }

void Device::check(VkResult result, const char* call) {
  if (result >= 0) return;
  if (result == VK_ERROR_DEVICE_LOST) {
    is_lost_ = true;
    fail(Failure::kDeviceLost,
         "the device " + info().name + " was lost in " + call +
             " (a reset of the GPU or its driver); what it held is gone: select the device again "
             "and load the model again");
  }
  fail(failure_of(result), std::string(call) + " answered " + name_of(result) + " on " +
                               info().name + "; " + memory_.heaps().sentence());
}

void Device::require_alive() const {
  if (!is_lost_) return;
  fail(Failure::kDeviceLost, "the device " + info().name +
                                 " was lost before; select the device again and load the model "
                                 "again");
}

Allocation* Device::allocate(uint64_t size_bytes, Purpose purpose,
                             std::unique_lock<std::mutex>* lock) {
  require_alive();
  if (Recording* recording = stream_.recording(); recording && purpose == Purpose::kDevice) {
    if (Allocation* again = recording->reuse(size_bytes)) {
      again->freed = false;
      memory_.show(again);
      return again;
    }
  }
  if (Allocation* allocation = memory_.allocate(size_bytes, purpose)) return allocation;
  stream_.wait_idle(lock);
  memory_.collect(stream_.completed(), true);
  if (Allocation* allocation = memory_.allocate(size_bytes, purpose)) return allocation;
  memory_.fail_out_of_memory(size_bytes, purpose);
}

void Device::collect() {
  if (!has_empty_blocks_) return;
  const uint64_t completed = stream_.completed();
  memory_.collect(completed, false);
  has_empty_blocks_ = stream_.has_pending();
}

void Device::synchronize(std::unique_lock<std::mutex>* lock) {
  stream_.wait_idle(lock);
  collect();
}

bool Device::free(uint64_t address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Allocation* allocation = memory_.find(address);
  if (allocation == nullptr || allocation->address() != address) return false;
  if (allocation->recordings > 0) {
    memory_.hide(allocation);
    allocation->freed = true;
    if (Recording* recording = stream_.recording()) recording->note_freed(allocation);
    return true;
  }
  if (!memory_.release(allocation)) return true;
  has_empty_blocks_ = true;
  try {
    if (!is_lost_) collect();
  } catch (const std::exception&) {
    // Lost just now: its blocks go with the device.
  }
  return true;
}

}  // namespace ferrylm::vulkan
