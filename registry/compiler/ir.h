// The compiler's own network between ONNX and runtime::Graph: fp32 only, constants owned, with the two operators that must be
// gone before a device sees it.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

using ValueId = std::int32_t;

// y[n, c, ...] = x[n, c, ...] * scale[c] + shift[c]: batch normalization at inference, and constants that are added.
struct Affine {
  std::vector<float> scale;
  std::vector<float> shift;
};
struct Identity {};
struct GlobalAveragePool {};
struct Relu {};
struct Add {
  runtime::Activation activation;
};

using IrOperator = std::variant<runtime::Conv2d, runtime::FullyConnected, runtime::Pool2d, GlobalAveragePool, Relu, Add,
                                runtime::Flatten, runtime::Softmax, Affine, Identity>;

// Activations hold the batch in dimension 0 as 1. Elements of `constant` are the product of `shape`.
struct IrValue {
  std::string name;  // unique
  std::vector<std::int64_t> shape;
  bool is_constant = false;
  std::vector<float> constant;
};

// Inputs as runtime's operator of the same name has them; every operator has one output.
struct IrNode {
  std::string name;
  IrOperator op;
  std::vector<ValueId> inputs;
  ValueId output = -1;
};

// Nodes are in execution order and each activation has one writer.
struct IrGraph {
  std::string name;
  std::vector<IrValue> values;
  std::vector<IrNode> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;

  IrValue& value(ValueId id) { return values[static_cast<std::size_t>(id)]; }
  const IrValue& value(ValueId id) const { return values[static_cast<std::size_t>(id)]; }
};

}  // namespace edgefleet::compiler
