#include "device.h"

#include <cstring>
#include <map>

#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

std::shared_ptr<Device> Device::get(int index) {
  static std::mutex* const kMutex = new std::mutex;
  // Never destroyed: HIP may be gone before static objects are.
  static auto* const kDevices = new std::map<int, std::shared_ptr<Device>>;
  const std::lock_guard<std::mutex> lock(*kMutex);
  const auto found = kDevices->find(index);
  if (found != kDevices->end()) return found->second;
  return kDevices->emplace(index, std::make_shared<Device>(index)).first->second;
}

Device::Device(int index) : index_(index), facts_(device_facts(index)), pool_(index) {
  make_current();
  check(hip().StreamCreateWithFlags(&stream_, kStreamNonBlocking), "hipStreamCreate");
}

void Device::make_current() const { check(hip().SetDevice(index_), "hipSetDevice"); }

void Device::refuse_while_recording(const char* what) const {
  if (recording_ == nullptr) return;
  fail(Failure::kRecording, std::string("the host ") + what +
                                " while a recording is made; wanted work of the device only; end "
                                "the recording first");
}

void Device::touch(const void* address) {
  if (recording_ == nullptr) return;
  Block* block = pool_.find(address);
  if (block != nullptr && recording_->held.insert(block).second) pool_.hold(block);
}

void* Device::allocate(size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  void* address = pool_.allocate(bytes, recording_ == nullptr ? nullptr : &recording_->held);
  touch(address);
  return address;
}

void Device::free(void* address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Only this device's own stream orders reuse; work on others must be over. Errors stay HIP's:
  // memory is freed by destructors, which must not throw.
  if (other_streams_ > 0 && recording_ == nullptr && hip().SetDevice(index_) == kSuccess) {
    if (hip().DeviceSynchronize() != kSuccess) hip().GetLastError();
  }
  pool_.free(address);
}

void Device::copy_from_host(void* to, const void* from, size_t bytes, bool pinned, Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes == 0) return;
  make_current();
  touch(to);
  const Stream ordered = resolve(stream);
  if (pinned) {
    check(hip().MemcpyAsync(to, from, bytes, kHostToDevice, ordered), "hipMemcpyAsync");
  } else if (recording_ != nullptr) {
    recording_->host_data.push_back(std::make_unique<PinnedMemory>(bytes));
    char* kept = recording_->host_data.back()->data();
    std::memcpy(kept, from, bytes);
    check(hip().MemcpyAsync(to, kept, bytes, kHostToDevice, ordered), "hipMemcpyAsync");
  } else {
    staging_.to_device(to, from, bytes, ordered);
  }
}

void Device::copy_to_host(void* to, const void* from, size_t bytes, bool pinned, Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes == 0) return;
  if (!pinned) refuse_while_recording("reads the device's memory");
  make_current();
  touch(from);
  if (pinned) {
    check(hip().MemcpyAsync(to, from, bytes, kDeviceToHost, resolve(stream)), "hipMemcpyAsync");
  } else {
    staging_.to_host(to, from, bytes, resolve(stream));
  }
}

void Device::copy_within(void* to, const void* from, size_t bytes, Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes == 0) return;
  make_current();
  touch(to);
  touch(from);
  check(hip().MemcpyAsync(to, from, bytes, kDeviceToDevice, resolve(stream)), "hipMemcpyAsync");
}

void Device::copy_to_peer(void* to, int to_index, const void* from, size_t bytes, Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes == 0) return;
  refuse_while_recording("copies to another device");
  make_current();
  const Stream ordered = resolve(stream);
  check(hip().MemcpyPeerAsync(to, to_index, from, index_, bytes, ordered), "hipMemcpyPeerAsync");
  // The other device's stream knows nothing of this one.
  check(hip().StreamSynchronize(ordered), "hipStreamSynchronize");
}

void Device::synchronize(Stream stream) {
  Stream ordered = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    refuse_while_recording("waits for the device");
    make_current();
    ordered = resolve(stream);
  }
  // Without the lock: other threads may go on while this one waits.
  check(hip().StreamSynchronize(ordered), "hipStreamSynchronize");
}

void Device::check_launch(Error error, const std::string& name, const Launch& how) const {
  if (error == kSuccess) return;
  hip().GetLastError();
  const auto extents = [](const unsigned* size) {
    return std::to_string(size[0]) + " x " + std::to_string(size[1]) + " x " +
           std::to_string(size[2]);
  };
  const Failure failure = failure_of(error);
  fail(failure == Failure::kDriver ? Failure::kLaunch : failure,
       "the kernel " + name + " with a grid of " + extents(how.grid) + ", blocks of " +
           extents(how.block) + " and " + human_bytes(how.shared_bytes) + " of LDS on " +
           facts_.chip + ": " + name_of(error));
}

void Device::launch(Function function, const std::string& name, const Launch& how,
                    void* arguments, size_t argument_bytes,
                    const std::vector<const void*>& handles, Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  if (recording_ != nullptr) {
    for (const void* handle : handles) touch(handle);
    ++recording_->launches;
  }
  void* extra[] = {launch_buffer_pointer(), arguments, launch_buffer_size(), &argument_bytes,
                   launch_end()};
  check_launch(hip().ModuleLaunchKernel(function, how.grid[0], how.grid[1], how.grid[2],
                                        how.block[0], how.block[1], how.block[2],
                                        how.shared_bytes, resolve(stream), nullptr, extra),
               name, how);
}

Stream Device::create_stream() {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  Stream stream = nullptr;
  check(hip().StreamCreateWithFlags(&stream, kStreamNonBlocking), "hipStreamCreate");
  ++other_streams_;
  return stream;
}

void Device::destroy_stream(Stream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  check(hip().StreamSynchronize(stream), "hipStreamSynchronize");
  check(hip().StreamDestroy(stream), "hipStreamDestroy");
  --other_streams_;
}

void Device::record_event(Event event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  refuse_while_recording("sets a mark");
  make_current();
  check(hip().EventRecord(event, stream_), "hipEventRecord");
}

void Device::wait_for(Stream later, Stream earlier) {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  Event event = nullptr;
  check(hip().EventCreateWithFlags(&event, kEventDisableTiming), "hipEventCreate");
  Error error = hip().EventRecord(event, resolve(earlier));
  if (error == kSuccess) error = hip().StreamWaitEvent(resolve(later), event, 0);
  hip().EventDestroy(event);
  check(error, "hipStreamWaitEvent");
}

MemoryReport Device::memory_report() {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  check(hip().MemGetInfo(&free_bytes, &total_bytes), "hipMemGetInfo");
  return {pool_.allocated_bytes(), pool_.cached_bytes(), pool_.in_use_bytes(), free_bytes,
          total_bytes, pool_.block_count()};
}

void Device::release_cache() {
  const std::lock_guard<std::mutex> lock(mutex_);
  make_current();
  pool_.release_cache();
}

}  // namespace ferrylm::hip
