#include "pipeline_set.h"

#include <algorithm>
#include <set>

#include "errors.h"
#include "options.h"
#include "pipeline.h"
#include "pipeline_cache.h"

namespace ferrylm::vulkan {

namespace {

// Sets that live, so that their threads can be ended before the process is.
struct LiveSets {
  std::mutex mutex;
  std::set<PipelineSet*> sets;
};

LiveSets& live_sets() {
  static LiveSets* const live = new LiveSets();
  return *live;
}

size_t thread_count(size_t kernels) {
  size_t wanted = Options::get().pipeline_threads;
  if (wanted == 0) wanted = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  return std::min(wanted, kernels);
}

}  // namespace

PipelineSet::PipelineSet(std::shared_ptr<Device> device, std::shared_ptr<const Container> container)
    : device_(std::move(device)),
      container_(std::move(container)),
      entries_(container_->kernels.size()),
      costs_(container_->kernels.size()) {
  cache_path_ = pipeline_cache_path(device_->info(), container_->hash);
  load_cache();
  LiveSets& live = live_sets();
  const std::lock_guard<std::mutex> lock(live.mutex);
  live.sets.insert(this);
}

PipelineSet::~PipelineSet() {
  {
    LiveSets& live = live_sets();
    const std::lock_guard<std::mutex> lock(live.mutex);
    live.sets.erase(this);
  }
  stop();
  save_cache();
  std::unique_lock<std::mutex> lock(device_->mutex());
  try {
    if (!device_->is_lost()) device_->stream().wait_idle(&lock);
  } catch (const std::exception&) {
    // Lost or out of memory: what was submitted is waited for below.
  }
  if (device_->stream().has_pending()) device_->functions().vkDeviceWaitIdle(device_->handle());
  device_->stream().timer().forget(costs_.data(), costs_.data() + costs_.size());
  for (Entry& entry : entries_) {
    device_->functions().vkDestroyPipeline(device_->handle(), entry.pipeline, nullptr);
  }
  device_->functions().vkDestroyPipelineCache(device_->handle(), cache_, nullptr);
}

void PipelineSet::load_cache() {
  std::vector<uint8_t> data;
  if (!cache_path_.empty()) data = read_pipeline_cache(cache_path_);
  if (!data.empty()) saved_ = entries_.size();
  VkPipelineCacheCreateInfo create = {VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  create.initialDataSize = data.size();
  create.pInitialData = data.data();
  VkResult result =
      device_->functions().vkCreatePipelineCache(device_->handle(), &create, nullptr, &cache_);
  if (result != VK_SUCCESS && !data.empty()) {
    create.initialDataSize = 0;
    saved_ = 0;
    result =
        device_->functions().vkCreatePipelineCache(device_->handle(), &create, nullptr, &cache_);
  }
  device_->check(result, "vkCreatePipelineCache");
}

void PipelineSet::save_cache() {
  if (cache_path_.empty() || device_->is_lost()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_ <= saved_) return;
    saved_ = finished_;
  }
  size_t size = 0;
  const DeviceFunctions& functions = device_->functions();
  if (functions.vkGetPipelineCacheData(device_->handle(), cache_, &size, nullptr) != VK_SUCCESS) {
    return;
  }
  std::vector<uint8_t> data(size);
  if (functions.vkGetPipelineCacheData(device_->handle(), cache_, &size, data.data()) !=
      VK_SUCCESS) {
    return;
  }
  data.resize(size);
  write_pipeline_cache(cache_path_, data);
}

bool PipelineSet::claim(size_t kernel) {
  if (entries_[kernel].state != State::kWaiting) return false;
  entries_[kernel].state = State::kBuilding;
  return true;
}

// Builds a claimed kernel without the lock.
void PipelineSet::build(size_t kernel) {
  VkPipeline pipeline = VK_NULL_HANDLE;
  std::exception_ptr failure;
  try {
    pipeline = create_pipeline(*device_, *container_, container_->kernels[kernel], cache_);
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry& entry = entries_[kernel];
  entry.pipeline.store(pipeline, std::memory_order_release);
  entry.failure = failure;
  entry.state = failure ? State::kFailed : State::kReady;
  ++finished_;
  changed_.notify_all();
}

VkPipeline PipelineSet::make_now(size_t kernel) {
  start_workers();
  std::unique_lock<std::mutex> lock(mutex_);
  Entry& entry = entries_[kernel];
  // What failed once is tried again: memory may be free by now.
  if (entry.state == State::kFailed) {
    entry.state = State::kWaiting;
    --finished_;
  }
  if (claim(kernel)) {
    lock.unlock();
    build(kernel);
    lock.lock();
  }
  changed_.wait(lock,
                [&] { return entry.state == State::kReady || entry.state == State::kFailed; });
  if (entry.failure) std::rethrow_exception(entry.failure);
  return entry.pipeline;
}

void PipelineSet::start_workers() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (started_ || stopped_ || entries_.size() < 2) return;
  started_ = true;
  const size_t count = thread_count(entries_.size());
  for (size_t i = 0; i < count; ++i) workers_.emplace_back([this] { work(); });
}

void PipelineSet::work() {
  while (true) {
    size_t kernel = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopped_) break;
      while (next_ < entries_.size() && !claim(next_)) ++next_;
      if (next_ == entries_.size()) break;
      kernel = next_++;
    }
    build(kernel);
  }
  bool is_last = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_last = finished_ == entries_.size();
  }
  if (is_last) save_cache();
}

void PipelineSet::prepare(const Progress& progress) {
  start_workers();
  for (size_t kernel = 0; kernel < entries_.size(); ++kernel) {
    require(kernel);
    progress(kernel + 1, entries_.size());
  }
  save_cache();
}

void PipelineSet::stop() {
  std::vector<std::thread> workers;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    workers.swap(workers_);
  }
  for (std::thread& worker : workers) worker.join();
}

void PipelineSet::stop_all() {
  LiveSets& live = live_sets();
  const std::lock_guard<std::mutex> lock(live.mutex);
  for (PipelineSet* set : live.sets) {
    set->stop();
    set->save_cache();
  }
}

}  // namespace ferrylm::vulkan
