// Free ranges of one memory block: best fit, neighbours joined.
#ifndef FERRYLM_VULKAN_RANGE_SET_H_
#define FERRYLM_VULKAN_RANGE_SET_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "hazards.h"

namespace ferrylm::vulkan {

// Sizes and offsets are multiples of 256 bytes, which satisfies every alignment Vulkan asks for a
// storage buffer (its limit is 256) and every vector access of a kernel.
constexpr uint64_t kGranularityBytes = 256;

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

class RangeSet {
 public:
  struct Range {
    uint64_t offset;
    Usage usage;  // what may still be happening to this memory when it is used again
  };

  explicit RangeSet(uint64_t size_bytes) : total_bytes_(size_bytes) { insert(0, size_bytes, {}); }

  // The smallest free range that fits, cut to size; nothing when there is none.
  std::optional<Range> take(uint64_t size_bytes);
  void give(uint64_t offset, uint64_t size_bytes, const Usage& usage);
  uint64_t free_bytes() const { return free_bytes_; }
  bool is_all_free() const { return free_bytes_ == total_bytes_; }
  uint64_t largest_bytes() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }
  // What may still be happening anywhere in the free ranges.
  Usage usage() const;

 private:
  struct Extent {
    uint64_t size_bytes;
    Usage usage;
  };
  using Offsets = std::map<uint64_t, Extent>;
  void insert(uint64_t offset, uint64_t size_bytes, const Usage& usage);
  void erase(Offsets::iterator extent);

  uint64_t total_bytes_;
  uint64_t free_bytes_ = 0;
  Offsets by_offset_;
  std::set<std::pair<uint64_t, uint64_t>> by_size_;  // size, offset
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_RANGE_SET_H_
