#include "device_registry.h"

#include <algorithm>
#include <cstdlib>

#include "errors.h"
#include "lost_memory.h"

namespace ferrylm::vulkan {

namespace {

int rank(const DeviceInfo& info) {
  switch (info.type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 4;
    default: return 3;
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return std::tolower(letter); });
  return text;
}

std::string without_dashes(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '-'), text.end());
  return text;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 4 &&
         std::all_of(
             text.begin(), text.end(), [](char letter) { return letter >= '0' && letter <= '9'; });
}

bool matches(const DeviceInfo& info, const std::string& spec) {
  return lower(info.name).find(lower(spec)) != std::string::npos ||
         info.uuid == without_dashes(lower(spec));
}

std::string list_of_names(const std::vector<DeviceInfo>& devices) {
  std::string names;
  for (size_t i = 0; i < devices.size(); ++i) {
    names += (i == 0 ? "" : ", ") + std::to_string(i) + ": " + devices[i].name;
  }
  return names.empty() ? "none" : names;
}

}  // namespace

std::vector<DeviceInfo> order_devices(std::vector<DeviceInfo> devices, const std::string& spec) {
  std::stable_sort(devices.begin(), devices.end(), [](const DeviceInfo& a, const DeviceInfo& b) {
    const bool a_usable = unusable_because(a).empty();
    const bool b_usable = unusable_because(b).empty();
    if (a_usable != b_usable) return a_usable;
    return rank(a) < rank(b);
  });
  if (spec.empty()) return devices;
  auto chosen = devices.end();
  if (is_number(spec)) {
    const size_t index = std::stoul(spec);
    if (index < devices.size()) chosen = devices.begin() + static_cast<std::ptrdiff_t>(index);
  } else {
    chosen = std::find_if(devices.begin(), devices.end(),
                          [&](const DeviceInfo& info) { return matches(info, spec); });
  }
  if (chosen == devices.end()) {
    fail(Failure::kNoDevice,
         "no Vulkan device is called '" + spec + "'; there are " + list_of_names(devices));
  }
  std::rotate(devices.begin(), chosen, chosen + 1);
  return devices;
}

DeviceRegistry& DeviceRegistry::get() {
  static DeviceRegistry* const registry = new DeviceRegistry();
  return *registry;
}

void DeviceRegistry::require_enumerated() {
  if (enumerated_) return;
  const char* spec = std::getenv("FERRY_VULKAN_DEVICE");
  enumerate(spec == nullptr ? "" : spec);
}

void DeviceRegistry::enumerate(const std::string& spec) {
  const Instance& instance = Instance::get();
  std::vector<DeviceInfo> found;
  for (VkPhysicalDevice physical : instance.physical_devices()) {
    found.push_back(describe_device(instance, physical));
  }
  const std::vector<DeviceInfo> ordered = order_devices(std::move(found), spec);
  std::vector<Entry> entries;
  for (const DeviceInfo& info : ordered) {
    std::shared_ptr<Device> open;
    for (const Entry& old : entries_) {
      if (old.info.physical == info.physical) open = old.device;
    }
    const size_t index = entries.size();
    const bool moved = open != nullptr &&
                       (index >= entries_.size() || entries_[index].info.physical != info.physical);
    if (moved) {
      const std::lock_guard<std::mutex> lock(open->mutex());
      if (!open->memory().live_tensors().empty()) {
        fail(Failure::kUsage, "the device " + info.name +
                                  " holds tensors, so its number cannot change; free them first");
      }
    }
    entries.push_back({info, open});
  }
  entries_ = std::move(entries);
  enumerated_ = true;
}

DeviceRegistry::Entry& DeviceRegistry::entry(int index) {
  require_enumerated();
  if (index < 0 || static_cast<size_t>(index) >= entries_.size()) {
    fail(Failure::kNoDevice, "there is no Vulkan device number " + std::to_string(index) +
                                 "; this machine has " + std::to_string(entries_.size()));
  }
  return entries_[static_cast<size_t>(index)];
}

bool DeviceRegistry::exists(int index) {
  const std::lock_guard<std::mutex> lock(mutex_);
  try {
    return unusable_because(entry(index).info).empty();
  } catch (const std::exception&) {
    return false;
  }
}

DeviceInfo DeviceRegistry::info(int index) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return entry(index).info;
}

std::shared_ptr<Device> DeviceRegistry::device(int index) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry& wanted = entry(index);
  if (wanted.device == nullptr) wanted.device = Device::open(wanted.info);
  return wanted.device;
}

void DeviceRegistry::retire_lost(Entry* entry) {
  if (entry->device == nullptr || !entry->device->is_lost()) return;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  {
    const std::lock_guard<std::mutex> lock(entry->device->mutex());
    ranges = entry->device->memory().live_tensors();
  }
  LostMemory::get().adopt(entry->device, ranges);
  entry->device.reset();
}

void DeviceRegistry::select(const std::string& spec) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Entry& entry : entries_) retire_lost(&entry);
  enumerate(spec);
}

std::vector<DeviceInfo> DeviceRegistry::all() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<DeviceInfo> infos;
  require_enumerated();
  for (const Entry& entry : entries_) infos.push_back(entry.info);
  return infos;
}

void DeviceRegistry::free(int index, uint64_t address) {
  if (LostMemory::get().free(address)) return;
  std::shared_ptr<Device> device;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t place = static_cast<size_t>(index);
    if (place < entries_.size()) device = entries_[place].device;
  }
  if (device != nullptr) device->free(address);
}

void DeviceRegistry::finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.device == nullptr || entry.device->is_lost()) continue;
    std::unique_lock<std::mutex> device_lock(entry.device->mutex());
    try {
      entry.device->stream().wait_idle(&device_lock);
    } catch (const std::exception&) {
      // The process ends: there is nobody left to tell.
    }
  }
}

}  // namespace ferrylm::vulkan
