// What HIP says of each device.
#ifndef FERRYLM_HIP_DEVICE_FACTS_H_
#define FERRYLM_HIP_DEVICE_FACTS_H_

#include <cstdint>
#include <string>

namespace ferrylm::hip {

struct DeviceFacts {
  std::string name;
  std::string arch;  // "gfx90a:sramecc+:xnack-"
  std::string chip;  // "gfx90a"
  std::string uuid;
  uint64_t memory_bytes = 0;
  uint64_t shared_bytes = 0;
  int registers_per_block = 0;
  int wave = 0;
  int max_threads = 0;
  int max_block[3] = {0, 0, 0};
  int clock_kilohertz = 0;
  int major = 0;
  int minor = 0;
  int compute_units = 0;
  int l2_bytes = 0;
  bool integrated = false;
};

// How many devices there are; 0 without a driver. Never throws.
int device_count();

// The facts of one device; throws [hip:no-device] for an index that is none.
const DeviceFacts& device_facts(int index);

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_DEVICE_FACTS_H_
