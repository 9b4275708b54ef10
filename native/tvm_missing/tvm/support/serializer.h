// Stands in for another header that TVM's tensor.h includes and the wheel lacks; see io.h.
#ifndef TVM_SUPPORT_SERIALIZER_H_
#define TVM_SUPPORT_SERIALIZER_H_

#include <tvm/support/io.h>

#endif  // TVM_SUPPORT_SERIALIZER_H_
