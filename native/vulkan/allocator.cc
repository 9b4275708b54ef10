#include "allocator.h"

#include <algorithm>

#include "errors.h"
#include "lost_memory.h"

namespace ferrylm::vulkan {

namespace {

constexpr uint64_t kMebibyte = 1ull << 20;
constexpr uint64_t kBlockBytes = 64 * kMebibyte;
constexpr uint64_t kStagingBlockBytes = 4 * kMebibyte;

}  // namespace

Allocator::Allocator(const DeviceInfo& info, const InstanceFunctions& instance,
                     const DeviceFunctions& functions, VkDevice device)
    : info_(info), functions_(functions), device_(device), heaps_(info, instance) {
  for (int purpose = 0; purpose < kPurposeCount; ++purpose) {
    types_[purpose] = memory_types_for(info, static_cast<Purpose>(purpose));
  }
}

Allocator::~Allocator() = default;

Allocation* Allocator::allocate(uint64_t size_bytes, Purpose purpose) {
  const uint64_t rounded = round_up(std::max<uint64_t>(size_bytes, 1), kGranularityBytes);
  const uint64_t limit = std::min(info_.max_allocation_bytes, info_.max_buffer_bytes);
  if (size_bytes > UINT64_MAX / 2 || rounded > limit) {
    fail(Failure::kLimit, info_.name + " holds at most " + human_bytes(limit) +
                              " in one tensor, but " + human_bytes(size_bytes) + " were asked for");
  }
  if (rounded <= kBlockBytes / 2) {
    if (Allocation* allocation = allocate_from_any(purpose, rounded)) return allocation;
  }
  MemoryBlock* block = new_block(rounded, purpose);
  return block == nullptr ? nullptr : allocate_from(block, rounded);
}

Allocation* Allocator::allocate_from_any(Purpose purpose, uint64_t size_bytes) {
  MemoryBlock*& recent = recent_[static_cast<int>(purpose)];
  if (recent != nullptr) {
    if (Allocation* allocation = allocate_from(recent, size_bytes)) return allocation;
  }
  for (const auto& block : blocks_) {
    if (block->purpose() != purpose || block->is_dedicated()) continue;
    if (Allocation* allocation = allocate_from(block.get(), size_bytes)) {
      recent = block.get();
      return allocation;
    }
  }
  return nullptr;
}

Allocation* Allocator::allocate_from(MemoryBlock* block, uint64_t size_bytes) {
  const auto range = block->ranges().take(size_bytes);
  if (!range) return nullptr;
  auto allocation = std::make_unique<Allocation>();
  allocation->block = block;
  allocation->offset = range->offset;
  allocation->size_bytes = size_bytes;
  allocation->usage = range->usage;
  Allocation* result = allocation.get();
  by_address_.emplace(result->address(), result);
  allocations_.emplace(result, std::move(allocation));
  used_bytes_ += size_bytes;
  return result;
}

uint64_t Allocator::block_bytes(uint32_t type, uint64_t size_bytes, bool dedicated) const {
  if (dedicated) return size_bytes;
  // A small heap is not eaten by one block.
  const uint64_t heap = heaps_.size_bytes(info_.memory.memoryTypes[type].heapIndex);
  return std::max(size_bytes, std::min(kBlockBytes, round_up(heap / 16, kMebibyte)));
}

MemoryBlock* Allocator::new_block(uint64_t size_bytes, Purpose purpose) {
  const bool dedicated = size_bytes > kBlockBytes / 2;
  for (const uint32_t type : types_[static_cast<int>(purpose)]) {
    const uint32_t heap = info_.memory.memoryTypes[type].heapIndex;
    uint64_t wanted = purpose == Purpose::kDevice ? block_bytes(type, size_bytes, dedicated)
                                                  : std::max(size_bytes, kStagingBlockBytes);
    const uint64_t left = heaps_.free_bytes(heap);
    if (wanted > left) wanted = size_bytes;
    if (wanted > left) continue;
    std::unique_ptr<MemoryBlock> block = create_block(type, wanted);
    if (block == nullptr) continue;
    if (dedicated) block->set_dedicated();
    block->set_purpose(purpose);
    block->set_cached(is_cached(info_, type));
    heaps_.took(heap, block->size_bytes());
    blocks_.push_back(std::move(block));
    return blocks_.back().get();
  }
  return nullptr;
}

std::unique_ptr<MemoryBlock> Allocator::create_block(uint32_t type, uint64_t size_bytes) {
  // Addresses of tensors that a lost device left behind are not given out twice: freeing them
  // would be ambiguous. Unlucky blocks are held until a lucky one is found.
  Blocks unlucky;
  for (int attempt = 0; attempt < 8; ++attempt) {
    VkResult result = VK_SUCCESS;
    auto block =
        MemoryBlock::create(functions_, device_, type, size_bytes, is_mapped(info_, type), &result);
    if (block == nullptr) return nullptr;
    if (!LostMemory::get().overlaps(block->address(), block->size_bytes())) return block;
    unlucky.push_back(std::move(block));
  }
  return nullptr;
}

bool Allocator::release(Allocation* allocation) {
  hide(allocation);
  RangeSet& ranges = allocation->block->ranges();
  ranges.give(allocation->offset, allocation->size_bytes, allocation->usage);
  used_bytes_ -= allocation->size_bytes;
  allocations_.erase(allocation);
  return ranges.is_all_free();
}

void Allocator::collect(uint64_t completed_serial, bool all) {
  bool kept[kPurposeCount] = {};
  const auto unused = [&](const std::unique_ptr<MemoryBlock>& block) {
    if (!block->ranges().is_all_free()) return false;
    bool& kept_one = kept[static_cast<int>(block->purpose())];
    if (!all && !block->is_dedicated() && !kept_one) {
      kept_one = true;
      return false;
    }
    if (block->ranges().usage().serial > completed_serial) return false;
    MemoryBlock*& recent = recent_[static_cast<int>(block->purpose())];
    if (recent == block.get()) recent = nullptr;
    heaps_.gave(info_.memory.memoryTypes[block->type()].heapIndex, block->size_bytes());
    return true;
  };
  blocks_.erase(std::remove_if(blocks_.begin(), blocks_.end(), unused), blocks_.end());
}

Allocation* Allocator::find(uint64_t address) {
  if (last_found_ != nullptr && last_found_->holds(address)) return last_found_;
  auto next = by_address_.upper_bound(address);
  if (next == by_address_.begin()) return nullptr;
  Allocation* candidate = std::prev(next)->second;
  if (!candidate->holds(address)) return nullptr;
  last_found_ = candidate;
  return candidate;
}

void Allocator::hide(Allocation* allocation) {
  if (last_found_ == allocation) last_found_ = nullptr;
  by_address_.erase(allocation->address());
}

void Allocator::show(Allocation* allocation) {
  by_address_.emplace(allocation->address(), allocation);
}

MemoryTotals Allocator::totals() const {
  MemoryTotals totals;
  for (const auto& block : blocks_) totals.driver_bytes += block->size_bytes();
  totals.used_bytes = used_bytes_;
  totals.block_count = blocks_.size();
  totals.allocation_count = allocations_.size();
  return totals;
}

std::vector<std::pair<uint64_t, uint64_t>> Allocator::live_tensors() const {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [address, allocation] : by_address_) {
    if (allocation->block->purpose() == Purpose::kDevice) {
      ranges.emplace_back(address, allocation->size_bytes);
    }
  }
  return ranges;
}

void Allocator::fail_out_of_memory(uint64_t size_bytes, Purpose purpose) const {
  const char* what = purpose == Purpose::kDevice ? "a tensor" : "a staging buffer";
  fail(Failure::kOutOfMemory, std::string("asked for ") + human_bytes(size_bytes) + " for " + what +
                                  " on " + info_.name + ", but " + heaps_.sentence());
}

}  // namespace ferrylm::vulkan
