// TVM's device numbers: which physical device each one is, and the open device behind it.
#ifndef FERRYLM_VULKAN_DEVICE_REGISTRY_H_
#define FERRYLM_VULKAN_DEVICE_REGISTRY_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device.h"

namespace ferrylm::vulkan {

// Discrete, integrated, virtual and other devices, software last; within a kind the driver's order.
// `spec` (an index into that order, a part of a name, or a UUID) moves one device to the front; an
// empty one changes nothing. Throws kNoDevice when it names none.
std::vector<DeviceInfo> order_devices(std::vector<DeviceInfo> devices, const std::string& spec);

class DeviceRegistry {
 public:
  static DeviceRegistry& get();

  // Whether the number stands for a usable device; never throws.
  bool exists(int index);
  DeviceInfo info(int index);
  // Opens the device on first use.
  std::shared_ptr<Device> device(int index);
  // Makes the device number 0 and opens lost devices anew. Throws kUsage while tensors live on a
  // device whose number would change.
  void select(const std::string& spec);
  // All devices, the unusable ones last.
  std::vector<DeviceInfo> all();
  // Frees a tensor's memory wherever it is; never throws.
  void free(int index, uint64_t address);
  // Waits for all open devices, before the process ends.
  void finish();

 private:
  struct Entry {
    DeviceInfo info;
    std::shared_ptr<Device> device;
  };
  void require_enumerated();
  void enumerate(const std::string& spec);
  void retire_lost(Entry* entry);
  Entry& entry(int index);

  std::mutex mutex_;
  bool enumerated_ = false;
  std::vector<Entry> entries_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_DEVICE_REGISTRY_H_
