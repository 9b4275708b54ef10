#include "code_object.h"

#include <cstring>
#include <stdexcept>

#include "message_pack.h"

namespace stand_in {

namespace {

// LLVM's AMDGPUUsage page, "Generic processors".
const std::map<std::string, std::vector<std::string>>& families() {
  static const std::map<std::string, std::vector<std::string>> kFamilies = {
      {"gfx9-generic", {"gfx900", "gfx902", "gfx904", "gfx906", "gfx909", "gfx90c"}},
      {"gfx9-4-generic", {"gfx942", "gfx950"}},
      {"gfx10-1-generic", {"gfx1010", "gfx1011", "gfx1012", "gfx1013"}},
      {"gfx10-3-generic",
       {"gfx1030", "gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"}},
      {"gfx11-generic",
       {"gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153"}},
      {"gfx12-generic", {"gfx1200", "gfx1201"}},
  };
  return kFamilies;
}

// EF_AMDGPU_MACH of the entries that tests use.
const std::map<std::string, uint32_t>& machines() {
  static const std::map<std::string, uint32_t> kMachines = {
      {"gfx906", 0x2F},  {"gfx908", 0x30},  {"gfx90a", 0x3F},  {"gfx942", 0x4C},
      {"gfx1030", 0x36}, {"gfx1100", 0x41}, {"gfx1101", 0x46}, {"gfx1102", 0x47},
      {"gfx1151", 0x4A}, {"gfx1200", 0x48}, {"gfx1201", 0x4E}, {"gfx9-generic", 0x51},
      {"gfx9-4-generic", 0x5F},  {"gfx10-1-generic", 0x52}, {"gfx10-3-generic", 0x53},
      {"gfx11-generic", 0x54},   {"gfx12-generic", 0x59},
  };
  return kMachines;
}

template <typename Number>
Number read(const char* data, size_t offset) {
  Number value;
  std::memcpy(&value, data + offset, sizeof(value));
  return value;
}

bool is_member(const std::string& family, const std::string& chip) {
  const auto found = families().find(family);
  if (found == families().end()) return false;
  for (const std::string& member : found->second) {
    if (member == chip) return true;
  }
  return false;
}

Kernel read_kernel(const Value& metadata) {
  Kernel kernel;
  kernel.name = metadata.at(".name").text;
  kernel.argument_bytes = metadata.at(".kernarg_segment_size").number;
  kernel.shared_bytes = metadata.at(".group_segment_fixed_size").number;
  kernel.wave = metadata.at(".wavefront_size").number;
  kernel.max_threads = metadata.at(".max_flat_workgroup_size").number;
  if (metadata.has(".reqd_workgroup_size")) {
    for (const Value& extent : metadata.at(".reqd_workgroup_size").elements) {
      kernel.block.push_back(extent.number);
    }
  }
  if (!metadata.has(".args")) return kernel;
  for (const Value& argument : metadata.at(".args").elements) {
    const std::string kind = argument.at(".value_kind").text;
    kernel.arguments.push_back({argument.at(".offset").number, argument.at(".size").number,
                                kind == "global_buffer"});
  }
  return kernel;
}

void read_notes(const char* data, size_t bytes, CodeObject* code) {
  for (size_t at = 0; at + 12 <= bytes;) {
    const auto name_bytes = read<uint32_t>(data, at);
    const auto content_bytes = read<uint32_t>(data, at + 4);
    const auto kind = read<uint32_t>(data, at + 8);
    const size_t start = at + 12 + (name_bytes + 3) / 4 * 4;
    if (start + content_bytes > bytes) throw std::runtime_error("a truncated note");
    if (kind == 32) {
      const Value root = read_message_pack(data + start, content_bytes);
      for (const Value& kernel : root.at("amdhsa.kernels").elements) {
        Kernel parsed = read_kernel(kernel);
        code->kernels[parsed.name] = parsed;
      }
    }
    at = start + (content_bytes + 3) / 4 * 4;
  }
}

void read_elf(const char* data, size_t bytes, CodeObject* code) {
  if (bytes < 64 || std::memcmp(data, "\x7f" "ELF\x02\x01\x01\x40", 8) != 0) {
    throw std::runtime_error("no ELF file of the HSA");
  }
  const auto flags = read<uint32_t>(data, 48);
  const auto machine = machines().find(code->entry);
  if (machine == machines().end() || (flags & 0xFF) != machine->second) {
    throw std::runtime_error("the code of another processor under the name " + code->entry);
  }
  const bool generic = code->entry.find("-generic") != std::string::npos;
  if (generic != (flags >> 24 != 0)) throw std::runtime_error("a wrong generic version");
  if (data[8] != (generic ? 4 : 3)) throw std::runtime_error("a wrong code object version");
  const auto table = read<uint64_t>(data, 40);
  const auto count = read<uint16_t>(data, 60);
  for (size_t index = 0; index < count; ++index) {
    const size_t header = table + 64 * index;
    if (header + 64 > bytes) throw std::runtime_error("a truncated section table");
    if (read<uint32_t>(data, header + 4) != 7) continue;
    const auto offset = read<uint64_t>(data, header + 24);
    const auto size = read<uint64_t>(data, header + 32);
    if (offset + size > bytes) throw std::runtime_error("a truncated section");
    read_notes(data + offset, size, code);
  }
}

}  // namespace

bool load_code_object(const char* image, const std::string& chip, CodeObject* code) {
  if (reinterpret_cast<uintptr_t>(image) % 4096 != 0) throw std::runtime_error("unaligned image");
  if (std::memcmp(image, "__CLANG_OFFLOAD_BUNDLE__", 24) != 0) {
    throw std::runtime_error("no bundle");
  }
  const std::string prefix = "hipv4-amdgcn-amd-amdhsa--";
  const char* exact = nullptr;
  const char* family = nullptr;
  size_t exact_bytes = 0;
  size_t family_bytes = 0;
  std::string family_name;
  size_t at = 32;
  for (uint64_t left = read<uint64_t>(image, 24); left > 0; --left) {
    const auto offset = read<uint64_t>(image, at);
    const auto bytes = read<uint64_t>(image, at + 8);
    const auto id_bytes = read<uint64_t>(image, at + 16);
    const std::string id(image + at + 24, id_bytes);
    at += 24 + id_bytes;
    if (offset % 4096 != 0) throw std::runtime_error("an unaligned entry " + id);
    if (id.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string name = id.substr(prefix.size());
    if (name == chip) {
      exact = image + offset;
      exact_bytes = bytes;
    } else if (is_member(name, chip)) {
      family = image + offset;
      family_bytes = bytes;
      family_name = name;
    }
  }
  if (exact == nullptr && family == nullptr) return false;
  code->entry = exact != nullptr ? chip : family_name;
  read_elf(exact != nullptr ? exact : family, exact != nullptr ? exact_bytes : family_bytes, code);
  return true;
}

}  // namespace stand_in
