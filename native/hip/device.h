// One AMD GPU: its stream, memory and the recording in progress.
//
// TVM's default stream (null) is here a stream of our own, because HIP cannot capture its null
// stream. Every public function takes the device's lock and makes the device current.
#ifndef FERRYLM_HIP_DEVICE_H_
#define FERRYLM_HIP_DEVICE_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device_facts.h"
#include "memory_pool.h"
#include "recording.h"
#include "staging.h"

namespace ferrylm::hip {

struct Launch {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
};

struct MemoryReport {
  uint64_t allocated_bytes;
  uint64_t cached_bytes;
  uint64_t in_use_bytes;
  uint64_t free_bytes;
  uint64_t total_bytes;
  uint64_t blocks;
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  // The device with this index, made at first use and kept; throws [hip:no-device].
  static std::shared_ptr<Device> get(int index);

  explicit Device(int index);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int index() const { return index_; }
  const DeviceFacts& facts() const { return facts_; }

  void* allocate(size_t bytes);
  void free(void* address);

  // `stream` may be null, the device's own. `pinned` says that the host's memory is pinned, so that
  // the copy may run on its own.
  void copy_from_host(void* to, const void* from, size_t bytes, bool pinned, Stream stream);
  void copy_to_host(void* to, const void* from, size_t bytes, bool pinned, Stream stream);
  void copy_within(void* to, const void* from, size_t bytes, Stream stream);
  void copy_to_peer(void* to, int to_index, const void* from, size_t bytes, Stream stream);
  void synchronize(Stream stream);

  // Runs a kernel; `handles` are its pointers, for the recording.
  void launch(Function function, const std::string& name, const Launch& how, void* arguments,
              size_t argument_bytes, const std::vector<const void*>& handles, Stream stream);

  Stream create_stream();
  void destroy_stream(Stream stream);
  void wait_for(Stream later, Stream earlier);
  // Puts an event of the caller's into the device's own stream.
  void record_event(Event event);
  Stream own_stream() const { return stream_; }
  Stream resolve(Stream stream) const { return stream == nullptr ? stream_ : stream; }

  void record_begin();
  std::shared_ptr<Recording> record_end();
  void record_abort();
  void replay(const Recording& recording);
  void release(Recording* recording);

  MemoryReport memory_report();
  void release_cache();

 private:
  void make_current() const;
  void touch(const void* address);
  void refuse_while_recording(const char* what) const;
  void check_launch(Error error, const std::string& name, const Launch& how) const;

  const int index_;
  const DeviceFacts facts_;
  std::mutex mutex_;
  Stream stream_ = nullptr;
  int other_streams_ = 0;
  MemoryPool pool_;
  Staging staging_;
  std::shared_ptr<Recording> recording_;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_DEVICE_H_
