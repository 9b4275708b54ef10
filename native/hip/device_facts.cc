#include "device_facts.h"

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

namespace {

template <typename Value>
Value read(const std::vector<char>& properties, size_t offset) {
  Value value;
  std::memcpy(&value, properties.data() + offset, sizeof(value));
  return value;
}

std::string text(const std::vector<char>& properties, size_t offset) {
  const char* start = properties.data() + offset;
  return std::string(start, strnlen(start, kPropertyArchNameBytes));
}

std::string hexadecimal(const std::vector<char>& properties, size_t offset, size_t bytes) {
  std::string result;
  for (size_t index = 0; index < bytes; ++index) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x",
                  static_cast<unsigned char>(properties[offset + index]));
    result += digits;
  }
  return result;
}

DeviceFacts read_facts(int index) {
  std::vector<char> properties(kPropertiesBytes, 0);
  check(hip().GetDeviceProperties(properties.data(), index), "hipGetDeviceProperties");
  DeviceFacts facts;
  facts.name = text(properties, kPropertyName);
  facts.arch = text(properties, kPropertyGcnArchName);
  facts.chip = facts.arch.substr(0, facts.arch.find(':'));
  facts.uuid = hexadecimal(properties, kPropertyUuid, 16);
  facts.memory_bytes = read<uint64_t>(properties, kPropertyTotalGlobalMemory);
  facts.shared_bytes = read<uint64_t>(properties, kPropertySharedMemoryPerBlock);
  facts.registers_per_block = read<int>(properties, kPropertyRegistersPerBlock);
  facts.wave = read<int>(properties, kPropertyWarpSize);
  facts.max_threads = read<int>(properties, kPropertyMaxThreadsPerBlock);
  for (size_t axis = 0; axis < 3; ++axis) {
    facts.max_block[axis] = read<int>(properties, kPropertyMaxThreadsDim + 4 * axis);
  }
  facts.clock_kilohertz = read<int>(properties, kPropertyClockRateKilohertz);
  facts.major = read<int>(properties, kPropertyMajor);
  facts.minor = read<int>(properties, kPropertyMinor);
  facts.compute_units = read<int>(properties, kPropertyMultiProcessorCount);
  facts.l2_bytes = read<int>(properties, kPropertyL2CacheBytes);
  facts.integrated = read<int>(properties, kPropertyIntegrated) != 0;
  return facts;
}

}  // namespace

int device_count() {
  const Functions* functions = loaded();
  if (functions == nullptr) return 0;
  int count = 0;
  if (functions->GetDeviceCount(&count) != kSuccess) {
    functions->GetLastError();
    return 0;
  }
  return count;
}

const DeviceFacts& device_facts(int index) {
  static std::mutex* const kMutex = new std::mutex;
  static auto* const kFacts = new std::map<int, DeviceFacts>;
  hip();
  const int count = device_count();
  if (index < 0 || index >= count) {
    fail(Failure::kNoDevice, "there is no AMD GPU number " + std::to_string(index) + " among " +
                                 std::to_string(count) +
                                 "; wanted a device that rocminfo lists; check the driver and the "
                                 "permissions of /dev/kfd");
  }
  const std::lock_guard<std::mutex> lock(*kMutex);
  const auto found = kFacts->find(index);
  if (found != kFacts->end()) return found->second;
  return kFacts->emplace(index, read_facts(index)).first->second;
}

}  // namespace ferrylm::hip
