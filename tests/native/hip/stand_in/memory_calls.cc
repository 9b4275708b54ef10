// Devices, memory and copies.
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace stand_in {

namespace {
thread_local int chosen_device = 0;

bool known_device(int index) {
  return index >= 0 && index < static_cast<int>(state().devices.size());
}

int release(void* memory, int device, const char* function) {
  const auto found = state().allocations.find(static_cast<char*>(memory));
  if (found == state().allocations.end()) {
    return problem(std::string(function) + " of memory that is not allocated", 1);
  }
  if ((found->second.device < 0) != (device < 0)) {
    return problem(std::string(function) + " of memory of the other kind", 1);
  }
  for (const auto& [handle, stream] : state().streams) {
    if (stream->capture != nullptr && device >= 0) return problem("hipFree while capturing", 900);
  }
  // Like HIP: memory is free when all work is done.
  for (int index = 0; index < static_cast<int>(state().devices.size()); ++index) drain_all(index);
  if (found->second.device >= 0) {
    state().devices[found->second.device].used_bytes -= found->second.bytes;
  }
  std::memset(memory, 0xDD, found->second.bytes);
  std::free(memory);
  state().allocations.erase(found);
  return kSuccess;
}

int allocate(void** memory, size_t bytes, int device) {
  void* made = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(made, 0xCC, bytes);
  state().allocations[static_cast<char*>(made)] = {bytes, device};
  *memory = made;
  return kSuccess;
}

// The side of a copy that must be the device's, and the one that must be pinned.
bool right_kind(const void* address, size_t bytes, bool on_device) {
  const Allocation* found = state().find(address, bytes);
  return found != nullptr && (found->device >= 0) == on_device;
}

template <typename Value>
void put(char* properties, size_t offset, Value value) {
  std::memcpy(properties + offset, &value, sizeof(value));
}

}  // namespace

int current_device() { return chosen_device; }

}  // namespace stand_in

using namespace stand_in;

extern "C" {

int hipGetDeviceCount(int* count) {
  if (const int error = enter("hipGetDeviceCount")) return error;
  *count = static_cast<int>(state().devices.size());
  return *count == 0 ? 100 : kSuccess;
}

int hipSetDevice(int index) {
  if (const int error = enter("hipSetDevice")) return error;
  if (!known_device(index)) return problem("hipSetDevice of no device", 101);
  chosen_device = index;
  return kSuccess;
}

// Offsets of hipDeviceProp_tR0600, 1472 bytes.
int hipGetDevicePropertiesR0600(void* properties, int index) {
  if (const int error = enter("hipGetDevicePropertiesR0600")) return error;
  if (!known_device(index)) return problem("properties of no device", 101);
  const Device& device = state().devices[index];
  char* data = static_cast<char*>(properties);
  std::memset(data, 0, 1472);
  std::strcpy(data, ("Stand-in " + device.chip).c_str());
  const bool wide = device.chip.compare(0, 4, "gfx9") == 0;
  put<uint64_t>(data, 288, device.memory_bytes);
  put<uint64_t>(data, 296, 65536);
  put<int>(data, 304, 65536);
  put<int>(data, 308, wide ? 64 : 32);
  put<int>(data, 320, 1024);
  for (size_t axis = 0; axis < 3; ++axis) put<int>(data, 324 + 4 * axis, 1024);
  put<int>(data, 360, std::atoi(device.chip.c_str() + 3) / 100);
  put<int>(data, 388, 8);
  put<int>(data, 396, device.chip == "gfx1033");
  const bool has_features = device.chip == "gfx90a" || device.chip == "gfx942";
  std::strcpy(data + 1160, (device.chip + (has_features ? ":sramecc+:xnack-" : "")).c_str());
  return kSuccess;
}

int hipRuntimeGetVersion(int* version) {
  *version = 60443482;
  return enter("hipRuntimeGetVersion");
}

int hipDriverGetVersion(int* version) {
  *version = 60443482;
  return enter("hipDriverGetVersion");
}

int hipGetLastError() { return kSuccess; }

const char* hipGetErrorName(int error) {
  switch (error) {
    case 2: return "hipErrorOutOfMemory";
    case 209: return "hipErrorNoBinaryForGpu";
    case 719: return "hipErrorLaunchFailure";
    default: return "hipErrorUnknown";
  }
}

int hipMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  if (const int error = enter("hipMemGetInfo")) return error;
  const Device& device = state().devices[current_device()];
  *free_bytes = device.memory_bytes - device.used_bytes;
  *total_bytes = device.memory_bytes;
  return kSuccess;
}

int hipMalloc(void** memory, size_t bytes) {
  if (const int error = enter("hipMalloc", std::to_string(bytes))) return error;
  Device& device = state().devices[current_device()];
  if (bytes == 0) return problem("hipMalloc of nothing", 1);
  if (device.used_bytes + bytes > device.memory_bytes) return 2;
  device.used_bytes += bytes;
  return allocate(memory, bytes, current_device());
}

int hipFree(void* memory) {
  if (const int error = enter("hipFree")) return error;
  return release(memory, 0, "hipFree");
}

int hipHostMalloc(void** memory, size_t bytes, unsigned) {
  if (const int error = enter("hipHostMalloc", std::to_string(bytes))) return error;
  return allocate(memory, bytes, -1);
}

int hipHostFree(void* memory) {
  if (const int error = enter("hipHostFree")) return error;
  return release(memory, -1, "hipHostFree");
}

int hipMemcpyAsync(void* to, const void* from, size_t bytes, int kind, void* stream) {
  static const char* const kKinds[] = {"", "to-device", "to-host", "within"};
  if (kind < 1 || kind > 3) return problem("a copy of an unknown kind", 21);
  const std::string details = std::string(kKinds[kind]) + " " + std::to_string(bytes);
  if (const int error = enter("hipMemcpyAsync", details)) return error;
  StreamState* queue = stream_of(stream, "hipMemcpyAsync");
  if (queue == nullptr) return 400;
  const bool right = right_kind(to, bytes, kind != 2) && right_kind(from, bytes, kind != 1);
  if (!right) return problem("a copy beyond an allocation, or of memory that is not pinned", 1);
  push(queue, [=] {
    if (!right_kind(to, bytes, kind != 2) || !right_kind(from, bytes, kind != 1)) {
      problem("memory freed before its copy ran", 0);
    } else {
      std::memmove(to, from, bytes);
    }
  });
  return kSuccess;
}

int hipMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, void* stream) {
  if (const int error = enter("hipMemcpyPeerAsync", std::to_string(bytes))) return error;
  StreamState* queue = stream_of(stream, "hipMemcpyPeerAsync");
  if (queue == nullptr || !right_kind(to, bytes, true) || !right_kind(from, bytes, true)) return 1;
  push(queue, [=] { std::memmove(to, from, bytes); });
  return kSuccess;
}

}  // extern "C"
