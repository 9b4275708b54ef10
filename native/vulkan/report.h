// What the runtime found and holds, as JSON for doctor, manifests and tests.
#ifndef FERRYLM_VULKAN_REPORT_H_
#define FERRYLM_VULKAN_REPORT_H_

#include <string>

namespace ferrylm::vulkan {

// The loader, the drivers' files and all devices, or the reason for none. Never throws.
std::string loader_report();
// One device: identity, subgroup sizes, features, limits, heaps. Opens nothing.
std::string device_report(int index);
// The memory of an open device: totals, and each heap's size, budget and our share.
std::string memory_report(int index);
// What an open device's queue has done: dispatches, barriers, submissions, replays.
std::string counter_report(int index);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_REPORT_H_
