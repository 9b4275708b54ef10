// Shows the real device with the memory of another one, chosen by FERRY_STAND_IN.
#ifndef FERRYLM_TESTS_VULKAN_PERSONALITY_H_
#define FERRYLM_TESTS_VULKAN_PERSONALITY_H_

#include "faults.h"

namespace personality {

// "discrete": 128 MiB of device memory that the host does not see, and host memory.
// "apu": two heaps of 48 and 96 MiB, as a Steam Deck has them, mapped, with budgets.
// Anything else: the real device's.
PFN_vkVoidFunction wrap(const char* name, PFN_vkVoidFunction real);

}  // namespace personality

#endif  // FERRYLM_TESTS_VULKAN_PERSONALITY_H_
