// Operands of instructions.
#pragma once

#include "builtins.h"

namespace ptx {

using emulator::fail;
using emulator::kLanes;
using emulator::Scope;

// A vector of registers: {%0, %1}.
template <class T, unsigned count> struct Registers {
  T* items[count];
  T& operator[](unsigned i) const { return *items[i]; }
};

template <class T, class... More> Registers<T, 1 + sizeof...(More)> pack(T& first, More&... more) {
  return {{&first, &more...}};
}

// The destination _, of which nobody wants to know.
struct Sink {};

// Registers as values, so that a thread can give them to others.
template <class T, unsigned count> struct Values {
  T items[count];
};

template <class T, unsigned count> Values<T, count> values_of(Registers<T, count> registers) {
  Values<T, count> found;
  for (unsigned i = 0; i < count; ++i) found.items[i] = registers[i];
  return found;
}

template <class T, unsigned count> void assign(Registers<T, count> to, Values<T, count> values) {
  for (unsigned i = 0; i < count; ++i) to[i] = values.items[i];
}

// Element `index` of the words of a fragment.
template <class T> T element(const void* words, unsigned index) {
  T found;
  std::memcpy(&found, static_cast<const unsigned char*>(words) + index * sizeof(T), sizeof found);
  return found;
}

}  // namespace ptx
