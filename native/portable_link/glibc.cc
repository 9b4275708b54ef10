// What GCC's static C++ library takes from a glibc newer than the one that is linked for.

#include <cstddef>

extern "C" {

int getentropy(void* buffer, std::size_t size);  // glibc 2.25

// glibc 2.32. Never true: the C++ library then counts references with atomic operations, always.
char __libc_single_threaded = 0;

// glibc 2.36, for std::random_device.
unsigned arc4random() {
  unsigned value = 0;
  if (getentropy(&value, sizeof(value)) != 0) __builtin_trap();
  return value;
}
}
