// The Vulkan headers, without prototypes: every function is loaded at run time (functions.h).
#ifndef FERRYLM_VULKAN_VULKAN_API_H_
#define FERRYLM_VULKAN_VULKAN_API_H_

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#endif  // FERRYLM_VULKAN_VULKAN_API_H_
