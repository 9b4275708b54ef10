// What a serialised module of kind "hip" holds, as TVM 0.27 writes it: the format's name, the
// signature of every kernel, and the code, here a bundle of code objects. Every number may lie.
#ifndef FERRYLM_HIP_MODULE_FORMAT_H_
#define FERRYLM_HIP_MODULE_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ferrylm::hip {

struct ArgumentType {
  uint8_t code;  // DLDataTypeCode
  uint8_t bits;
};

// Where a value of the launch goes: blockIdx.x, y, z are 0 to 2, threadIdx 3 to 5.
struct KernelSignature {
  std::string name;
  std::vector<ArgumentType> arguments;
  std::vector<int> launch_axes;
  bool dynamic_shared_memory = false;

  // The size of argument `index`, and its offset, laid out like a C struct.
  size_t bytes_of(size_t index) const;
  size_t argument_bytes() const;
};

struct ModuleContent {
  std::map<std::string, KernelSignature> kernels;
  std::string code;
};

// Throws [hip:module] for anything malformed.
ModuleContent read_module(const char* data, size_t bytes);

// The architectures of a bundle in their order, empty when `code` is no bundle.
std::vector<std::string> bundle_architectures(const std::string& code);

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_MODULE_FORMAT_H_
