#include "json_writer.h"

#include <cmath>
#include <cstdio>

#include "utf8.h"

namespace ferrylm::vulkan {

namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const unsigned char letter : to_utf8(text)) {
    if (letter == '"' || letter == '\\') {
      result += '\\';
      result += static_cast<char>(letter);
    } else if (letter < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", letter);
      result += escape;
    } else {
      result += static_cast<char>(letter);
    }
  }
  return result + "\"";
}

}  // namespace

void JsonWriter::separate() {
  if (needs_comma_) text_ += ',';
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  text_ += bracket;
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  text_ += bracket;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::key(const std::string& name) {
  separate();
  text_ += quoted(name) + ":";
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::raw(const std::string& token) {
  separate();
  text_ += token;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(const std::string& text) { return raw(quoted(text)); }

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return raw("null");
  char text[40];
  std::snprintf(text, sizeof(text), "%.9g", number);
  return raw(text);
}

}  // namespace ferrylm::vulkan
