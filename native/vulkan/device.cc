#include "device.h"

#include <vector>

#include "errors.h"
#include "instance.h"

namespace ferrylm::vulkan {

std::shared_ptr<Device> Device::open(const DeviceInfo& info) {
  const std::string reason = unusable_because(info);
  if (!reason.empty()) {
    fail(Failure::kFeature, "the device " + info.name + " cannot be used: " + reason);
  }
  std::shared_ptr<Device> device(new Device(info));
  device->create();
  return device;
}

void Device::create() {
  static std::atomic<uint64_t> generations{0};
  generation_ = ++generations;
  const Instance& instance = Instance::get();
  FeatureChain features(info_.api_version, info_.extensions);
  instance.functions().vkGetPhysicalDeviceFeatures2(info_.physical, features.head());
  features.keep_useful();
  std::vector<const char*> extensions;
  for (const std::string& name : info_.extensions) extensions.push_back(name.c_str());
  const float priority = 1.0f;
  VkDeviceQueueCreateInfo queue = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue.queueFamilyIndex = info_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkDeviceCreateInfo create = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, features.head()};
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  vulkan::check(instance.functions().vkCreateDevice(info_.physical, &create, nullptr, &handle_),
                "vkCreateDevice");
  functions_ = DeviceFunctions(instance.device_address_of(), handle_);
  functions_.vkGetDeviceQueue(handle_, info_.queue_family, 0, &queue_);

  VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushConstantBytes};
  VkPipelineLayoutCreateInfo layout = {VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  check(functions_.vkCreatePipelineLayout(handle_, &layout, nullptr, &pipeline_layout_),
        "vkCreatePipelineLayout");
  memory_ = std::make_unique<Allocator>(info_, instance.functions(), functions_, handle_);
  stream_ = std::make_unique<Stream>(*this);
  staging_ = std::make_unique<Staging>(*this);
}

Device::~Device() {
  if (handle_ == VK_NULL_HANDLE) return;
  if (functions_.vkDeviceWaitIdle != nullptr) functions_.vkDeviceWaitIdle(handle_);
  stream_.reset();
  staging_.reset();
  memory_.reset();
  if (functions_.vkDestroyDevice == nullptr) return;
  functions_.vkDestroyPipelineLayout(handle_, pipeline_layout_, nullptr);
  functions_.vkDestroyDevice(handle_, nullptr);
}

void Device::check(VkResult result, const char* call) {
  if (result >= 0) return;
  if (result == VK_ERROR_DEVICE_LOST) {
    is_lost_ = true;
    fail(Failure::kDeviceLost,
         "the device " + info_.name + " was lost in " + call +
             " (a reset of the GPU or its driver); what it held is gone: select the device again "
             "and load the model again");
  }
  fail(failure_of(result), std::string(call) + " answered " + name_of(result) + " on " +
                               info_.name + "; " + memory_->heaps().sentence());
}

void Device::require_alive() const {
  if (!is_lost_) return;
  fail(Failure::kDeviceLost, "the device " + info_.name +
                                 " was lost before; select the device again and load the model "
                                 "again");
}

Allocation* Device::allocate(uint64_t size_bytes, Purpose purpose,
                             std::unique_lock<std::mutex>* lock) {
  require_alive();
  if (Recording* recording = stream_->recording(); recording && purpose == Purpose::kDevice) {
    if (Allocation* again = recording->reuse(size_bytes)) {
      again->freed = false;
      memory_->show(again);
      return again;
    }
  }
  if (Allocation* allocation = memory_->allocate(size_bytes, purpose)) return allocation;
  stream_->wait_idle(lock);
  memory_->collect(stream_->completed(), true);
  if (Allocation* allocation = memory_->allocate(size_bytes, purpose)) return allocation;
  memory_->fail_out_of_memory(size_bytes, purpose);
}

bool Device::free(uint64_t address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Allocation* allocation = memory_->find(address);
  if (allocation == nullptr || allocation->address() != address) return false;
  if (allocation->recordings > 0) {
    memory_->hide(allocation);
    allocation->freed = true;
    if (Recording* recording = stream_->recording()) recording->note_freed(allocation);
    return true;
  }
  memory_->release(allocation);
  uint64_t completed = 0;
  try {
    completed = is_lost_ ? UINT64_MAX : stream_->completed();
  } catch (const std::exception&) {
    completed = UINT64_MAX;  // lost just now: nothing runs any more
  }
  memory_->collect(completed, false);
  return true;
}

}  // namespace ferrylm::vulkan
