#include "library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>

#include "errors.h"

namespace ferrylm::hip {

namespace {

std::mutex* added_mutex() {
  static std::mutex* const kMutex = new std::mutex;
  return kMutex;
}

std::vector<std::string>* added_paths() {
  static auto* const kPaths = new std::vector<std::string>;
  return kPaths;
}

// FERRY_HIP_LIBRARY names the library, and then no other is tried.
std::vector<std::string> candidates() {
  if (const char* chosen = std::getenv("FERRY_HIP_LIBRARY"); chosen != nullptr && *chosen) {
    return {chosen};
  }
  std::vector<std::string> names = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so"};
  if (const char* root = std::getenv("ROCM_PATH"); root != nullptr && *root) {
    names.insert(names.begin(), std::string(root) + "/lib/libamdhip64.so");
  }
  names.push_back("/opt/rocm/lib/libamdhip64.so");
  const std::lock_guard<std::mutex> lock(*added_mutex());
  names.insert(names.end(), added_paths()->begin(), added_paths()->end());
  return names;
}

// Returns the name of a missing function, empty when all are there.
std::string resolve(void* handle, Functions* functions) {
#define FERRYLM_HIP_RESOLVE(member, symbol, parameters)                            \
  functions->member = reinterpret_cast<Error(*) parameters>(dlsym(handle, #symbol)); \
  if (functions->member == nullptr) return #symbol;
  FERRYLM_HIP_FUNCTIONS(FERRYLM_HIP_RESOLVE)
#undef FERRYLM_HIP_RESOLVE
  functions->GetErrorName =
      reinterpret_cast<const char* (*)(Error)>(dlsym(handle, "hipGetErrorName"));
  return functions->GetErrorName == nullptr ? "hipGetErrorName" : "";
}

bool open_one(const std::string& name, Library* library) {
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    library->attempts.push_back({name, reason == nullptr ? "cannot be opened" : reason});
    return false;
  }
  const std::string missing = resolve(handle, &library->functions);
  if (!missing.empty()) {
    library->too_old = true;
    library->attempts.push_back({name, "has no function " + missing});
    dlclose(handle);
    return false;
  }
  library->attempts.push_back({name, "loaded"});
  library->path = name;
  return true;
}

Library open_library() {
  Library found;
  for (const std::string& name : candidates()) {
    if (open_one(name, &found)) break;
  }
  return found;
}

}  // namespace

void add_library_path(const std::string& path) {
  const std::lock_guard<std::mutex> lock(*added_mutex());
  added_paths()->push_back(path);
}

const Library& library() {
  // Never destroyed: HIP is used until the process is gone.
  static const Library* const kLibrary = new Library(open_library());
  return *kLibrary;
}

const Functions* loaded() {
  const Library& found = library();
  return found.path.empty() ? nullptr : &found.functions;
}

const Functions& hip() {
  const Library& found = library();
  if (!found.path.empty()) return found.functions;
  if (found.too_old) {
    fail(Failure::kOldDriver,
         "the libamdhip64 of this machine " + found.attempts.back().outcome +
             "; wanted ROCm 6.0 or newer; update ROCm");
  }
  fail(Failure::kNoDriver,
       "libamdhip64 was not found; wanted the HIP runtime of ROCm 6.0 or newer; install it, or "
       "name the library in FERRY_HIP_LIBRARY");
}

}  // namespace ferrylm::hip
