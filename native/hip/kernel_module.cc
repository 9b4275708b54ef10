#include "kernel_module.h"

#include <tvm/ffi/extra/c_env_api.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "current_device.h"
#include "device.h"
#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

namespace {

constexpr size_t kImageAlignment = 4096;

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "no architecture" : text;
}

// Calls one kernel: packs arguments as the kernel expects them and reads the launch's extents.
class KernelCall {
 public:
  KernelCall(std::shared_ptr<LoadedCode> code, const KernelSignature& signature)
      : code_(std::move(code)), signature_(signature) {}

  void operator()(tvm::ffi::PackedArgs values, tvm::ffi::Any*) const {
    const size_t arguments = signature_.arguments.size();
    const size_t extents = signature_.launch_axes.size();
    const size_t wanted = arguments + extents + (signature_.dynamic_shared_memory ? 1 : 0);
    if (static_cast<size_t>(values.size()) < wanted) {
      fail(Failure::kUsage, "the kernel " + signature_.name + " called with " +
                                std::to_string(values.size()) + " values; wanted " +
                                std::to_string(wanted) + "; call it through its host function");
    }
    const auto* raw = reinterpret_cast<const TVMFFIAny*>(values.data());
    std::vector<char> packed(signature_.argument_bytes() + 8, 0);
    std::vector<const void*> handles;
    const size_t bytes = pack(raw, packed.data(), &handles);
    Launch how = {{1, 1, 1}, {1, 1, 1}, 0};
    for (size_t index = 0; index < extents; ++index) {
      const int64_t extent = raw[arguments + index].v_int64;
      // A dynamic shape may be empty; HIP wants at least one block, as TVM's own launcher gives.
      const auto size = static_cast<unsigned>(extent > 0 ? extent : 1);
      const int axis = signature_.launch_axes[index];
      (axis < 3 ? how.grid[axis] : how.block[axis - 3]) = size;
    }
    if (signature_.dynamic_shared_memory) {
      how.shared_bytes = static_cast<unsigned>(raw[arguments + extents].v_int64);
    }
    const int index = get_current_device();
    const Function function = code_->function(index, signature_.name);
    Device::get(index)->launch(function, signature_.name, how, packed.data(), bytes, handles,
                               TVMFFIEnvGetStream(kDLROCM, index));
  }

 private:
  size_t pack(const TVMFFIAny* raw, char* packed, std::vector<const void*>* handles) const {
    size_t at = 0;
    for (size_t index = 0; index < signature_.arguments.size(); ++index) {
      const size_t bytes = signature_.bytes_of(index);
      at = (at + bytes - 1) / bytes * bytes;
      if (signature_.arguments[index].code == kDLOpaqueHandle) {
        handles->push_back(raw[index].v_ptr);
        std::memcpy(packed + at, &raw[index].v_ptr, bytes);
      } else if (signature_.arguments[index].code == kDLFloat && bytes == 4) {
        const auto single = static_cast<float>(raw[index].v_float64);
        std::memcpy(packed + at, &single, bytes);
      } else {
        std::memcpy(packed + at, &raw[index].v_int64, bytes);  // little endian: the low bytes
      }
      at += bytes;
    }
    return at;
  }

  std::shared_ptr<LoadedCode> code_;
  KernelSignature signature_;
};

}  // namespace

LoadedCode::LoadedCode(ModuleContent content) : content_(std::move(content)) {
  const size_t bytes = (content_.code.size() + kImageAlignment) / kImageAlignment * kImageAlignment;
  image_ = static_cast<char*>(std::aligned_alloc(kImageAlignment, bytes));
  if (image_ == nullptr) fail(Failure::kOutOfMemory, "no host memory for the kernels' code");
  std::memcpy(image_, content_.code.data(), content_.code.size());
  std::memset(image_ + content_.code.size(), 0, bytes - content_.code.size());
}

LoadedCode::~LoadedCode() {
  for (const auto& [index, module] : modules_) {
    const Functions* functions = loaded();
    // Kernels may still be on their way; their code must outlive them.
    if (functions->SetDevice(index) != kSuccess || functions->DeviceSynchronize() != kSuccess ||
        functions->ModuleUnload(module) != kSuccess) {
      functions->GetLastError();
    }
  }
  std::free(image_);
}

Module LoadedCode::load(int device_index) {
  const DeviceFacts& facts = device_facts(device_index);
  check(hip().SetDevice(device_index), "hipSetDevice");
  Module module = nullptr;
  const Error error = hip().ModuleLoadData(&module, image_);
  if (error == kSuccess) return module;
  hip().GetLastError();
  if (failure_of(error) == Failure::kNoCode) {
    fail(Failure::kNoCode, "the library has code for " +
                               joined(bundle_architectures(content_.code)) + "; wanted " +
                               facts.chip + " or its family; compile the model with --rocm-arch " +
                               facts.chip + ", or update ROCm if its family is there (HIP said " +
                               name_of(error) + ")");
  }
  check(error, "hipModuleLoadData");
  return nullptr;
}

Function LoadedCode::function(int device_index, const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto key = std::make_pair(device_index, name);
  const auto known = functions_.find(key);
  if (known != functions_.end()) return known->second;
  auto module = modules_.find(device_index);
  if (module == modules_.end()) {
    module = modules_.emplace(device_index, load(device_index)).first;
  }
  Function function = nullptr;
  const Error error = hip().ModuleGetFunction(&function, module->second, name.c_str());
  if (error != kSuccess) {
    hip().GetLastError();
    fail(Failure::kModule, "the code for " + device_facts(device_index).chip +
                               " has no kernel " + name + "; wanted all kernels of the library; "
                               "compile the model again (HIP said " + name_of(error) + ")");
  }
  functions_.emplace(key, function);
  return function;
}

KernelModule::KernelModule(const tvm::ffi::Bytes& serialised)
    : serialised_(serialised),
      code_(std::make_shared<LoadedCode>(read_module(serialised.data(), serialised.size()))) {}

int KernelModule::GetPropertyMask() const {
  return tvm::ffi::Module::kBinarySerializable | tvm::ffi::Module::kRunnable;
}

tvm::ffi::Optional<tvm::ffi::Function> KernelModule::GetFunction(const tvm::ffi::String& name) {
  const auto& kernels = code_->content().kernels;
  const auto found = kernels.find(std::string(name));
  if (found == kernels.end()) return std::nullopt;
  return tvm::ffi::Function::FromPacked(KernelCall(code_, found->second));
}

}  // namespace ferrylm::hip
