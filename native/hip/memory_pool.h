// Device memory: hipMalloc with a cache of freed blocks.
//
// hipMalloc and hipFree wait for the device, so freed blocks are kept for allocations of about the
// same size. All work of a device runs on one stream (see device.h), so a block may be used again as
// soon as it is freed: what comes later on the stream runs later. A recording keeps what it touches:
// such blocks are given out again only when the recording is gone, or to the recording itself.
#ifndef FERRYLM_HIP_MEMORY_POOL_H_
#define FERRYLM_HIP_MEMORY_POOL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace ferrylm::hip {

struct Block {
  char* address = nullptr;
  size_t bytes = 0;
  int recordings = 0;   // how many hold it
  bool in_use = true;   // by a tensor
};

class MemoryPool {
 public:
  explicit MemoryPool(int device_index) : device_index_(device_index) {}
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  // Returns memory of at least `bytes`; `held` are the blocks of the recording in progress, or null.
  // Throws [hip:out-of-memory] after the cache was given back in vain.
  void* allocate(size_t bytes, const std::set<Block*>* held);
  // Takes memory back; false when it was none of the pool's. Never throws.
  bool free(void* address);
  // The block that an address, also one inside it, belongs to, or null.
  Block* find(const void* address);
  // A recording takes or lets go of a block.
  void hold(Block* block) { ++block->recordings; }
  void let_go(Block* block);
  // Gives all cached blocks back to HIP; nothing while a recording is made, when HIP forbids it.
  void release_cache();
  void set_recording(bool recording) { recording_ = recording; }

  uint64_t allocated_bytes() const { return allocated_bytes_; }
  uint64_t cached_bytes() const { return cached_bytes_; }
  uint64_t in_use_bytes() const { return in_use_bytes_; }
  size_t block_count() const { return blocks_.size(); }

 private:
  Block* from_recording(size_t bytes, const std::set<Block*>& held);
  Block* from_cache(size_t bytes);
  Block* from_driver(size_t bytes);
  void to_cache(Block* block);

  int device_index_;
  bool recording_ = false;
  std::map<const char*, std::unique_ptr<Block>> blocks_;  // by address
  std::multimap<size_t, Block*> cache_;                   // by size
  uint64_t allocated_bytes_ = 0;
  uint64_t cached_bytes_ = 0;
  uint64_t in_use_bytes_ = 0;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_MEMORY_POOL_H_
