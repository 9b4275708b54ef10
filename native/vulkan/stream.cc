#include "stream.h"

#include <algorithm>

#include "device.h"
#include "errors.h"
#include "grid_slices.h"
#include "options.h"

namespace ferrylm::vulkan {

namespace {

constexpr VkPipelineStageFlags kStages =
    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
constexpr VkAccessFlags kReads = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT;

// A kernel of unknown speed with more groups than this is tried on a few groups first.
constexpr uint64_t kTrustedGroups = 4096;
constexpr uint64_t kTrialGroups = 256;

// Submissions that the device has not finished.
constexpr uint64_t kLargestBacklog = 128;

}  // namespace

Stream::Stream(Device& device)
    : device_(device),
      pool_(device.functions(), device.handle(), device.info().queue_family),
      timeline_(device.functions(), device.handle()),
      timer_(device.functions(), device.handle(), device.info().timestamp_bits,
             device.info().limits.timestampPeriod) {}

Stream::~Stream() = default;

VkCommandBuffer Stream::open() {
  if (open_ != VK_NULL_HANDLE) return open_;
  VkCommandBuffer commands = pool_.take();
  VkCommandBufferBeginInfo begin = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = recording_ ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT
                           : VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  const VkResult result = device_.functions().vkBeginCommandBuffer(commands, &begin);
  if (result != VK_SUCCESS) {
    pool_.give(commands, 0);
    device_.check(result, "vkBeginCommandBuffer");
  }
  open_ = commands;
  bound_ = VK_NULL_HANDLE;
  open_dispatches_ = 0;
  open_nanoseconds_ = 0;
  return open_;
}

void Stream::barrier(Barrier kind) {
  VkMemoryBarrier memory = {VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  memory.srcAccessMask = kWrites;
  memory.dstAccessMask = kReads | kWrites;
  const bool is_memory = kind == Barrier::kMemory;
  device_.functions().vkCmdPipelineBarrier(open(), kStages, kStages, 0, is_memory ? 1 : 0, &memory,
                                           0, nullptr, 0, nullptr);
  hazards_.passed(kind);
  ++(is_memory ? counters_.memory_barriers : counters_.execution_barriers);
}

// Makes all results visible to the host (and to everything later on the device).
void Stream::host_barrier() {
  VkMemoryBarrier memory = {VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  memory.srcAccessMask = kWrites;
  memory.dstAccessMask = kReads | kWrites | VK_ACCESS_HOST_READ_BIT;
  device_.functions().vkCmdPipelineBarrier(open(), kStages, kStages | VK_PIPELINE_STAGE_HOST_BIT, 0,
                                           1, &memory, 0, nullptr, 0, nullptr);
  hazards_.passed(Barrier::kMemory);
  host_sees_all_ = true;
}

// Puts in the barrier that the accesses need and notes them.
VkCommandBuffer Stream::prepare(const Touch* touches, size_t count) {
  Barrier needed = Barrier::kNone;
  for (size_t i = 0; i < count; ++i) {
    needed =
        std::max(needed, hazards_.needed_before(touches[i].allocation->usage, touches[i].access));
  }
  const VkCommandBuffer commands = open();
  if (needed != Barrier::kNone) barrier(needed);
  for (size_t i = 0; i < count; ++i) {
    hazards_.note(&touches[i].allocation->usage, touches[i].access, open_serial());
    if (recording_) recording_->hold(touches[i].allocation);
  }
  host_sees_all_ = false;
  return commands;
}

void Stream::dispatch(const Dispatch& dispatch) {
  KernelCost& cost = *dispatch.cost;
  const uint64_t groups =
      static_cast<uint64_t>(dispatch.groups[0]) * dispatch.groups[1] * dispatch.groups[2];
  const double estimate = cost.nanoseconds_per_group * static_cast<double>(groups);
  const double budget = Options::get().budget_nanoseconds();
  if (open_ != VK_NULL_HANDLE && open_nanoseconds_ + estimate > budget) submit();
  ++counters_.dispatches;
  ++cost.launches;
  const bool needs_trial = cost.nanoseconds_per_group == 0 && groups > kTrustedGroups &&
                           timer_.is_available() && !recording_;
  if (estimate > budget || needs_trial) return run_split(dispatch);

  const VkCommandBuffer commands = prepare(dispatch.touches, dispatch.touch_count);
  const GridSlice whole = {{0, 0, 0}, {dispatch.groups[0], dispatch.groups[1], dispatch.groups[2]}};
  run(dispatch, commands, whole, !recording_ && timer_.wants(cost));
  submit_when_full(estimate);
}

void Stream::run(const Dispatch& dispatch, VkCommandBuffer commands, const GridSlice& slice,
                 bool timed) {
  const DeviceFunctions& functions = device_.functions();
  if (timed) timer_.begin(commands);
  if (bound_ != dispatch.pipeline) {
    functions.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, dispatch.pipeline);
    bound_ = dispatch.pipeline;
  }
  if (dispatch.argument_bytes > 0) {
    functions.vkCmdPushConstants(commands, device_.logical().pipeline_layout(),
                                 VK_SHADER_STAGE_COMPUTE_BIT, 0, dispatch.argument_bytes,
                                 dispatch.arguments);
  }
  functions.vkCmdDispatchBase(commands, slice.base[0], slice.base[1], slice.base[2], slice.count[0],
                              slice.count[1], slice.count[2]);
  if (timed) timer_.end(commands, open_serial(), dispatch.cost, dispatch.name, slice.count);
}

// Runs a kernel that is too long for one submission in slices. A kernel of unknown speed is
// measured on its first slice. Slices need no barrier between them: they are parts of one kernel.
// The lock is held all the time, so that no other work comes between them.
void Stream::run_split(const Dispatch& dispatch) {
  ++counters_.split_dispatches;
  const double budget = Options::get().budget_nanoseconds();
  const KernelCost& cost = *dispatch.cost;
  bool on_trial = cost.nanoseconds_per_group == 0;
  const uint64_t largest =
      on_trial ? kTrialGroups
               : static_cast<uint64_t>(std::clamp(budget / cost.nanoseconds_per_group, 1.0, 4e9));
  prepare(dispatch.touches, dispatch.touch_count);
  for (const GridSlice& slice : slice_grid(dispatch.groups, largest)) {
    const double estimate = cost.nanoseconds_per_group * static_cast<double>(slice.groups());
    if (open_nanoseconds_ + estimate > budget) submit();
    run(dispatch, open(), slice, !recording_);
    open_nanoseconds_ += estimate;
    if (!on_trial) continue;
    submit();
    device_.check(timeline_.wait(submitted_, Options::get().timeout_ms), "vkWaitSemaphores");
    completed();
    on_trial = false;
  }
  // The last slice may be in a later submission than `prepare` knew.
  for (size_t i = 0; i < dispatch.touch_count; ++i) {
    dispatch.touches[i].allocation->usage.serial = open_serial();
  }
  submit();
}

void Stream::submit_when_full(double nanoseconds) {
  ++open_dispatches_;
  open_nanoseconds_ += nanoseconds;
  const Options& options = Options::get();
  if (recording_) return;  // `dispatch` keeps segments within the budget
  threshold_ = std::max(threshold_, options.first_submission_dispatches.load());
  if (open_dispatches_ < threshold_) return;
  submit();
  threshold_ = std::min(threshold_ * 2, options.largest_submission_dispatches.load());
  limit_backlog();
}

// Keeps a host that is faster than the device from piling up command buffers without end.
void Stream::limit_backlog() {
  if (submitted_ - completed_ < kLargestBacklog || submitted_ - completed() < kLargestBacklog)
    return;
  device_.check(timeline_.wait(submitted_ - kLargestBacklog / 2, Options::get().timeout_ms),
                "vkWaitSemaphores");
}

void Stream::copy(const Touch& from, uint64_t from_offset, const Touch& to, uint64_t to_offset,
                  uint64_t size_bytes) {
  const Touch touches[] = {from, to};
  const VkCommandBuffer commands = prepare(touches, 2);
  VkBufferCopy region;
  region.srcOffset = from.allocation->offset + from_offset;
  region.dstOffset = to.allocation->offset + to_offset;
  region.size = size_bytes;
  device_.functions().vkCmdCopyBuffer(commands, from.allocation->block->buffer(),
                                      to.allocation->block->buffer(), 1, &region);
}

void Stream::update(const Touch& to, uint64_t to_offset, const void* data, uint64_t size_bytes) {
  const VkCommandBuffer commands = prepare(&to, 1);
  device_.functions().vkCmdUpdateBuffer(commands, to.allocation->block->buffer(),
                                        to.allocation->offset + to_offset, size_bytes, data);
}

// Ends the open command buffer.
void Stream::close() {
  if (open_ == VK_NULL_HANDLE) return;
  const VkCommandBuffer commands = open_;
  open_ = VK_NULL_HANDLE;
  const VkResult result = device_.functions().vkEndCommandBuffer(commands);
  if (result != VK_SUCCESS) {
    pool_.discard(commands);
    device_.check(result, "vkEndCommandBuffer");
  }
  closed_.push_back({commands, recording_ != nullptr});
  if (recording_) recording_->add_segment({commands, open_nanoseconds_});
}

// Submits what is closed. After a failure it stays, and the next call tries again.
void Stream::send() {
  std::vector<VkCommandBuffer> commands;
  for (const Closed& closed : closed_) commands.push_back(closed.commands);
  const uint64_t serial = open_serial();
  VkTimelineSemaphoreSubmitInfo values = {VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
  values.signalSemaphoreValueCount = 1;
  values.pSignalSemaphoreValues = &serial;
  VkSubmitInfo submit = {VK_STRUCTURE_TYPE_SUBMIT_INFO, &values};
  submit.commandBufferCount = static_cast<uint32_t>(commands.size());
  submit.pCommandBuffers = commands.data();
  submit.signalSemaphoreCount = 1;
  const VkSemaphore semaphore = timeline_.semaphore();
  submit.pSignalSemaphores = &semaphore;
  device_.check(device_.functions().vkQueueSubmit(device_.queue(), 1, &submit, VK_NULL_HANDLE),
                "vkQueueSubmit");
  submitted_ = serial;
  ++counters_.submissions;
  for (const Closed& closed : closed_) {
    if (!closed.recorded) pool_.give(closed.commands, serial);
  }
  if (recording_) recording_->submitted(serial);
  closed_.clear();
}

void Stream::submit() {
  close();
  if (!closed_.empty()) send();
}

uint64_t Stream::completed() {
  uint64_t serial = completed_;
  device_.check(timeline_.read(&serial), "vkGetSemaphoreCounterValue");
  if (serial == completed_) return completed_;
  completed_ = serial;
  pool_.collect(completed_);
  timer_.collect(completed_);
  return completed_;
}

void Stream::wait(uint64_t serial, std::unique_lock<std::mutex>* lock) {
  if (serial > submitted_) submit();
  if (serial <= completed_ || serial <= completed()) return;
  lock->unlock();
  const VkResult result = timeline_.wait(serial, Options::get().timeout_ms);
  lock->lock();
  if (result == VK_TIMEOUT) {
    fail(Failure::kTimeout, "nothing finished on " + device_.info().name + " within " +
                                std::to_string(Options::get().timeout_ms) + " ms");
  }
  device_.check(result, "vkWaitSemaphores");
  completed();
  if (completed_ == submitted_) threshold_ = 0;  // the device is idle: start it early again
}

uint64_t Stream::publish() {
  if (!host_sees_all_) host_barrier();
  submit();
  return submitted_;
}

void Stream::wait_idle(std::unique_lock<std::mutex>* lock) { wait(publish(), lock); }

}  // namespace ferrylm::vulkan
