// Stands in for a header that TVM's tensor.h includes and that the apache-tvm 0.27 wheel lacks: what
// its inline functions need to compile. Nothing of it is called here.
#ifndef TVM_SUPPORT_IO_H_
#define TVM_SUPPORT_IO_H_

#include <cstddef>

namespace tvm::support {

class Stream {
 public:
  virtual ~Stream() = default;
  virtual size_t Read(void* bytes, size_t size) = 0;
  virtual size_t Write(const void* bytes, size_t size) = 0;
  template <typename Value>
  bool Read(Value* value) {
    return Read(static_cast<void*>(value), sizeof(Value)) == sizeof(Value);
  }
  template <typename Value>
  void Write(const Value& value) {
    Write(static_cast<const void*>(&value), sizeof(Value));
  }
  template <typename Value>
  bool ReadArray(Value* values, size_t count) {
    return Read(static_cast<void*>(values), count * sizeof(Value)) == count * sizeof(Value);
  }
  template <typename Value>
  void WriteArray(const Value* values, size_t count) {
    Write(static_cast<const void*>(values), count * sizeof(Value));
  }
};

}  // namespace tvm::support

#endif  // TVM_SUPPORT_IO_H_
