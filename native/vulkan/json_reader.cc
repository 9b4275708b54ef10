#include "json_reader.h"

#include <charconv>

#include "utf8.h"

namespace ferrylm::vulkan {

namespace {

constexpr int kDeepest = 16;

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  JsonValue document() {
    if (!is_utf8(text_)) fail("the text is not UTF-8");
    JsonValue value = parse_value(0);
    skip_space();
    if (place_ != text_.size()) fail("something follows the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& fault) const {
    throw JsonError(fault + " at byte " + std::to_string(place_));
  }

  void skip_space() {
    while (place_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[place_]) != std::string_view::npos) {
      ++place_;
    }
  }

  char peek() {
    skip_space();
    if (place_ == text_.size()) fail("the text ends early");
    return text_[place_];
  }

  void expect(char wanted) {
    if (peek() != wanted) fail(std::string("'") + wanted + "' is missing");
    ++place_;
  }

  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++place_;
    return true;
  }

  void expect_word(std::string_view word) {
    if (text_.substr(place_, word.size()) != word) fail("there is no value");
    place_ += word.size();
  }

  JsonValue parse_value(int depth) {
    if (depth > kDeepest) fail("the nesting is too deep");
    JsonValue value;
    switch (peek()) {
      case '{': parse_object(&value, depth); break;
      case '[': parse_list(&value, depth); break;
      case '"':
        value.kind_ = JsonValue::Kind::kText;
        value.text_ = parse_text();
        break;
      case 't':
        expect_word("true");
        value.kind_ = JsonValue::Kind::kBool;
        value.truth_ = true;
        break;
      case 'f':
        expect_word("false");
        value.kind_ = JsonValue::Kind::kBool;
        break;
      case 'n': expect_word("null"); break;
      default: parse_integer(&value);
    }
    return value;
  }

  void parse_object(JsonValue* value, int depth) {
    value->kind_ = JsonValue::Kind::kObject;
    expect('{');
    if (take('}')) return;
    do {
      if (peek() != '"') fail("a key is missing");
      std::string key = parse_text();
      expect(':');
      if (!value->object_.emplace(key, parse_value(depth + 1)).second) {
        fail("the key " + key + " is there twice");
      }
    } while (take(','));
    expect('}');
  }

  void parse_list(JsonValue* value, int depth) {
    value->kind_ = JsonValue::Kind::kList;
    expect('[');
    if (take(']')) return;
    do {
      value->list_.push_back(parse_value(depth + 1));
    } while (take(','));
    expect(']');
  }

  void parse_integer(JsonValue* value) {
    value->kind_ = JsonValue::Kind::kInteger;
    const char* first = text_.data() + place_;
    const char* last = text_.data() + text_.size();
    const auto [end, error] = std::from_chars(first, last, value->integer_);
    if (error != std::errc()) fail("there is no integer");
    place_ += static_cast<size_t>(end - first);
    if (end != last && (*end == '.' || *end == 'e' || *end == 'E')) fail("a number is no integer");
  }

  std::string parse_text() {
    expect('"');
    std::string result;
    while (true) {
      if (place_ == text_.size()) fail("a text does not end");
      const char letter = text_[place_++];
      if (letter == '"') return result;
      if (static_cast<unsigned char>(letter) < 0x20) fail("a text holds a control character");
      result += letter == '\\' ? parse_escape() : std::string(1, letter);
    }
  }

  std::string parse_escape() {
    if (place_ == text_.size()) fail("a text does not end");
    const char letter = text_[place_++];
    const std::string_view escaped = "\"\\/bfnrt";
    const std::string_view meant = "\"\\/\b\f\n\r\t";
    const size_t which = escaped.find(letter);
    if (which != std::string_view::npos) return std::string(1, meant[which]);
    unsigned code = 0;
    const char* first = text_.data() + place_;
    if (letter != 'u' || text_.size() - place_ < 4 ||
        std::from_chars(first, first + 4, code, 16).ptr != first + 4 || code >= 0x80) {
      fail("an escape is not understood (only ASCII ones are)");
    }
    place_ += 4;
    return std::string(1, static_cast<char>(code));
  }

  std::string_view text_;
  size_t place_ = 0;
};

JsonValue JsonValue::parse(std::string_view text) { return JsonParser(text).document(); }

bool JsonValue::as_bool() const {
  if (kind_ != Kind::kBool) throw JsonError("a value is not true or false");
  return truth_;
}

int64_t JsonValue::as_integer(int64_t lowest, int64_t highest) const {
  if (kind_ != Kind::kInteger) throw JsonError("a value is no integer");
  if (integer_ < lowest || integer_ > highest) {
    throw JsonError("the integer " + std::to_string(integer_) + " is out of range");
  }
  return integer_;
}

const std::string& JsonValue::as_text() const {
  if (kind_ != Kind::kText) throw JsonError("a value is no text");
  return text_;
}

const std::vector<JsonValue>& JsonValue::as_list() const {
  if (kind_ != Kind::kList) throw JsonError("a value is no list");
  return list_;
}

const JsonValue& JsonValue::at(const std::string& key) const {
  if (kind_ != Kind::kObject) throw JsonError("a value is no object");
  const auto found = object_.find(key);
  if (found == object_.end()) throw JsonError("the key " + key + " is missing");
  return found->second;
}

}  // namespace ferrylm::vulkan
