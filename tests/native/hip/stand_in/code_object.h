// What the stand-in reads of a bundle: the entry for a chip, and its kernels' metadata.
#ifndef FERRYLM_STAND_IN_CODE_OBJECT_H_
#define FERRYLM_STAND_IN_CODE_OBJECT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stand_in {

struct KernelArgument {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool is_pointer = false;
};

struct Kernel {
  std::string name;
  uint64_t argument_bytes = 0;
  uint64_t shared_bytes = 0;
  uint64_t wave = 0;
  uint64_t max_threads = 0;
  std::vector<uint64_t> block;
  std::vector<KernelArgument> arguments;
};

struct CodeObject {
  std::string entry;  // the bundle's name of the architecture
  std::map<std::string, Kernel> kernels;
};

// Picks the entry as HIP does: the chip itself, else its family. False when there is none.
// Throws std::runtime_error for a bundle or code object that HIP's loader would not read.
bool load_code_object(const char* image, const std::string& chip, CodeObject* code);

}  // namespace stand_in

#endif  // FERRYLM_STAND_IN_CODE_OBJECT_H_
