#include "memory_pool.h"

#include <string>

#include "device_facts.h"
#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

namespace {

constexpr size_t kGrain = 512;
constexpr size_t kLargeGrain = 64 << 10;
constexpr size_t kLarge = 1 << 20;
constexpr uint64_t kMaxCachedBytes = 512u << 20;

size_t rounded(size_t bytes) {
  const size_t grain = bytes > kLarge ? kLargeGrain : kGrain;
  return bytes == 0 ? grain : (bytes + grain - 1) / grain * grain;
}

// A block may be a quarter too large; more would waste memory that others need.
bool fits(size_t block_bytes, size_t bytes) {
  return block_bytes >= bytes && block_bytes - bytes <= bytes / 4 + kGrain;
}

}  // namespace

void* MemoryPool::allocate(size_t bytes, const std::set<Block*>* held) {
  const size_t wanted = rounded(bytes);
  if (wanted < bytes) fail(Failure::kOutOfMemory, "a tensor of " + human_bytes(bytes));
  Block* block = held == nullptr ? nullptr : from_recording(wanted, *held);
  if (block == nullptr) block = from_cache(wanted);
  if (block == nullptr) block = from_driver(wanted);
  block->in_use = true;
  in_use_bytes_ += block->bytes;
  return block->address;
}

Block* MemoryPool::from_recording(size_t bytes, const std::set<Block*>& held) {
  for (Block* block : held) {
    if (!block->in_use && block->recordings == 1 && fits(block->bytes, bytes)) return block;
  }
  return nullptr;
}

Block* MemoryPool::from_cache(size_t bytes) {
  const auto found = cache_.lower_bound(bytes);
  if (found == cache_.end() || !fits(found->first, bytes)) return nullptr;
  Block* block = found->second;
  cached_bytes_ -= block->bytes;
  cache_.erase(found);
  return block;
}

Block* MemoryPool::from_driver(size_t bytes) {
  void* address = nullptr;
  Error error = hip().Malloc(&address, bytes);
  if (error == kErrorOutOfMemory && !cache_.empty()) {
    hip().GetLastError();
    release_cache();
    error = hip().Malloc(&address, bytes);
  }
  if (error == kErrorOutOfMemory) {
    hip().GetLastError();
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    if (hip().MemGetInfo(&free_bytes, &total_bytes) != kSuccess) hip().GetLastError();
    fail(Failure::kOutOfMemory,
         "device " + std::to_string(device_index_) + " has " + human_bytes(free_bytes) +
             " free of " + human_bytes(total_bytes) + "; wanted " + human_bytes(bytes) +
             " more; use a smaller model or context, or close other programs");
  }
  check(error, "hipMalloc");
  auto block = std::make_unique<Block>();
  block->address = static_cast<char*>(address);
  block->bytes = bytes;
  allocated_bytes_ += bytes;
  Block* result = block.get();
  blocks_.emplace(result->address, std::move(block));
  return result;
}

Block* MemoryPool::find(const void* address) {
  auto found = blocks_.upper_bound(static_cast<const char*>(address));
  if (found == blocks_.begin()) return nullptr;
  Block* block = (--found)->second.get();
  const auto offset = static_cast<size_t>(static_cast<const char*>(address) - block->address);
  return offset < block->bytes ? block : nullptr;
}

bool MemoryPool::free(void* address) {
  const auto found = blocks_.find(static_cast<const char*>(address));
  if (found == blocks_.end() || !found->second->in_use) return false;
  Block* block = found->second.get();
  block->in_use = false;
  in_use_bytes_ -= block->bytes;
  if (block->recordings == 0) to_cache(block);
  return true;
}

void MemoryPool::let_go(Block* block) {
  if (--block->recordings == 0 && !block->in_use) to_cache(block);
}

void MemoryPool::to_cache(Block* block) {
  cache_.emplace(block->bytes, block);
  cached_bytes_ += block->bytes;
  if (cached_bytes_ > kMaxCachedBytes) release_cache();
}

void MemoryPool::release_cache() {
  if (recording_) return;
  const Functions* functions = loaded();
  for (const auto& [bytes, block] : cache_) {
    allocated_bytes_ -= bytes;
    if (functions->Free(block->address) != kSuccess) functions->GetLastError();
    blocks_.erase(block->address);
  }
  cache_.clear();
  cached_bytes_ = 0;
}

}  // namespace ferrylm::hip
