#include "functions.h"

#include "errors.h"

namespace ferrylm::vulkan {

namespace {

template <typename Pointer>
Pointer required(PFN_vkVoidFunction address, const char* name) {
  if (address == nullptr) {
    fail(Failure::kNoDevice, std::string("the Vulkan driver lacks the function ") + name);
  }
  return reinterpret_cast<Pointer>(address);
}

}  // namespace

GlobalFunctions::GlobalFunctions(PFN_vkGetInstanceProcAddr address_of) {
#define FERRYLM_LOAD(name) name = required<PFN_##name>(address_of(nullptr, #name), #name);
  FERRYLM_GLOBAL_FUNCTIONS(FERRYLM_LOAD)
#undef FERRYLM_LOAD
  vkEnumerateInstanceVersion = reinterpret_cast<PFN_vkEnumerateInstanceVersion>(
      address_of(nullptr, "vkEnumerateInstanceVersion"));
}

InstanceFunctions::InstanceFunctions(PFN_vkGetInstanceProcAddr address_of, VkInstance instance) {
#define FERRYLM_LOAD(name) name = required<PFN_##name>(address_of(instance, #name), #name);
  FERRYLM_INSTANCE_FUNCTIONS(FERRYLM_LOAD)
#undef FERRYLM_LOAD
}

DeviceFunctions::DeviceFunctions(PFN_vkGetDeviceProcAddr address_of, VkDevice device) {
#define FERRYLM_LOAD(name) name = required<PFN_##name>(address_of(device, #name), #name);
  FERRYLM_DEVICE_FUNCTIONS(FERRYLM_LOAD)
#undef FERRYLM_LOAD
#define FERRYLM_LOAD(name) name = reinterpret_cast<PFN_##name>(address_of(device, #name));
  FERRYLM_OPTIONAL_DEVICE_FUNCTIONS(FERRYLM_LOAD)
#undef FERRYLM_LOAD
}

}  // namespace ferrylm::vulkan
