#include "range_set.h"

namespace ferrylm::vulkan {

void RangeSet::insert(uint64_t offset, uint64_t size_bytes, const Usage& usage) {
  by_offset_.emplace(offset, Extent{size_bytes, usage});
  by_size_.emplace(size_bytes, offset);
  free_bytes_ += size_bytes;
}

void RangeSet::erase(Offsets::iterator extent) {
  by_size_.erase({extent->second.size_bytes, extent->first});
  free_bytes_ -= extent->second.size_bytes;
  by_offset_.erase(extent);
}

std::optional<RangeSet::Range> RangeSet::take(uint64_t size_bytes) {
  const auto fitting = by_size_.lower_bound({size_bytes, 0});
  if (fitting == by_size_.end()) return std::nullopt;
  const auto extent = by_offset_.find(fitting->second);
  const uint64_t offset = extent->first;
  const Extent found = extent->second;
  erase(extent);
  if (found.size_bytes > size_bytes) {
    insert(offset + size_bytes, found.size_bytes - size_bytes, found.usage);
  }
  return Range{offset, found.usage};
}

void RangeSet::give(uint64_t offset, uint64_t size_bytes, const Usage& usage) {
  Usage joined = usage;
  auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second.size_bytes == offset) {
      offset = previous->first;
      size_bytes += previous->second.size_bytes;
      joined.merge(previous->second.usage);
      erase(previous);
    }
  }
  if (next != by_offset_.end() && next->first == offset + size_bytes) {
    size_bytes += next->second.size_bytes;
    joined.merge(next->second.usage);
    erase(next);
  }
  insert(offset, size_bytes, joined);
}

Usage RangeSet::usage() const {
  Usage joined;
  for (const auto& [offset, extent] : by_offset_) joined.merge(extent.usage);
  return joined;
}

}  // namespace ferrylm::vulkan
