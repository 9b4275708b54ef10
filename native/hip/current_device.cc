#include "current_device.h"

namespace ferrylm::hip {

namespace {
thread_local int current_device = 0;
}

void set_current_device(int index) { current_device = index; }

int get_current_device() { return current_device; }

}  // namespace ferrylm::hip
