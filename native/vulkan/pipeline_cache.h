// Compiled pipelines on disk, one file for each module, device and driver build.
#ifndef FERRYLM_VULKAN_PIPELINE_CACHE_H_
#define FERRYLM_VULKAN_PIPELINE_CACHE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "device_info.h"

namespace ferrylm::vulkan {

// FERRY_VULKAN_CACHE, else the platform's cache folder; empty when there is none.
std::string pipeline_cache_folder();

// The file of a module on a device. A new driver, device or module has a new name.
std::string pipeline_cache_path(const DeviceInfo& info, uint64_t module_hash);

// What the file holds; empty when it is absent, damaged or of another kind.
std::vector<uint8_t> read_pipeline_cache(const std::string& path);

// Replaces the file in one step. A full disk or a read-only folder is no error: the cache is only
// there to save time.
void write_pipeline_cache(const std::string& path, const std::vector<uint8_t>& data);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_PIPELINE_CACHE_H_
