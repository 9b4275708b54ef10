// The device that kernels of this thread run on, as TVM's host code sets it.
#ifndef FERRYLM_HIP_CURRENT_DEVICE_H_
#define FERRYLM_HIP_CURRENT_DEVICE_H_

namespace ferrylm::hip {

void set_current_device(int index);
int get_current_device();

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_CURRENT_DEVICE_H_
