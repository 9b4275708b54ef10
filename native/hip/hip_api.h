// The part of HIP's C interface that is used here, declared anew: no HIP header is needed to build.
//
// Values and layouts are those of ROCm 6 and 7 (hip_runtime_api.h); they are part of the ABI of
// libamdhip64. Device properties are read at their offsets in hipDeviceProp_tR0600.
#ifndef FERRYLM_HIP_HIP_API_H_
#define FERRYLM_HIP_HIP_API_H_

#include <cstddef>
#include <cstdint>

namespace ferrylm::hip {

using Error = int;
using Stream = void*;
using Event = void*;
using Module = void*;
using Function = void*;
using Graph = void*;
using GraphExec = void*;

constexpr Error kSuccess = 0;
constexpr Error kErrorInvalidValue = 1;
constexpr Error kErrorOutOfMemory = 2;
constexpr Error kErrorNotInitialized = 3;
constexpr Error kErrorInvalidConfiguration = 9;
constexpr Error kErrorInsufficientDriver = 35;
constexpr Error kErrorInvalidDeviceFunction = 98;
constexpr Error kErrorNoDevice = 100;
constexpr Error kErrorInvalidDevice = 101;
constexpr Error kErrorInvalidImage = 200;
constexpr Error kErrorNoBinaryForGpu = 209;
constexpr Error kErrorInvalidKernelFile = 218;
constexpr Error kErrorSharedObjectInitFailed = 303;
constexpr Error kErrorNotFound = 500;
constexpr Error kErrorNotReady = 600;
constexpr Error kErrorIllegalAddress = 700;
constexpr Error kErrorLaunchOutOfResources = 701;
constexpr Error kErrorLaunchTimeOut = 702;
constexpr Error kErrorLaunchFailure = 719;
constexpr Error kErrorStreamCaptureFirst = 900;
constexpr Error kErrorStreamCaptureLast = 908;

constexpr int kHostToDevice = 1;
constexpr int kDeviceToHost = 2;
constexpr int kDeviceToDevice = 3;
constexpr unsigned kStreamNonBlocking = 1;
constexpr unsigned kEventDefault = 0;
constexpr unsigned kEventDisableTiming = 2;
constexpr int kCaptureRelaxed = 2;
constexpr unsigned kHostMallocDefault = 0;

// Keys of the `extra` list of a launch.
inline void* launch_buffer_pointer() { return reinterpret_cast<void*>(1); }
inline void* launch_buffer_size() { return reinterpret_cast<void*>(2); }
inline void* launch_end() { return reinterpret_cast<void*>(3); }

// hipDeviceProp_tR0600: 1472 bytes; later versions may only grow at its end.
constexpr size_t kPropertiesBytes = 4096;
constexpr size_t kPropertyName = 0;
constexpr size_t kPropertyUuid = 256;
constexpr size_t kPropertyTotalGlobalMemory = 288;
constexpr size_t kPropertySharedMemoryPerBlock = 296;
constexpr size_t kPropertyRegistersPerBlock = 304;
constexpr size_t kPropertyWarpSize = 308;
constexpr size_t kPropertyMaxThreadsPerBlock = 320;
constexpr size_t kPropertyMaxThreadsDim = 324;
constexpr size_t kPropertyClockRateKilohertz = 348;
constexpr size_t kPropertyMajor = 360;
constexpr size_t kPropertyMinor = 364;
constexpr size_t kPropertyMultiProcessorCount = 388;
constexpr size_t kPropertyIntegrated = 396;
constexpr size_t kPropertyL2CacheBytes = 616;
constexpr size_t kPropertyGcnArchName = 1160;
constexpr size_t kPropertyArchNameBytes = 256;

// X(member, symbol, parameters)
#define FERRYLM_HIP_FUNCTIONS(X)                                                                   \
  X(GetDeviceCount, hipGetDeviceCount, (int* count))                                               \
  X(SetDevice, hipSetDevice, (int index))                                                          \
  X(GetDeviceProperties, hipGetDevicePropertiesR0600, (void* properties, int index))               \
  X(RuntimeGetVersion, hipRuntimeGetVersion, (int* version))                                       \
  X(DriverGetVersion, hipDriverGetVersion, (int* version))                                         \
  X(GetLastError, hipGetLastError, ())                                                             \
  X(MemGetInfo, hipMemGetInfo, (size_t * free_bytes, size_t * total_bytes))                        \
  X(Malloc, hipMalloc, (void** memory, size_t bytes))                                              \
  X(Free, hipFree, (void* memory))                                                                 \
  X(HostMalloc, hipHostMalloc, (void** memory, size_t bytes, unsigned flags))                      \
  X(HostFree, hipHostFree, (void* memory))                                                         \
  X(MemcpyAsync, hipMemcpyAsync,                                                                   \
    (void* to, const void* from, size_t bytes, int kind, Stream stream))                           \
  X(MemcpyPeerAsync, hipMemcpyPeerAsync,                                                           \
    (void* to, int to_index, const void* from, int from_index, size_t bytes, Stream stream))       \
  X(DeviceSynchronize, hipDeviceSynchronize, ())                                                   \
  X(StreamCreateWithFlags, hipStreamCreateWithFlags, (Stream * stream, unsigned flags))            \
  X(StreamDestroy, hipStreamDestroy, (Stream stream))                                              \
  X(StreamSynchronize, hipStreamSynchronize, (Stream stream))                                      \
  X(StreamWaitEvent, hipStreamWaitEvent, (Stream stream, Event event, unsigned flags))             \
  X(StreamBeginCapture, hipStreamBeginCapture, (Stream stream, int mode))                          \
  X(StreamEndCapture, hipStreamEndCapture, (Stream stream, Graph * graph))                         \
  X(EventCreateWithFlags, hipEventCreateWithFlags, (Event * event, unsigned flags))                \
  X(EventDestroy, hipEventDestroy, (Event event))                                                  \
  X(EventRecord, hipEventRecord, (Event event, Stream stream))                                     \
  X(EventSynchronize, hipEventSynchronize, (Event event))                                          \
  X(EventQuery, hipEventQuery, (Event event))                                                      \
  X(EventElapsedTime, hipEventElapsedTime, (float* milliseconds, Event start, Event stop))         \
  X(ModuleLoadData, hipModuleLoadData, (Module * module, const void* image))                       \
  X(ModuleUnload, hipModuleUnload, (Module module))                                                \
  X(ModuleGetFunction, hipModuleGetFunction,                                                       \
    (Function * function, Module module, const char* name))                                        \
  X(ModuleLaunchKernel, hipModuleLaunchKernel,                                                     \
    (Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,       \
     unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream,                     \
     void** parameters, void** extra))                                                             \
  X(GraphInstantiate, hipGraphInstantiate,                                                         \
    (GraphExec * exec, Graph graph, void** error_node, char* log, size_t log_bytes))               \
  X(GraphLaunch, hipGraphLaunch, (GraphExec exec, Stream stream))                                  \
  X(GraphExecDestroy, hipGraphExecDestroy, (GraphExec exec))                                       \
  X(GraphDestroy, hipGraphDestroy, (Graph graph))

struct Functions {
#define FERRYLM_HIP_MEMBER(member, symbol, parameters) Error(*member) parameters = nullptr;
  FERRYLM_HIP_FUNCTIONS(FERRYLM_HIP_MEMBER)
#undef FERRYLM_HIP_MEMBER
  const char* (*GetErrorName)(Error error) = nullptr;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_HIP_API_H_
