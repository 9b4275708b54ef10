// TVM's module of kind "hip": a bundle of code objects and the kernels in it.
#ifndef FERRYLM_HIP_KERNEL_MODULE_H_
#define FERRYLM_HIP_KERNEL_MODULE_H_

#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "hip_api.h"
#include "module_format.h"

namespace ferrylm::hip {

// The code, and what HIP made of it for each device. Lives as long as any kernel of it.
class LoadedCode {
 public:
  explicit LoadedCode(ModuleContent content);
  ~LoadedCode();
  LoadedCode(const LoadedCode&) = delete;
  LoadedCode& operator=(const LoadedCode&) = delete;

  const ModuleContent& content() const { return content_; }
  // The kernel on a device, loaded at first use. Throws [hip:no-code] when the bundle holds none.
  Function function(int device_index, const std::string& name);

 private:
  Module load(int device_index);

  const ModuleContent content_;
  char* image_ = nullptr;  // the code at a multiple of 4096, as HIP's loader likes it
  std::mutex mutex_;
  std::map<int, Module> modules_;
  std::map<std::pair<int, std::string>, Function> functions_;
};

class KernelModule final : public tvm::ffi::ModuleObj {
 public:
  explicit KernelModule(const tvm::ffi::Bytes& serialised);

  const char* kind() const final { return "hip"; }
  int GetPropertyMask() const final;
  tvm::ffi::Optional<tvm::ffi::Function> GetFunction(const tvm::ffi::String& name) final;
  tvm::ffi::Bytes SaveToBytes() const final { return serialised_; }

 private:
  const tvm::ffi::Bytes serialised_;
  std::shared_ptr<LoadedCode> code_;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_KERNEL_MODULE_H_
