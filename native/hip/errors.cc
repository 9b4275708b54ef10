#include "errors.h"

#include <tvm/ffi/error.h>

#include <cstdio>

#include "library.h"

namespace ferrylm::hip {

namespace {

const char* tag_of(Failure failure) {
  switch (failure) {
    case Failure::kNoDriver: return "no-driver";
    case Failure::kOldDriver: return "old-driver";
    case Failure::kNoDevice: return "no-device";
    case Failure::kNoCode: return "no-code";
    case Failure::kOutOfMemory: return "out-of-memory";
    case Failure::kLaunch: return "launch";
    case Failure::kTimeout: return "timeout";
    case Failure::kRecording: return "recording";
    case Failure::kModule: return "module";
    case Failure::kUsage: return "usage";
    case Failure::kDriver: return "driver";
  }
  return "driver";
}

}  // namespace

void fail(Failure failure, const std::string& sentence) {
  std::string text = std::string("[hip:") + tag_of(failure) + "] " + sentence;
  // Names out of damaged files are part of messages, which Python reads as UTF-8.
  for (char& letter : text) {
    if (letter < ' ' || letter > '~') letter = '?';
  }
  throw tvm::ffi::Error("RuntimeError", text, "");
}

Failure failure_of(Error error) {
  if (error >= kErrorStreamCaptureFirst && error <= kErrorStreamCaptureLast) {
    return Failure::kRecording;
  }
  switch (error) {
    case kErrorOutOfMemory: return Failure::kOutOfMemory;
    case kErrorInsufficientDriver: return Failure::kOldDriver;
    case kErrorNotInitialized:
    case kErrorNoDevice:
    case kErrorInvalidDevice: return Failure::kNoDevice;
    case kErrorInvalidImage:
    case kErrorNoBinaryForGpu:
    case kErrorInvalidKernelFile:
    case kErrorInvalidDeviceFunction:
    case kErrorSharedObjectInitFailed: return Failure::kNoCode;
    case kErrorInvalidConfiguration:
    case kErrorIllegalAddress:
    case kErrorLaunchOutOfResources:
    case kErrorLaunchFailure: return Failure::kLaunch;
    case kErrorLaunchTimeOut: return Failure::kTimeout;
    default: return Failure::kDriver;
  }
}

std::string name_of(Error error) {
  const Functions* functions = loaded();
  const char* name = functions == nullptr ? nullptr : functions->GetErrorName(error);
  return (name == nullptr ? std::string("HIP error") : std::string(name)) + " (" +
         std::to_string(error) + ")";
}

void check(Error error, const char* call) {
  if (error == kSuccess) return;
  if (const Functions* functions = loaded()) functions->GetLastError();
  fail(failure_of(error), std::string(call) + " answered " + name_of(error));
}

std::string human_bytes(uint64_t bytes) {
  static const char* const kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024.0 && unit < 4) {
    value /= 1024.0;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

}  // namespace ferrylm::hip
