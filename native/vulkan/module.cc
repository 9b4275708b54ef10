#include "module.h"

#include <tvm/ffi/cast.h>

#include "active_device.h"
#include "device_registry.h"
#include "launch.h"

namespace ferrylm::vulkan {

using tvm::ffi::Any;
using tvm::ffi::Function;
using tvm::ffi::Module;
using tvm::ffi::Optional;
using tvm::ffi::PackedArgs;
using tvm::ffi::String;

VulkanModule::VulkanModule(std::string container)
    : container_(std::make_shared<const Container>(parse_container(std::move(container)))) {
  for (size_t i = 0; i < container_->kernels.size(); ++i) {
    by_name_.emplace(container_->kernels[i].name, i);
  }
}

Optional<Function> VulkanModule::GetFunction(const String& name) {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) return std::nullopt;
  const size_t kernel = found->second;
  const Module self = tvm::ffi::GetRef<Module>(this);
  return Function::FromPacked([this, self, kernel](PackedArgs arguments, Any*) {
    launch(pipelines(active_device()), kernel, arguments);
  });
}

std::shared_ptr<PipelineSet> VulkanModule::pipelines(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  std::shared_ptr<PipelineSet> replaced;  // destroyed after the lock: it waits for the device
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t place = static_cast<size_t>(index);
  if (sets_.size() <= place) sets_.resize(place + 1);
  std::shared_ptr<PipelineSet>& set = sets_[place];
  if (set == nullptr || set->device().generation() != device->generation()) {
    replaced = std::move(set);
    set = std::make_shared<PipelineSet>(device, container_);
  }
  return set;
}

}  // namespace ferrylm::vulkan
