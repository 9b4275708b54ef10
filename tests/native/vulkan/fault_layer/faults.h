// Which Vulkan calls fail, and how many objects live; set and read by tests through ctypes.
#ifndef FERRYLM_TESTS_VULKAN_FAULTS_H_
#define FERRYLM_TESTS_VULKAN_FAULTS_H_

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

namespace faults {

// What the call is to answer instead of being made: VK_SUCCESS when it is to be made.
VkResult before(const char* call);

// Objects of a kind that were made and not destroyed.
void count(const char* kind, int change);

}  // namespace faults

#endif  // FERRYLM_TESTS_VULKAN_FAULTS_H_
