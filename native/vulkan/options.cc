#include "options.h"

#include "errors.h"

namespace ferrylm::vulkan {

Options& Options::get() {
  static Options* const options = new Options();
  return *options;
}

void Options::set(const std::string& name, uint64_t value) {
  const struct {
    const char* name;
    std::atomic<uint64_t>* option;
  } kOptions[] = {
      {"timeout_ms", &timeout_ms},
      {"submission_budget_us", &submission_budget_us},
      {"first_submission_dispatches", &first_submission_dispatches},
      {"largest_submission_dispatches", &largest_submission_dispatches},
      {"pipeline_threads", &pipeline_threads},
      {"pipeline_cache", &pipeline_cache},
  };
  std::string known;
  for (const auto& entry : kOptions) {
    if (name == entry.name) {
      entry.option->store(value);
      return;
    }
    known += known.empty() ? entry.name : std::string(", ") + entry.name;
  }
  fail(Failure::kUsage, "there is no option " + name + "; there are " + known);
}

}  // namespace ferrylm::vulkan
