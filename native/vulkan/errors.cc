#include "errors.h"

#include <tvm/ffi/error.h>

#include <cstdio>

#include "utf8.h"

namespace ferrylm::vulkan {

namespace {

const char* tag_of(Failure failure) {
  switch (failure) {
    case Failure::kNoLoader: return "no-loader";
    case Failure::kNoDevice: return "no-device";
    case Failure::kFeature: return "feature";
    case Failure::kOutOfMemory: return "out-of-memory";
    case Failure::kDeviceLost: return "device-lost";
    case Failure::kTimeout: return "timeout";
    case Failure::kLimit: return "limit";
    case Failure::kRecording: return "recording";
    case Failure::kContainer: return "container";
    case Failure::kUsage: return "usage";
    case Failure::kDriver: return "driver";
  }
  return "driver";
}

}  // namespace

void fail(Failure failure, const std::string& sentence) {
  throw tvm::ffi::Error("RuntimeError",
                        std::string("[vulkan:") + tag_of(failure) + "] " + to_utf8(sentence), "");
}

Failure failure_of(VkResult result) {
  switch (result) {
    case VK_ERROR_DEVICE_LOST: return Failure::kDeviceLost;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_FRAGMENTATION: return Failure::kOutOfMemory;
    case VK_TIMEOUT: return Failure::kTimeout;
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT: return Failure::kFeature;
    case VK_ERROR_INCOMPATIBLE_DRIVER: return Failure::kNoDevice;
    default: return Failure::kDriver;
  }
}

std::string name_of(VkResult result) {
  switch (result) {
    case VK_SUCCESS: return "VK_SUCCESS";
    case VK_NOT_READY: return "VK_NOT_READY";
    case VK_TIMEOUT: return "VK_TIMEOUT";
    case VK_INCOMPLETE: return "VK_INCOMPLETE";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED: return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_MEMORY_MAP_FAILED: return "VK_ERROR_MEMORY_MAP_FAILED";
    case VK_ERROR_LAYER_NOT_PRESENT: return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_TOO_MANY_OBJECTS: return "VK_ERROR_TOO_MANY_OBJECTS";
    case VK_ERROR_UNKNOWN: return "VK_ERROR_UNKNOWN";
    case VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS: return "VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS";
    default: return "VkResult " + std::to_string(static_cast<int>(result));
  }
}

void check(VkResult result, const char* call) {
  if (result >= 0) return;
  fail(failure_of(result), std::string(call) + " answered " + name_of(result));
}

std::string human_bytes(uint64_t bytes) {
  static const char* const kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024.0 && unit < 4) {
    value /= 1024.0;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

}  // namespace ferrylm::vulkan
