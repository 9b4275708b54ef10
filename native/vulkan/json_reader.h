// A strict reader of small JSON documents: bounded depth, no duplicate keys, integers exact.
#ifndef FERRYLM_VULKAN_JSON_READER_H_
#define FERRYLM_VULKAN_JSON_READER_H_

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ferrylm::vulkan {

class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class JsonValue {
 public:
  enum class Kind { kNull, kBool, kInteger, kText, kList, kObject };

  // Throws JsonError with the place of the first fault. Numbers with fractions are faults too.
  static JsonValue parse(std::string_view text);

  // Each throws JsonError when the value is of another kind, or lacks the key.
  bool as_bool() const;
  int64_t as_integer(int64_t lowest, int64_t highest) const;
  const std::string& as_text() const;
  const std::vector<JsonValue>& as_list() const;
  const JsonValue& at(const std::string& key) const;

 private:
  friend class JsonParser;
  Kind kind_ = Kind::kNull;
  bool truth_ = false;
  int64_t integer_ = 0;
  std::string text_;
  std::vector<JsonValue> list_;
  std::map<std::string, JsonValue> object_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_JSON_READER_H_
