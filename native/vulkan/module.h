// TVM's module of kind "vulkan": a container of kernels that run on the calling thread's device.
#ifndef FERRYLM_VULKAN_MODULE_H_
#define FERRYLM_VULKAN_MODULE_H_

#include <tvm/ffi/extra/module.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "pipeline_set.h"

namespace ferrylm::vulkan {

class VulkanModule : public tvm::ffi::ModuleObj {
 public:
  // Throws kContainer. Needs no Vulkan loader.
  explicit VulkanModule(std::string container);

  const char* kind() const final { return "vulkan"; }
  int GetPropertyMask() const final {
    return tvm::ffi::Module::kBinarySerializable | tvm::ffi::Module::kRunnable;
  }
  tvm::ffi::Optional<tvm::ffi::Function> GetFunction(const tvm::ffi::String& name) final;
  bool ImplementsFunction(const tvm::ffi::String& name) final {
    return by_name_.count(std::string(name)) != 0;
  }
  tvm::ffi::Bytes SaveToBytes() const final { return tvm::ffi::Bytes(container_->bytes); }

  // The module's pipelines on TVM's device number `index`, opened on first use.
  std::shared_ptr<PipelineSet> pipelines(int index);

 private:
  std::shared_ptr<const Container> container_;
  std::unordered_map<std::string, size_t> by_name_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<PipelineSet>> sets_;  // by device number
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_MODULE_H_
