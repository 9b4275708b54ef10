// A libvulkan that passes everything on to the real one, but for what tests tell it to do.

#include <dlfcn.h>

#include <cstring>

#include "wrappers.h"

namespace {

PFN_vkGetInstanceProcAddr real_instance_address() {
  static const auto address = [] {
    void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    void* symbol = library == nullptr ? nullptr : dlsym(library, "vkGetInstanceProcAddr");
    return reinterpret_cast<PFN_vkGetInstanceProcAddr>(symbol);
  }();
  return address;
}

PFN_vkGetDeviceProcAddr real_device_address = nullptr;

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL device_address(VkDevice device, const char* name) {
  return wrappers::wrap(name, real_device_address(device, name));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) PFN_vkVoidFunction
vkGetInstanceProcAddr(VkInstance instance, const char* name) {
  if (real_instance_address() == nullptr) return nullptr;
  const PFN_vkVoidFunction real = real_instance_address()(instance, name);
  if (std::strcmp(name, "vkGetDeviceProcAddr") == 0) {
    real_device_address = reinterpret_cast<PFN_vkGetDeviceProcAddr>(real);
    return reinterpret_cast<PFN_vkVoidFunction>(&device_address);
  }
  return wrappers::wrap(name, real);
}
