// Finds and opens the Vulkan loader (libvulkan), which is never linked to.
#ifndef FERRYLM_VULKAN_LOADER_H_
#define FERRYLM_VULKAN_LOADER_H_

#include <string>
#include <vector>

#include "vulkan_api.h"

namespace ferrylm::vulkan {

struct LoaderAttempt {
  std::string path;
  std::string outcome;  // "loaded", or why not
};

struct Loader {
  std::string path;  // empty when none was found
  PFN_vkGetInstanceProcAddr address_of = nullptr;
  std::vector<LoaderAttempt> attempts;
};

// Opens the first loader of the search list; never throws. The library stays open.
Loader open_loader();

// Files that describe drivers (*.json), in the folders where loaders look for them.
std::vector<std::string> driver_files();

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_LOADER_H_
