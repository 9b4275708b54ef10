#include "message_pack.h"

#include <stdexcept>

namespace stand_in {

namespace {

class Reader {
 public:
  Reader(const char* data, size_t bytes) : data_(data), left_(bytes) {}

  Value value() {
    Value result;
    const uint64_t tag = number(1);
    if (tag < 0x80 || tag >= 0xE0) {
      result.number = tag;
    } else if (tag < 0x90) {
      map(tag & 15, &result);
    } else if (tag < 0xA0) {
      list(tag & 15, &result);
    } else if (tag < 0xC0) {
      result.text = text(tag & 31);
    } else if (tag == 0xC2 || tag == 0xC3) {
      result.number = tag & 1;
    } else if (tag >= 0xCC && tag <= 0xCF) {
      result.number = number(size_t{1} << (tag - 0xCC));
    } else if (tag >= 0xD9 && tag <= 0xDB) {
      result.text = text(number(size_t{1} << (tag - 0xD9)));
    } else if (tag == 0xDC || tag == 0xDD) {
      list(number(tag == 0xDC ? 2 : 4), &result);
    } else if (tag == 0xDE || tag == 0xDF) {
      map(number(tag == 0xDE ? 2 : 4), &result);
    } else {
      throw std::runtime_error("an unknown tag in metadata");
    }
    return result;
  }

 private:
  void list(uint64_t count, Value* result) {
    for (uint64_t index = 0; index < count; ++index) result->elements.push_back(value());
  }
  void map(uint64_t count, Value* result) {
    for (uint64_t index = 0; index < count; ++index) {
      const std::string key = value().text;
      result->fields[key] = value();
    }
  }
  std::string text(uint64_t bytes) { return std::string(take(bytes), bytes); }
  uint64_t number(size_t bytes) {
    const char* start = take(bytes);
    uint64_t result = 0;
    for (size_t index = 0; index < bytes; ++index) {
      result = result << 8 | static_cast<unsigned char>(start[index]);
    }
    return result;
  }
  const char* take(uint64_t bytes) {
    if (bytes > left_) throw std::runtime_error("truncated metadata");
    const char* start = data_;
    data_ += bytes;
    left_ -= bytes;
    return start;
  }
  const char* data_;
  size_t left_;
};

}  // namespace

Value read_message_pack(const char* data, size_t bytes) { return Reader(data, bytes).value(); }

}  // namespace stand_in
