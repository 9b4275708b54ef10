#include "launch.h"

#include <tvm/ffi/container/tensor.h>

#include <cstring>

#include "errors.h"
#include "lost_memory.h"

namespace ferrylm::vulkan {

namespace {

using tvm::ffi::AnyView;
using tvm::ffi::PackedArgs;
using tvm::ffi::TypeIndex;

// Grows past its fixed size only for kernels with an argument buffer.
template <typename Item, size_t inline_count>
class SmallList {
 public:
  explicit SmallList(size_t count) : heap_(count > inline_count ? count : 0) {
    data_ = heap_.empty() ? inline_ : heap_.data();
  }
  Item& operator[](size_t i) { return data_[i]; }
  Item* data() { return data_; }

 private:
  Item inline_[inline_count];
  std::vector<Item> heap_;
  Item* data_;
};

// Generated host code passes addresses; tests and tools may pass tensors.
uint64_t address_of(const AnyView& argument) {
  switch (argument.type_index()) {
    case TypeIndex::kTVMFFINone: return 0;
    case TypeIndex::kTVMFFIOpaquePtr: return reinterpret_cast<uint64_t>(argument.cast<void*>());
    default: {
      const DLTensor* tensor = argument.cast<DLTensor*>();
      return reinterpret_cast<uint64_t>(tensor->data) + tensor->byte_offset;
    }
  }
}

// Round to nearest, ties to even, as numpy converts; overflow becomes infinity.
uint16_t half_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal: let the float unit round
    float scaled;
    std::memcpy(&scaled, &magnitude, sizeof(scaled));
    scaled += 0.5f;
    uint32_t rounded;
    std::memcpy(&rounded, &scaled, sizeof(rounded));
    return static_cast<uint16_t>(sign | (rounded - 0x3f000000));
  }
  const uint32_t odd = (magnitude >> 13) & 1;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

uint64_t encode_integer(int64_t value, const KernelArgument& argument) {
  if (argument.bits >= 64) return static_cast<uint64_t>(value);
  const int shift = 64 - argument.bits;
  const uint64_t raised = static_cast<uint64_t>(value) << shift;
  return argument.is_signed ? static_cast<uint64_t>(static_cast<int64_t>(raised) >> shift)
                            : raised >> shift;
}

uint64_t encode(const AnyView& value, const KernelArgument& argument) {
  uint64_t encoded = 0;
  switch (argument.kind) {
    case ArgumentKind::kHandle: return address_of(value);
    case ArgumentKind::kInteger: return encode_integer(value.cast<int64_t>(), argument);
    case ArgumentKind::kFloat16: return half_of(static_cast<float>(value.cast<double>()));
    case ArgumentKind::kFloat32: {
      const float single = static_cast<float>(value.cast<double>());
      std::memcpy(&encoded, &single, sizeof(single));
      return encoded;
    }
    case ArgumentKind::kFloat64: {
      const double full = value.cast<double>();
      std::memcpy(&encoded, &full, sizeof(full));
      return encoded;
    }
  }
  return 0;
}

// Reads the extents; false when the grid is empty.
bool read_grid(const DeviceInfo& info, const Kernel& kernel, PackedArgs arguments,
               uint32_t groups[3]) {
  uint32_t threads[3] = {1, 1, 1};
  groups[0] = groups[1] = groups[2] = 1;
  for (size_t i = 0; i < kernel.launch.size(); ++i) {
    const LaunchExtent& extent = kernel.launch[i];
    if (extent.is_shared_bytes) continue;
    const int64_t value = arguments[static_cast<int>(kernel.arguments.size() + i)].cast<int64_t>();
    if (value == 0) return false;
    const int64_t limit = info.limits.maxComputeWorkGroupCount[extent.axis];
    if (value < 0 || value > limit) {
      fail(Failure::kLimit, "the kernel " + kernel.name + " asks for " + std::to_string(value) +
                                " workgroups in one direction, but " + info.name + " runs " +
                                std::to_string(limit));
    }
    (extent.is_thread ? threads : groups)[extent.axis] = static_cast<uint32_t>(value);
  }
  if (std::memcmp(threads, kernel.local_size, sizeof(threads)) != 0) {
    fail(Failure::kUsage, "the kernel " + kernel.name + " was compiled for another workgroup size");
  }
  return true;
}

[[noreturn]] void refuse_address(const Device& device, const Kernel& kernel, size_t argument,
                                 uint64_t address) {
  if (LostMemory::get().holds(address)) {
    fail(Failure::kDeviceLost, "argument " + std::to_string(argument) + " of the kernel " +
                                   kernel.name +
                                   " is a tensor of a lost device; load the model "
                                   "again");
  }
  fail(Failure::kUsage, "argument " + std::to_string(argument) + " of the kernel " + kernel.name +
                            " is no memory of " + device.info().name);
}

size_t collect_touches(Device& device, const Kernel& kernel, const uint64_t* values,
                       Touch* touches) {
  size_t count = 0;
  for (size_t i = 0; i < kernel.arguments.size(); ++i) {
    const KernelArgument& argument = kernel.arguments[i];
    if (argument.access == Access::kNone || values[i] == 0) continue;
    Allocation* allocation = device.memory().find(values[i]);
    if (allocation == nullptr) refuse_address(device, kernel, i, values[i]);
    touches[count++] = {allocation, argument.access};
  }
  return count;
}

}  // namespace

void launch(const std::shared_ptr<PipelineSet>& pipelines, size_t kernel_index,
            PackedArgs arguments) {
  const Kernel& kernel = pipelines->container().kernels[kernel_index];
  Device& device = pipelines->device();
  device.require_alive();
  const size_t count = kernel.arguments.size();
  if (static_cast<size_t>(arguments.size()) != count + kernel.launch.size()) {
    fail(Failure::kUsage, "the kernel " + kernel.name + " takes " +
                              std::to_string(count + kernel.launch.size()) + " arguments, not " +
                              std::to_string(arguments.size()));
  }
  Dispatch dispatch;
  if (!read_grid(device.info(), kernel, arguments, dispatch.groups)) return;
  SmallList<uint64_t, 16> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = encode(arguments[static_cast<int>(i)], kernel.arguments[i]);
  }
  dispatch.pipeline = pipelines->require(kernel_index);

  std::unique_lock<std::mutex> lock(device.mutex());
  SmallList<Touch, 17> touches(count + 1);
  uint64_t buffer_address = 0;
  dispatch.arguments = values.data();
  dispatch.argument_bytes = static_cast<uint32_t>(count * sizeof(uint64_t));
  dispatch.touch_count = 0;
  if (kernel.uses_argument_buffer) {
    // First, because it may wait without the lock.
    const auto place = device.argument_buffers().put(values.data(), count, &lock);
    buffer_address = place.address;
    dispatch.arguments = &buffer_address;
    dispatch.argument_bytes = sizeof(buffer_address);
    touches[dispatch.touch_count++] = {place.allocation, Access::kRead};
  }
  dispatch.touch_count +=
      collect_touches(device, kernel, values.data(), touches.data() + dispatch.touch_count);
  dispatch.touches = touches.data();
  dispatch.name = &kernel.name;
  dispatch.cost = pipelines->cost(kernel_index);
  if (Recording* recording = device.stream().recording()) recording->hold(pipelines);
  device.stream().dispatch(dispatch);
}

}  // namespace ferrylm::vulkan
