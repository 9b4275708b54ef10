// Settings of the process, from the environment at first and from set_option later.
#ifndef FERRYLM_VULKAN_OPTIONS_H_
#define FERRYLM_VULKAN_OPTIONS_H_

#include <atomic>
#include <cstdint>
#include <string>

namespace ferrylm::vulkan {

struct Options {
  // A wait fails after this long without any submission finishing.
  std::atomic<uint64_t> timeout_ms{120000};
  // No submission is planned to run longer; drivers reset a GPU after 2 s or more.
  std::atomic<uint64_t> submission_budget_us{500000};
  // The first submission after an idle time holds this many dispatches; each next one twice as
  // many.
  std::atomic<uint64_t> first_submission_dispatches{4};
  std::atomic<uint64_t> largest_submission_dispatches{128};
  // Threads that make pipelines; 0 chooses by the number of cores.
  std::atomic<uint64_t> pipeline_threads{0};
  // Keep compiled pipelines on disk.
  std::atomic<uint64_t> pipeline_cache{1};

  static Options& get();

  // The budget of a submission in nanoseconds.
  double budget_nanoseconds() const {
    return 1000.0 * static_cast<double>(submission_budget_us > 0 ? submission_budget_us.load() : 1);
  }

  // Throws kUsage for a name that does not exist.
  void set(const std::string& name, uint64_t value);
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_OPTIONS_H_
