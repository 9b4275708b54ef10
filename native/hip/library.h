// Finds and opens libamdhip64, which is never linked to. The first use opens it, not the start.
#ifndef FERRYLM_HIP_LIBRARY_H_
#define FERRYLM_HIP_LIBRARY_H_

#include <string>
#include <vector>

#include "hip_api.h"

namespace ferrylm::hip {

struct LibraryAttempt {
  std::string path;
  std::string outcome;  // "loaded", or why not
};

struct Library {
  std::string path;  // empty when none was found
  bool too_old = false;
  Functions functions;
  std::vector<LibraryAttempt> attempts;
};

// Adds a place to look at, after the usual ones; without effect once the library is open.
void add_library_path(const std::string& path);

// The library, opened once and kept open; never throws.
const Library& library();

// Its functions, or null when there is none. Never throws.
const Functions* loaded();

// Its functions; throws [hip:no-driver] or [hip:old-driver].
const Functions& hip();

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_LIBRARY_H_
