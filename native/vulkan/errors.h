// Errors: one sentence after a tag in brackets, which Python maps to a typed exception.
#ifndef FERRYLM_VULKAN_ERRORS_H_
#define FERRYLM_VULKAN_ERRORS_H_

#include <string>

#include "vulkan_api.h"

namespace ferrylm::vulkan {

enum class Failure {
  kNoLoader,
  kNoDevice,
  kFeature,
  kOutOfMemory,
  kDeviceLost,
  kTimeout,
  kLimit,
  kRecording,
  kContainer,
  kUsage,
  kDriver,
};

// Throws tvm::ffi::Error with the message "[vulkan:TAG] SENTENCE".
[[noreturn]] void fail(Failure failure, const std::string& sentence);

// The Failure that stands for a Vulkan result that is an error.
Failure failure_of(VkResult result);

// The name of the result as the specification writes it.
std::string name_of(VkResult result);

// Throws unless `result` is a success; `call` names the Vulkan function.
void check(VkResult result, const char* call);

// "1.5 GiB", for messages.
std::string human_bytes(uint64_t bytes);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_ERRORS_H_
