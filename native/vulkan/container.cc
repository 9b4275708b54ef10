#include "container.h"

#include <cstring>
#include <set>

#include "errors.h"
#include "json_reader.h"

namespace ferrylm::vulkan {

namespace {

constexpr char kMagic[] = "FERRYVK1";
constexpr uint64_t kPrefixBytes = 12;
constexpr uint64_t kAlignmentBytes = 8;
constexpr uint32_t kSpirvMagic = 0x07230203;
constexpr uint64_t kSpirvHeaderBytes = 20;
constexpr size_t kMostPushArguments = 16;
constexpr size_t kMostArguments = 4096;
constexpr size_t kMostExtents = 6;
constexpr char kSharedBytesTag[] = "tirx.use_dyn_shared_memory";

[[noreturn]] void refuse(const std::string& fault) {
  fail(Failure::kContainer, "a Vulkan module is damaged or of another version: " + fault);
}

KernelArgument parse_argument(const std::string& type, const std::string& access) {
  KernelArgument argument{ArgumentKind::kInteger, Access::kNone};
  if (access == "r")
    argument.access = Access::kRead;
  else if (access == "w")
    argument.access = Access::kWrite;
  else if (access == "rw")
    argument.access = Access::kReadWrite;
  else if (!access.empty())
    throw JsonError("the access '" + access + "' is unknown");
  const struct {
    const char* type;
    ArgumentKind kind;
    uint8_t bits;
    bool is_signed;
  } kTypes[] = {
      {"handle", ArgumentKind::kHandle, 64, false},  {"bool", ArgumentKind::kInteger, 8, false},
      {"int8", ArgumentKind::kInteger, 8, true},     {"int16", ArgumentKind::kInteger, 16, true},
      {"int32", ArgumentKind::kInteger, 32, true},   {"int64", ArgumentKind::kInteger, 64, true},
      {"uint8", ArgumentKind::kInteger, 8, false},   {"uint16", ArgumentKind::kInteger, 16, false},
      {"uint32", ArgumentKind::kInteger, 32, false}, {"uint64", ArgumentKind::kInteger, 64, false},
      {"float16", ArgumentKind::kFloat16, 16, true}, {"float32", ArgumentKind::kFloat32, 32, true},
      {"float64", ArgumentKind::kFloat64, 64, true},
  };
  for (const auto& entry : kTypes) {
    if (type != entry.type) continue;
    argument.kind = entry.kind;
    argument.bits = entry.bits;
    argument.is_signed = entry.is_signed;
    if (entry.kind != ArgumentKind::kHandle && argument.access != Access::kNone) {
      throw JsonError("a scalar has an access");
    }
    return argument;
  }
  throw JsonError("the argument type '" + type + "' is unknown");
}

LaunchExtent parse_launch(const std::string& tag) {
  if (tag == kSharedBytesTag) return {false, 0, true};
  const size_t dot = tag.find('.');
  const std::string prefix = tag.substr(0, dot);
  const std::string axis = dot == std::string::npos ? "" : tag.substr(dot + 1);
  const bool is_thread = prefix == "threadIdx";
  if ((!is_thread && prefix != "blockIdx") || axis.size() != 1 || axis[0] < 'x' || axis[0] > 'z') {
    throw JsonError("the launch tag '" + tag + "' is unknown");
  }
  return {is_thread, static_cast<uint8_t>(axis[0] - 'x'), false};
}

void parse_arguments(const JsonValue& entry, Kernel* kernel) {
  const std::vector<JsonValue>& types = entry.at("arguments").as_list();
  const std::vector<JsonValue>& accesses = entry.at("access").as_list();
  if (types.size() != accesses.size() || types.size() > kMostArguments) {
    throw JsonError("a kernel's arguments and accesses differ in number, or are too many");
  }
  for (size_t i = 0; i < types.size(); ++i) {
    kernel->arguments.push_back(parse_argument(types[i].as_text(), accesses[i].as_text()));
  }
  size_t extents = 0;
  for (const JsonValue& tag : entry.at("launch").as_list()) {
    kernel->launch.push_back(parse_launch(tag.as_text()));
    if (!kernel->launch.back().is_shared_bytes) ++extents;
    if (extents > kMostExtents || kernel->launch.size() > kMostExtents + 1) {
      throw JsonError("a kernel has too many launch tags");
    }
  }
}

void parse_local_size(const JsonValue& entry, Kernel* kernel) {
  const std::vector<JsonValue>& sizes = entry.at("local_size").as_list();
  if (sizes.size() != 3) throw JsonError("a local size has not three numbers");
  for (size_t axis = 0; axis < 3; ++axis) {
    kernel->local_size[axis] = static_cast<uint32_t>(sizes[axis].as_integer(1, 65536));
  }
  const int64_t size = entry.at("subgroup_size").as_integer(0, 128);
  if (size & (size - 1)) throw JsonError("a subgroup size is no power of two");
  kernel->subgroup_size = static_cast<uint32_t>(size);
}

Kernel parse_kernel(const JsonValue& entry, const std::string& bytes) {
  Kernel kernel;
  kernel.name = entry.at("name").as_text();
  const int64_t total = static_cast<int64_t>(bytes.size());
  const int64_t offset = entry.at("offset").as_integer(0, total);
  const int64_t size = entry.at("bytes").as_integer(kSpirvHeaderBytes, total - offset);
  if (offset % kAlignmentBytes || size % 4) throw JsonError("SPIR-V is not aligned");
  uint32_t magic = 0;
  std::memcpy(&magic, bytes.data() + offset, sizeof(magic));
  if (magic != kSpirvMagic) throw JsonError("a kernel has no SPIR-V where it should be");
  kernel.spirv_offset = static_cast<uint64_t>(offset);
  kernel.spirv_bytes = static_cast<uint64_t>(size);
  parse_arguments(entry, &kernel);
  parse_local_size(entry, &kernel);
  kernel.shared_bytes = static_cast<uint32_t>(entry.at("shared_bytes").as_integer(0, 1 << 30));
  kernel.uses_argument_buffer = entry.at("argument_buffer").as_bool();
  if (!kernel.uses_argument_buffer && kernel.arguments.size() > kMostPushArguments) {
    throw JsonError("a kernel has too many arguments for push constants");
  }
  for (const JsonValue& feature : entry.at("requires").as_list()) {
    kernel.requires_features.push_back(feature.as_text());
  }
  return kernel;
}

}  // namespace

uint64_t hash_bytes(const void* data, uint64_t size_bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  for (uint64_t i = 0; i < size_bytes; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
  return hash;
}

Container parse_container(std::string bytes) {
  Container container;
  container.bytes = std::move(bytes);
  const std::string& all = container.bytes;
  if (all.size() < kPrefixBytes || std::memcmp(all.data(), kMagic, 8) != 0) {
    refuse("it does not begin with FERRYVK1");
  }
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, all.data() + 8, sizeof(header_bytes));
  if (header_bytes > all.size() - kPrefixBytes) refuse("its header is cut off");
  try {
    const JsonValue header =
        JsonValue::parse(std::string_view(all).substr(kPrefixBytes, header_bytes));
    std::set<std::string> names;
    for (const JsonValue& entry : header.at("kernels").as_list()) {
      container.kernels.push_back(parse_kernel(entry, all));
      const Kernel& kernel = container.kernels.back();
      if (kernel.spirv_offset < kPrefixBytes + header_bytes) {
        throw JsonError("a kernel lies in the header");
      }
      if (!names.insert(kernel.name).second) throw JsonError("two kernels have one name");
    }
  } catch (const JsonError& error) {
    refuse(error.what());
  }
  container.hash = hash_bytes(all.data(), all.size());
  return container;
}

}  // namespace ferrylm::vulkan
