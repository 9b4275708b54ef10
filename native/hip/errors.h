// Errors: one sentence after a tag in brackets, which Python maps to a typed exception.
#ifndef FERRYLM_HIP_ERRORS_H_
#define FERRYLM_HIP_ERRORS_H_

#include <string>

#include "hip_api.h"

namespace ferrylm::hip {

enum class Failure {
  kNoDriver,
  kOldDriver,
  kNoDevice,
  kNoCode,
  kOutOfMemory,
  kLaunch,
  kTimeout,
  kRecording,
  kModule,
  kUsage,
  kDriver,
};

// Throws tvm::ffi::Error with the message "[hip:TAG] SENTENCE".
[[noreturn]] void fail(Failure failure, const std::string& sentence);

// The Failure that stands for an error code of HIP.
Failure failure_of(Error error);

// HIP's name of an error and its number.
std::string name_of(Error error);

// Throws unless `error` is a success; `call` names the HIP function. Clears HIP's own note of the
// error, which later calls would report once more.
void check(Error error, const char* call);

// "1.50 GiB", for messages.
std::string human_bytes(uint64_t bytes);

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_ERRORS_H_
