// Modules and launches.
#include <cstring>
#include <stdexcept>

#include "state.h"

using namespace stand_in;

namespace {

// The only kernels that do something: increment*(float* data, int count).
void run_increment(const std::vector<char>& arguments) {
  float* data = nullptr;
  int32_t count = 0;
  std::memcpy(&data, arguments.data(), 8);
  std::memcpy(&count, arguments.data() + 8, 4);
  for (int32_t index = 0; index < count; ++index) data[index] += 1.0f;
}

bool pointers_are_live(const Kernel& kernel, const std::vector<char>& arguments) {
  for (const KernelArgument& argument : kernel.arguments) {
    if (!argument.is_pointer) continue;
    const void* address = nullptr;
    std::memcpy(&address, arguments.data() + argument.offset, 8);
    // Pinned memory of the host too: hipHostMalloc maps it for the devices.
    if (state().find(address, 1) == nullptr) return false;
  }
  return true;
}

// What is wrong with a launch, empty when all is right.
std::string wrong_launch(const Kernel& kernel, const unsigned* grid, const unsigned* block,
                         unsigned shared_bytes, size_t argument_bytes) {
  for (int axis = 0; axis < 3; ++axis) {
    if (grid[axis] == 0 || block[axis] == 0) return "an empty launch";
    if (kernel.block.size() == 3 && block[axis] != kernel.block[axis]) {
      return "blocks of another size than the kernel was compiled for";
    }
  }
  if (uint64_t{block[0]} * block[1] * block[2] > kernel.max_threads) return "too many threads";
  if (shared_bytes + kernel.shared_bytes > 65536) return "too much LDS";
  if (argument_bytes < kernel.argument_bytes || argument_bytes > kernel.argument_bytes + 4) {
    return std::to_string(argument_bytes) + " bytes of arguments, " +
           std::to_string(kernel.argument_bytes) + " in the code";
  }
  return "";
}

}  // namespace

extern "C" {

int hipModuleLoadData(void** module, const void* image) {
  if (const int error = enter("hipModuleLoadData")) return error;
  auto made = std::make_unique<ModuleState>();
  made->device = current_device();
  const std::string& chip = state().devices[current_device()].chip;
  try {
    if (!load_code_object(static_cast<const char*>(image), chip, &made->code)) return 209;
  } catch (const std::exception& error) {
    return problem(std::string("hipModuleLoadData: ") + error.what(), 200);
  }
  state().log.push_back("chose " + made->code.entry + " for " + chip);
  *module = made.get();
  state().modules.emplace(*module, std::move(made));
  return kSuccess;
}

int hipModuleUnload(void* module) {
  if (const int error = enter("hipModuleUnload")) return error;
  return state().modules.erase(module) == 1 ? kSuccess : problem("no such module", 1);
}

int hipModuleGetFunction(void** function, void* module, const char* name) {
  if (const int error = enter("hipModuleGetFunction", name)) return error;
  const auto found = state().modules.find(module);
  if (found == state().modules.end()) return problem("a function of no module", 1);
  const auto kernel = found->second->code.kernels.find(name);
  if (kernel == found->second->code.kernels.end()) return 500;
  auto made = std::make_unique<FunctionState>();
  made->module = found->second.get();
  made->kernel = kernel->second;
  *function = made.get();
  state().functions.emplace(*function, std::move(made));
  return kSuccess;
}

int hipModuleLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                          unsigned block_x, unsigned block_y, unsigned block_z,
                          unsigned shared_bytes, void* stream, void** parameters, void** extra) {
  const auto found = state().functions.find(function);
  const std::string name = found == state().functions.end() ? "?" : found->second->kernel.name;
  if (const int error = enter("hipModuleLaunchKernel", name)) return error;
  StreamState* queue = stream_of(stream, "hipModuleLaunchKernel");
  if (found == state().functions.end() || queue == nullptr) return problem("no kernel", 400);
  const Kernel& kernel = found->second->kernel;
  if (found->second->module->device != current_device()) {
    return problem("a kernel of another device", 98);
  }
  const auto key = [extra](int index) { return reinterpret_cast<uintptr_t>(extra[index]); };
  if (parameters != nullptr || extra == nullptr || key(0) != 1 || key(2) != 2 || key(4) != 3) {
    return problem("arguments in no form of HIP", 1);
  }
  const size_t bytes = *static_cast<size_t*>(extra[3]);
  const unsigned grid[] = {grid_x, grid_y, grid_z};
  const unsigned block[] = {block_x, block_y, block_z};
  const std::string wrong = wrong_launch(kernel, grid, block, shared_bytes, bytes);
  if (!wrong.empty()) return problem("a launch of " + name + " with " + wrong, 9);
  const char* start = static_cast<const char*>(extra[1]);
  const std::vector<char> arguments(start, start + bytes);
  if (!pointers_are_live(kernel, arguments)) {
    return problem("a launch of " + name + " with a pointer to no memory of a device", 700);
  }
  push(queue, [kernel, arguments] {
    if (!pointers_are_live(kernel, arguments)) {
      problem("memory freed before " + kernel.name + " ran", 0);
    } else if (kernel.name.compare(0, 9, "increment") == 0) {
      run_increment(arguments);
    }
  });
  return kSuccess;
}

}  // extern "C"
