#include "loader.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace ferrylm::vulkan {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> split(const std::string& list, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(list);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

// Where the loader lives, besides the dynamic linker's own search path.
std::vector<std::string> loader_candidates() {
  const std::string forced = environment("FERRY_VULKAN_LOADER");
  if (!forced.empty()) return {forced};
  std::vector<std::string> candidates = {"libvulkan.so.1"};
  for (const char* prefix : {"CONDA_PREFIX", "VULKAN_SDK", "VIRTUAL_ENV"}) {
    const std::string folder = environment(prefix);
    if (!folder.empty()) candidates.push_back(folder + "/lib/libvulkan.so.1");
  }
#if defined(__x86_64__)
  const std::string triplet = "x86_64-linux-gnu";
#elif defined(__aarch64__)
  const std::string triplet = "aarch64-linux-gnu";
#else
  const std::string triplet = "unknown-linux-gnu";
#endif
  for (const std::string& folder : {
           "/usr/lib/" + triplet,
           std::string("/usr/lib64"),
           std::string("/usr/lib"),
           std::string("/usr/local/lib"),
           // Flatpak: the runtime's own loader, then what the GL extension brings.
           "/usr/lib/" + triplet + "/GL/default/lib",
           "/app/lib/" + triplet,
           std::string("/app/lib"),
           // Steam's pressure-vessel container shows the host's libraries here.
           "/usr/lib/pressure-vessel/overrides/lib/" + triplet,
           "/run/host/usr/lib/" + triplet,
           std::string("/run/host/usr/lib"),
           // NixOS
           std::string("/run/opengl-driver/lib"),
       }) {
    candidates.push_back(folder + "/libvulkan.so.1");
  }
  return candidates;
}

}  // namespace

Loader open_loader() {
  Loader loader;
  for (const std::string& path : loader_candidates()) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      loader.attempts.push_back({path, dlerror()});
      continue;
    }
    loader.address_of =
        reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
    if (loader.address_of == nullptr) {
      loader.attempts.push_back({path, "it has no function vkGetInstanceProcAddr"});
      dlclose(library);
      continue;
    }
    loader.attempts.push_back({path, "loaded"});
    loader.path = path;
    break;
  }
  return loader;
}

std::vector<std::string> driver_files() {
  std::vector<std::string> files;
  for (const char* name : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"}) {
    for (const std::string& file : split(environment(name), ':')) files.push_back(file);
  }
  std::vector<std::string> folders = {"/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d",
                                      "/usr/local/share/vulkan/icd.d",
                                      "/run/opengl-driver/share/vulkan/icd.d"};
  for (const std::string& folder : split(environment("XDG_DATA_DIRS"), ':')) {
    folders.push_back(folder + "/vulkan/icd.d");
  }
  std::sort(folders.begin(), folders.end());
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  for (const std::string& folder : folders) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".json") files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace ferrylm::vulkan
