// The pipelines of one module on one device, made in parallel and kept on disk.
#ifndef FERRYLM_VULKAN_PIPELINE_SET_H_
#define FERRYLM_VULKAN_PIPELINE_SET_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "container.h"
#include "device.h"

namespace ferrylm::vulkan {

class PipelineSet {
 public:
  using Progress = std::function<void(size_t done, size_t total)>;

  PipelineSet(std::shared_ptr<Device> device, std::shared_ptr<const Container> container);
  // Waits for the device, which may still run these pipelines.
  ~PipelineSet();
  PipelineSet(const PipelineSet&) = delete;
  PipelineSet& operator=(const PipelineSet&) = delete;

  Device& device() const { return *device_; }
  const Container& container() const { return *container_; }

  // The kernel's pipeline, made now if it is not there yet; the others are begun in the background.
  // Throws kFeature when the device lacks what the kernel requires.
  VkPipeline require(size_t kernel) {
    const VkPipeline ready = entries_[kernel].pipeline.load(std::memory_order_acquire);
    return ready != VK_NULL_HANDLE ? ready : make_now(kernel);
  }
  KernelCost* cost(size_t kernel) { return &costs_[kernel]; }

  // Makes all pipelines and returns when they are there. Throws the first failure.
  void prepare(const Progress& progress);

  // Ends the background work of all sets, before the process ends.
  static void stop_all();

 private:
  enum class State { kWaiting, kBuilding, kReady, kFailed };
  struct Entry {
    std::atomic<VkPipeline> pipeline{VK_NULL_HANDLE};
    State state = State::kWaiting;
    std::exception_ptr failure;
  };

  VkPipeline make_now(size_t kernel);
  void start_workers();
  void work();
  void stop();
  bool claim(size_t kernel);
  void build(size_t kernel);
  void load_cache();
  void save_cache();

  std::shared_ptr<Device> device_;
  std::shared_ptr<const Container> container_;
  std::vector<Entry> entries_;
  std::vector<KernelCost> costs_;
  std::string cache_path_;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::mutex mutex_;  // guards what follows, and the entries' states
  std::condition_variable changed_;
  std::vector<std::thread> workers_;
  size_t next_ = 0;
  size_t finished_ = 0;
  size_t saved_ = 0;  // how many pipelines the file knows
  bool started_ = false;
  bool stopped_ = false;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_PIPELINE_SET_H_
