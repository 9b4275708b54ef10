#include "pipeline_cache.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "container.h"
#include "options.h"

namespace ferrylm::vulkan {

namespace {

struct FileHeader {
  char magic[8];
  uint64_t data_bytes;
  uint64_t data_hash;
};

constexpr char kMagic[8] = {'F', 'E', 'R', 'R', 'Y', 'P', 'C', '1'};
// Far above any real cache; a damaged length must not take all memory.
constexpr uint64_t kLargestBytes = 1ull << 30;

std::string hexadecimal(uint64_t number) {
  char text[20];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(number));
  return text;
}

}  // namespace

std::string pipeline_cache_folder() {
  if (!Options::get().pipeline_cache) return "";
  if (const char* folder = std::getenv("FERRY_VULKAN_CACHE")) return folder;
  if (const char* folder = std::getenv("XDG_CACHE_HOME")) {
    if (*folder != '\0') return std::string(folder) + "/ferrylm/vulkan";
  }
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? "" : std::string(home) + "/.cache/ferrylm/vulkan";
}

std::string pipeline_cache_path(const DeviceInfo& info, uint64_t module_hash) {
  const std::string folder = pipeline_cache_folder();
  if (folder.empty()) return "";
  const std::string device = info.driver_uuid + info.uuid + std::to_string(info.driver_version) +
                             ":" + std::to_string(info.vendor_id) + ":" +
                             std::to_string(info.device_id) + ":" + info.driver;
  return folder + "/" + hexadecimal(hash_bytes(device.data(), device.size())) + "-" +
         hexadecimal(module_hash) + ".pipelines";
}

std::vector<uint8_t> read_pipeline_cache(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  FileHeader header;
  if (!file.read(reinterpret_cast<char*>(&header), sizeof(header))) return {};
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return {};
  std::error_code error;
  const uint64_t file_bytes = std::filesystem::file_size(path, error);
  if (error || header.data_bytes > kLargestBytes ||
      file_bytes != sizeof(header) + header.data_bytes) {
    return {};
  }
  std::vector<uint8_t> data(header.data_bytes);
  if (!file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()))) {
    return {};
  }
  if (hash_bytes(data.data(), data.size()) != header.data_hash) return {};
  return data;
}

void write_pipeline_cache(const std::string& path, const std::vector<uint8_t>& data) {
  static std::atomic<uint64_t> counter{0};
  std::error_code error;
  const std::filesystem::path target(path);
  std::filesystem::create_directories(target.parent_path(), error);
  const std::string temporary =
      path + "." + std::to_string(getpid()) + "." + std::to_string(++counter) + ".tmp";
  FileHeader header;
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.data_bytes = data.size();
  header.data_hash = hash_bytes(data.data(), data.size());
  bool written = false;
  {
    std::ofstream file(temporary, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header), sizeof(header));
    file.write(reinterpret_cast<const char*>(data.data()),
               static_cast<std::streamsize>(data.size()));
    file.close();
    written = static_cast<bool>(file);
  }
  if (written) std::filesystem::rename(temporary, target, error);
  if (!written || error) std::filesystem::remove(temporary, error);
}

}  // namespace ferrylm::vulkan
