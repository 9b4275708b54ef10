// Runs one kernel of a module: arguments, checks, accesses, dispatch.
#ifndef FERRYLM_VULKAN_LAUNCH_H_
#define FERRYLM_VULKAN_LAUNCH_H_

#include <tvm/ffi/function.h>

#include <memory>

#include "pipeline_set.h"

namespace ferrylm::vulkan {

// Launches the kernel with the host's arguments, which are followed by one extent for each launch
// tag. Throws before anything is recorded when they do not fit.
void launch(const std::shared_ptr<PipelineSet>& pipelines, size_t kernel,
            tvm::ffi::PackedArgs arguments);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_LAUNCH_H_
