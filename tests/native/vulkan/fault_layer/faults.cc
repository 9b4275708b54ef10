#include "faults.h"

#include <map>
#include <mutex>
#include <string>

namespace faults {

namespace {

struct Fault {
  VkResult result;
  long skip;   // calls that are still to succeed
  long times;  // calls that are still to fail; negative for all
};

std::mutex mutex;
std::map<std::string, Fault> planned;
std::map<std::string, long> living;
std::map<std::string, long> made;

}  // namespace

VkResult before(const char* call) {
  const std::lock_guard<std::mutex> lock(mutex);
  ++made[call];
  const auto fault = planned.find(call);
  if (fault == planned.end()) return VK_SUCCESS;
  if (fault->second.skip > 0) {
    --fault->second.skip;
    return VK_SUCCESS;
  }
  if (fault->second.times == 0) return VK_SUCCESS;
  if (fault->second.times > 0) --fault->second.times;
  return fault->second.result;
}

void count(const char* kind, int change) {
  const std::lock_guard<std::mutex> lock(mutex);
  living[kind] += change;
}

extern "C" {

__attribute__((visibility("default"))) void ferry_fault(const char* call, int result, long skip,
                                                        long times) {
  const std::lock_guard<std::mutex> lock(mutex);
  planned[call] = {static_cast<VkResult>(result), skip, times};
}

__attribute__((visibility("default"))) void ferry_no_faults() {
  const std::lock_guard<std::mutex> lock(mutex);
  planned.clear();
}

__attribute__((visibility("default"))) long ferry_living(const char* kind) {
  const std::lock_guard<std::mutex> lock(mutex);
  return living[kind];
}

__attribute__((visibility("default"))) long ferry_calls(const char* call) {
  const std::lock_guard<std::mutex> lock(mutex);
  return made[call];
}

}  // extern "C"

}  // namespace faults
