// MessagePack as LLVM writes it into code objects: maps with text keys, lists, text, numbers.
#ifndef FERRYLM_STAND_IN_MESSAGE_PACK_H_
#define FERRYLM_STAND_IN_MESSAGE_PACK_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stand_in {

struct Value {
  uint64_t number = 0;
  std::string text;
  std::vector<Value> elements;
  std::map<std::string, Value> fields;

  bool has(const std::string& key) const { return fields.count(key) != 0; }
  const Value& at(const std::string& key) const { return fields.at(key); }
};

// Throws std::runtime_error for what it does not know.
Value read_message_pack(const char* data, size_t bytes);

}  // namespace stand_in

#endif  // FERRYLM_STAND_IN_MESSAGE_PACK_H_
