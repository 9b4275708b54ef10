// Which barrier an access needs: none, execution only (write after read), or memory (after a
// write).
//
// Two counters rise with every barrier of a queue. An allocation remembers their values at its last
// read and write; when they have not risen since, the earlier access may still be running.
#ifndef FERRYLM_VULKAN_HAZARDS_H_
#define FERRYLM_VULKAN_HAZARDS_H_

#include <algorithm>
#include <cstdint>

namespace ferrylm::vulkan {

enum class Access : uint8_t { kNone = 0, kRead = 1, kWrite = 2, kReadWrite = 3 };

inline bool reads(Access access) { return static_cast<uint8_t>(access) & 1; }
inline bool writes(Access access) { return static_cast<uint8_t>(access) & 2; }

// The last accesses to a piece of memory; zero means never.
struct Usage {
  uint64_t read_epoch = 0;   // the execution counter at the last read
  uint64_t write_epoch = 0;  // the memory counter at the last write
  uint64_t serial = 0;       // the submission that holds the last access

  void merge(const Usage& other) {
    read_epoch = std::max(read_epoch, other.read_epoch);
    write_epoch = std::max(write_epoch, other.write_epoch);
    serial = std::max(serial, other.serial);
  }
};

enum class Barrier : uint8_t { kNone, kExecution, kMemory };

class HazardTracker {
 public:
  Barrier needed_before(const Usage& usage, Access access) const {
    if (usage.write_epoch == memory_epoch_) return Barrier::kMemory;
    if (writes(access) && usage.read_epoch == execution_epoch_) return Barrier::kExecution;
    return Barrier::kNone;
  }

  void note(Usage* usage, Access access, uint64_t serial) const {
    if (reads(access)) usage->read_epoch = execution_epoch_;
    if (writes(access)) usage->write_epoch = memory_epoch_;
    usage->serial = serial;
  }

  // A memory barrier is an execution barrier too.
  void passed(Barrier barrier) {
    if (barrier != Barrier::kNone) ++execution_epoch_;
    if (barrier == Barrier::kMemory) ++memory_epoch_;
  }

 private:
  uint64_t execution_epoch_ = 1;
  uint64_t memory_epoch_ = 1;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_HAZARDS_H_
