// A wrapper for every Vulkan function that can fail or that makes objects.
#ifndef FERRYLM_TESTS_VULKAN_WRAPPERS_H_
#define FERRYLM_TESTS_VULKAN_WRAPPERS_H_

#include "faults.h"

namespace wrappers {

// The wrapper of a function whose real address is `real`, or `real` when there is none.
PFN_vkVoidFunction wrap(const char* name, PFN_vkVoidFunction real);

}  // namespace wrappers

#endif  // FERRYLM_TESTS_VULKAN_WRAPPERS_H_
