#include "staging.h"

#include <algorithm>
#include <cstring>

#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

namespace {
constexpr size_t kBufferBytes = 4 << 20;
}

PinnedMemory::PinnedMemory(size_t bytes) {
  void* memory = nullptr;
  check(hip().HostMalloc(&memory, bytes, kHostMallocDefault), "hipHostMalloc");
  data_ = static_cast<char*>(memory);
}

PinnedMemory::~PinnedMemory() {
  if (hip().HostFree(data_) != kSuccess) hip().GetLastError();
}

Staging::~Staging() {
  for (Buffer& buffer : buffers_) {
    if (buffer.done != nullptr) {
      if (buffer.busy) hip().EventSynchronize(buffer.done);
      hip().EventDestroy(buffer.done);
    }
    delete buffer.memory;
  }
}

Staging::Buffer& Staging::next() {
  Buffer& buffer = buffers_[turn_];
  turn_ = 1 - turn_;
  if (buffer.memory == nullptr) buffer.memory = new PinnedMemory(kBufferBytes);
  if (buffer.done == nullptr) {
    check(hip().EventCreateWithFlags(&buffer.done, kEventDisableTiming), "hipEventCreate");
  }
  if (buffer.busy) {
    buffer.busy = false;
    check(hip().EventSynchronize(buffer.done), "hipEventSynchronize");
  }
  return buffer;
}

void Staging::to_device(void* to, const void* from, size_t bytes, Stream stream) {
  for (size_t done = 0; done < bytes; done += kBufferBytes) {
    const size_t part = std::min(kBufferBytes, bytes - done);
    Buffer& buffer = next();
    std::memcpy(buffer.memory->data(), static_cast<const char*>(from) + done, part);
    check(hip().MemcpyAsync(static_cast<char*>(to) + done, buffer.memory->data(), part,
                            kHostToDevice, stream),
          "hipMemcpyAsync");
    check(hip().EventRecord(buffer.done, stream), "hipEventRecord");
    buffer.busy = true;
  }
}

void Staging::to_host(void* to, const void* from, size_t bytes, Stream stream) {
  // One part is always on its way while the one before is read by the host.
  Buffer* before = nullptr;
  size_t before_at = 0;
  size_t before_bytes = 0;
  const auto finish = [&] {
    before->busy = false;
    check(hip().EventSynchronize(before->done), "hipEventSynchronize");
    std::memcpy(static_cast<char*>(to) + before_at, before->memory->data(), before_bytes);
  };
  for (size_t done = 0; done < bytes; done += kBufferBytes) {
    const size_t part = std::min(kBufferBytes, bytes - done);
    Buffer& buffer = next();
    check(hip().MemcpyAsync(buffer.memory->data(), static_cast<const char*>(from) + done, part,
                            kDeviceToHost, stream),
          "hipMemcpyAsync");
    check(hip().EventRecord(buffer.done, stream), "hipEventRecord");
    buffer.busy = true;
    if (before != nullptr) finish();
    before = &buffer;
    before_at = done;
    before_bytes = part;
  }
  if (before != nullptr) finish();
}

}  // namespace ferrylm::hip
