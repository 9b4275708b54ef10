// Memory that the device writes and the host reads while the device goes on.
//
// The host asks for a serial after work was handed in (`mark`), and may read what that work wrote
// once the serial is complete.
#ifndef FERRYLM_VULKAN_OUTBOX_H_
#define FERRYLM_VULKAN_OUTBOX_H_

#include <tvm/ffi/container/tensor.h>

#include <cstdint>

namespace ferrylm::vulkan {

// An int32 tensor of the device in memory that the host sees.
tvm::ffi::Tensor outbox(int device, int64_t count);
// Where the host sees it, as long as the tensor lives and the device is not lost.
int64_t outbox_address(const tvm::ffi::Tensor& tensor);

// Hands in all work so far, its results visible to the host when the returned serial is complete.
int64_t mark(int device);
bool is_complete(int device, int64_t serial);
void wait(int device, int64_t serial);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_OUTBOX_H_
