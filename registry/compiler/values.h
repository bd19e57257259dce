// The values of a graph's constants.
#pragma once

#include <span>

#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

// The values of an fp32 constant; empty for anything else.
inline std::span<const float> Floats(const runtime::Tensor& tensor) {
  if (!tensor.is_constant() || tensor.type != runtime::DataType::kFloat32) return {};
  return {reinterpret_cast<const float*>(tensor.data.data()), tensor.data.size() / sizeof(float)};
}

}  // namespace edgefleet::compiler
