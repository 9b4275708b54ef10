#include "staging.h"

#include <algorithm>
#include <cstring>

#include "device.h"
#include "errors.h"

namespace ferrylm::vulkan {

namespace {

// vkCmdUpdateBuffer takes no more.
constexpr uint64_t kInlineBytes = 65536;
constexpr uint64_t kPieceBytes = 4ull << 20;

// Reads of uncached memory take a microsecond for every few hundred bytes.
constexpr uint64_t kSlowReadBytes = 1024;

bool fits_inline(uint64_t offset, uint64_t size_bytes) {
  return size_bytes <= kInlineBytes && size_bytes % 4 == 0 && offset % 4 == 0;
}

}  // namespace

Allocation* Staging::next_upload_piece(std::unique_lock<std::mutex>* lock) {
  turn_ = (turn_ + 1) % kPieces;
  Allocation** piece = &uploads_[turn_];
  if (*piece == nullptr) {
    Allocation* fresh = device_.allocate(kPieceBytes, Purpose::kUpload, lock);
    // Another thread may have filled the place while `allocate` waited.
    if (*piece == nullptr) {
      *piece = fresh;
    } else {
      device_.memory().release(fresh);
    }
  }
  // Another thread may take the piece while this one waits without the lock.
  Stream& stream = device_.stream();
  while (stream.is_pending((*piece)->usage)) stream.wait((*piece)->usage.serial, lock);
  return *piece;
}

void Staging::upload(const void* data, Allocation* to, uint64_t offset, uint64_t size_bytes,
                     std::unique_lock<std::mutex>* lock) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  Stream& stream = device_.stream();
  const bool recorded = stream.recording() != nullptr;
  if (to->mapped() != nullptr && !recorded && !stream.is_pending(to->usage)) {
    std::memcpy(to->mapped() + offset, bytes, size_bytes);
    return;
  }
  if (fits_inline(to->offset + offset, size_bytes)) {
    stream.update({to, Access::kWrite}, offset, bytes, size_bytes);
    return;
  }
  if (recorded) return upload_recorded(bytes, to, offset, size_bytes, lock);
  for (uint64_t done = 0; done < size_bytes;) {
    const uint64_t piece_bytes = std::min(kPieceBytes, size_bytes - done);
    Allocation* piece = next_upload_piece(lock);
    std::memcpy(piece->mapped(), bytes + done, piece_bytes);
    stream.copy({piece, Access::kRead}, 0, {to, Access::kWrite}, offset + done, piece_bytes);
    done += piece_bytes;
    // The device copies this piece while the host fills the next one.
    if (done < size_bytes) stream.submit();
  }
}

// The bytes become part of the recording: every replay copies them again.
void Staging::upload_recorded(const uint8_t* data, Allocation* to, uint64_t offset,
                              uint64_t size_bytes, std::unique_lock<std::mutex>* lock) {
  Allocation* constant = device_.allocate(size_bytes, Purpose::kUpload, lock);
  Stream& stream = device_.stream();
  while (stream.is_pending(constant->usage)) stream.wait(constant->usage.serial, lock);
  std::memcpy(constant->mapped(), data, size_bytes);
  try {
    stream.copy({constant, Access::kRead}, 0, {to, Access::kWrite}, offset, size_bytes);
  } catch (...) {
    if (constant->recordings == 0) device_.memory().release(constant);
    throw;
  }
  device_.memory().hide(constant);
  constant->freed = true;  // given back with the recording, which holds it since the copy
}

void Staging::download(Allocation* from, uint64_t offset, void* data, uint64_t size_bytes,
                       std::unique_lock<std::mutex>* lock) {
  Stream& stream = device_.stream();
  if (stream.recording() != nullptr) {
    fail(Failure::kRecording,
         "a copy to the host cannot be recorded: it would not happen again in a replay; copy after "
         "the recording has ended");
  }
  uint8_t* bytes = static_cast<uint8_t*>(data);
  if (from->mapped() != nullptr && (from->block->is_cached() || size_bytes <= kSlowReadBytes)) {
    if (stream.is_pending(from->usage) || !stream.host_sees_all()) stream.wait_idle(lock);
    std::memcpy(bytes, from->mapped() + offset, size_bytes);
    return;
  }
  // A buffer of its own: a shared one could be taken by another thread during the wait.
  Allocation* piece = device_.allocate(std::min(size_bytes, kPieceBytes), Purpose::kDownload, lock);
  try {
    for (uint64_t done = 0; done < size_bytes;) {
      const uint64_t piece_bytes = std::min(kPieceBytes, size_bytes - done);
      stream.copy({from, Access::kRead}, offset + done, {piece, Access::kWrite}, 0, piece_bytes);
      stream.wait_idle(lock);
      std::memcpy(bytes + done, piece->mapped(), piece_bytes);
      done += piece_bytes;
    }
  } catch (...) {
    device_.memory().release(piece);
    throw;
  }
  device_.memory().release(piece);
}

}  // namespace ferrylm::vulkan
