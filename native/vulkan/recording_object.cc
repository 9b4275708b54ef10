#include "recording_object.h"

#include "device_registry.h"
#include "errors.h"

namespace ferrylm::vulkan {

void record_begin(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  device->require_alive();
  // Outside the lock: when `begin_recording` refuses it, it takes the lock to be destroyed.
  auto recording = std::make_unique<Recording>(device);
  const std::lock_guard<std::mutex> lock(device->mutex());
  device->stream().begin_recording(&recording);
}

RecordingReference record_end(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  std::unique_ptr<Recording> recording;
  try {
    device->require_alive();
    const std::lock_guard<std::mutex> lock(device->mutex());
    recording = device->stream().end_recording();
  } catch (...) {
    record_cancel(index);
    throw;
  }
  return RecordingReference(std::move(recording));
}

void record_cancel(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  std::unique_ptr<Recording> abandoned;  // destroyed after the lock, which it takes
  const std::lock_guard<std::mutex> lock(device->mutex());
  abandoned = device->stream().abandon_recording();
}

void replay(const RecordingReference& reference) {
  Recording* recording = reference->recording.get();
  Device& device = *recording->device();
  device.require_alive();
  const std::lock_guard<std::mutex> lock(device.mutex());
  device.stream().replay(recording);
}

}  // namespace ferrylm::vulkan
