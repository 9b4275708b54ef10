// The bodies of compile/cuda/operations_device.py. Workgroups run one after another here.
#pragma once

#include "builtins.h"

inline void ferrylm_device_release() {}
inline void ferrylm_device_acquire() {}
inline int ferrylm_device_count(void* where, int value) {
  return atomicAdd(static_cast<int*>(where), value);
}
