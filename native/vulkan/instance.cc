#include "instance.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "errors.h"

namespace ferrylm::vulkan {

Instance& Instance::get() {
  static std::mutex mutex;
  static Instance* instance = nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  if (instance == nullptr) instance = new Instance();
  return *instance;
}

const Loader& Instance::loader() {
  static const Loader* const loader = new Loader(open_loader());
  return *loader;
}

Instance::Instance() {
  if (loader().address_of == nullptr) {
    fail(Failure::kNoLoader,
         "no Vulkan loader (libvulkan.so.1) was found on this machine; install the package "
         "libvulkan1 (Debian, Ubuntu), vulkan-loader (Fedora) or vulkan-icd-loader (Arch), or name "
         "the file with FERRY_VULKAN_LOADER");
  }
  const GlobalFunctions global(loader().address_of);
  uint32_t loader_version = VK_API_VERSION_1_0;
  if (global.vkEnumerateInstanceVersion != nullptr) {
    check(global.vkEnumerateInstanceVersion(&loader_version), "vkEnumerateInstanceVersion");
  }
  if (loader_version < VK_API_VERSION_1_2) {
    fail(Failure::kNoLoader,
         "the Vulkan loader " + loader().path + " is older than Vulkan 1.2; install a newer one");
  }
  VkApplicationInfo application = {VK_STRUCTURE_TYPE_APPLICATION_INFO};
  application.pApplicationName = "FerryLM";
  application.pEngineName = "FerryLM";
  application.apiVersion = std::min<uint32_t>(loader_version, VK_API_VERSION_1_3);
  VkInstanceCreateInfo create = {VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  create.pApplicationInfo = &application;
  const VkResult result = global.vkCreateInstance(&create, nullptr, &handle_);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER || result == VK_ERROR_INITIALIZATION_FAILED) {
    fail(Failure::kNoDevice,
         "the Vulkan loader " + loader().path +
             " found no usable driver; install one (Debian: mesa-vulkan-drivers, or the GPU "
             "vendor's)");
  }
  check(result, "vkCreateInstance");
  functions_ = InstanceFunctions(loader().address_of, handle_);
  api_version_ = application.apiVersion;
}

std::vector<VkPhysicalDevice> Instance::physical_devices() const {
  std::vector<VkPhysicalDevice> devices;
  VkResult result = VK_INCOMPLETE;
  while (result == VK_INCOMPLETE) {
    uint32_t count = 0;
    result = functions_.vkEnumeratePhysicalDevices(handle_, &count, nullptr);
    if (result == VK_ERROR_INITIALIZATION_FAILED) return {};
    check(result, "vkEnumeratePhysicalDevices");
    devices.resize(count);
    result = functions_.vkEnumeratePhysicalDevices(handle_, &count, devices.data());
    check(result, "vkEnumeratePhysicalDevices");
    devices.resize(count);
  }
  return devices;
}

}  // namespace ferrylm::vulkan
