#include "module_format.h"

#include <tvm/ffi/c_api.h>

#include <cstring>

#include "errors.h"

namespace ferrylm::hip {

namespace {

constexpr uint64_t kMaxKernels = 1 << 16;
constexpr uint64_t kMaxArguments = 1024;
constexpr size_t kMaxEntries = 256;
constexpr char kBundleMagic[] = "__CLANG_OFFLOAD_BUNDLE__";
constexpr size_t kMagicBytes = sizeof(kBundleMagic) - 1;
constexpr char kDevicePrefix[] = "hipv4-amdgcn-amd-amdhsa--";

[[noreturn]] void malformed(const std::string& found) {
  fail(Failure::kModule, "a module of AMD kernels with " + found +
                             "; wanted one that TVM 0.27 wrote; compile the model again");
}

class Reader {
 public:
  Reader(const char* data, size_t bytes) : data_(data), left_(bytes) {}

  template <typename Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof(value)), sizeof(value));
    return value;
  }
  std::string text() {
    const auto bytes = number<uint64_t>();
    return std::string(take(bytes), bytes);
  }
  uint64_t count(uint64_t limit, const char* what) {
    const auto found = number<uint64_t>();
    if (found > limit) malformed(std::to_string(found) + " " + what);
    return found;
  }
  size_t left() const { return left_; }

 private:
  const char* take(uint64_t bytes) {
    if (bytes > left_) malformed("an early end");
    const char* start = data_;
    data_ += bytes;
    left_ -= bytes;
    return start;
  }
  const char* data_;
  size_t left_;
};

int launch_axis(const std::string& tag) {
  static const char* const kTags[] = {"blockIdx.x",  "blockIdx.y",  "blockIdx.z",
                                      "threadIdx.x", "threadIdx.y", "threadIdx.z"};
  for (int axis = 0; axis < 6; ++axis) {
    if (tag == kTags[axis]) return axis;
  }
  malformed("the launch parameter " + tag);
}

KernelSignature read_signature(Reader* reader) {
  KernelSignature kernel;
  kernel.name = reader->text();
  const uint64_t arguments = reader->count(kMaxArguments, "arguments");
  for (uint64_t index = 0; index < arguments; ++index) {
    const auto code = reader->number<uint8_t>();
    const auto bits = reader->number<uint8_t>();
    const auto lanes = reader->number<uint16_t>();
    const bool known = bits == 1 || bits == 8 || bits == 16 || bits == 32 || bits == 64;
    if (!known || (lanes != 1 && code != kDLOpaqueHandle) || (code == kDLFloat && bits < 32)) {
      malformed("an argument of type " + std::to_string(code) + " with " + std::to_string(bits) +
                " bits");
    }
    kernel.arguments.push_back({code, bits});
  }
  const uint64_t tags = reader->count(16, "launch parameters");
  for (uint64_t index = 0; index < tags; ++index) {
    const std::string tag = reader->text();
    if (tag == "tirx.use_dyn_shared_memory" && index + 1 == tags) {
      kernel.dynamic_shared_memory = true;
    } else {
      kernel.launch_axes.push_back(launch_axis(tag));
    }
  }
  const uint64_t extras = reader->count(kMaxArguments, "extra tags");
  for (uint64_t index = 0; index < extras; ++index) {
    if (reader->number<int32_t>() != 0) malformed("an argument that only NVIDIA GPUs have");
  }
  return kernel;
}

}  // namespace

size_t KernelSignature::bytes_of(size_t index) const {
  const ArgumentType type = arguments[index];
  if (type.code == kDLOpaqueHandle) return 8;
  return type.bits < 8 ? 1 : type.bits / 8;
}

size_t KernelSignature::argument_bytes() const {
  size_t total = 0;
  for (size_t index = 0; index < arguments.size(); ++index) {
    const size_t bytes = bytes_of(index);
    total = (total + bytes - 1) / bytes * bytes + bytes;
  }
  return total;
}

ModuleContent read_module(const char* data, size_t bytes) {
  Reader reader(data, bytes);
  const std::string format = reader.text();
  if (format != "hsaco") malformed("the format " + format.substr(0, 32));
  ModuleContent content;
  const uint64_t kernels = reader.count(kMaxKernels, "kernels");
  for (uint64_t index = 0; index < kernels; ++index) {
    const std::string name = reader.text();
    content.kernels[name] = read_signature(&reader);
  }
  content.code = reader.text();
  if (reader.left() != 0) malformed(std::to_string(reader.left()) + " bytes too many");
  return content;
}

std::vector<std::string> bundle_architectures(const std::string& code) {
  std::vector<std::string> found;
  if (code.compare(0, kMagicBytes, kBundleMagic) != 0) return found;
  Reader reader(code.data() + kMagicBytes, code.size() - kMagicBytes);
  const uint64_t entries = reader.count(kMaxEntries, "entries in its bundle");
  const size_t prefix = sizeof(kDevicePrefix) - 1;
  for (uint64_t index = 0; index < entries; ++index) {
    const auto offset = reader.number<uint64_t>();
    const auto size = reader.number<uint64_t>();
    if (offset > code.size() || size > code.size() - offset) malformed("a truncated bundle");
    const std::string id = reader.text();
    if (id.compare(0, prefix, kDevicePrefix) == 0) found.push_back(id.substr(prefix));
  }
  return found;
}

}  // namespace ferrylm::hip
