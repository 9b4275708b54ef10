// Writes JSON text: objects and lists, commas and escapes right.
#ifndef FERRYLM_VULKAN_JSON_WRITER_H_
#define FERRYLM_VULKAN_JSON_WRITER_H_

#include <cstdint>
#include <string>

namespace ferrylm::vulkan {

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_list() { return open('['); }
  JsonWriter& end_list() { return close(']'); }
  JsonWriter& key(const std::string& name);
  JsonWriter& value(const std::string& text);
  JsonWriter& value(const char* text) { return value(std::string(text)); }
  JsonWriter& value(bool truth) { return raw(truth ? "true" : "false"); }
  JsonWriter& value(double number);
  JsonWriter& value(uint64_t number) { return raw(std::to_string(number)); }
  JsonWriter& value(int64_t number) { return raw(std::to_string(number)); }
  JsonWriter& value(uint32_t number) { return raw(std::to_string(number)); }
  JsonWriter& value(int number) { return raw(std::to_string(number)); }
  template <typename Value>
  JsonWriter& field(const std::string& name, const Value& content) {
    return key(name).value(content);
  }
  const std::string& text() const { return text_; }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  JsonWriter& raw(const std::string& token);
  void separate();
  std::string text_;
  bool needs_comma_ = false;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_JSON_WRITER_H_
