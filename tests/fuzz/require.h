// What must hold for every input.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "base/status.h"

namespace edgefleet::fuzz {

inline void Require(bool right, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (right) return;
  std::fprintf(stderr, "%s:%d: does not hold\n", file, line);
  std::abort();
}

template <typename T>
Status StatusOf(const Result<T>& result) {
  return result ? OkStatus() : Status(result.error());
}

}  // namespace edgefleet::fuzz
