// The table of operators that are imported. Internal but for docs/operators.md, which is made of it.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edgefleet::compiler {

class NodeContext;

struct OnnxOperator {
  std::string_view name;
  Status (*import)(NodeContext&);
  std::string_view limits = "";  // for people, in docs/operators.md
  int since = 1;                 // operator set
  int until = 1'000;
  std::string_view domain = "";
};

// All of them, by domain and name.
const std::vector<OnnxOperator>& OnnxOperators();

const OnnxOperator* FindOperator(std::string_view domain, std::string_view name);

std::span<const OnnxOperator> ElementwiseOperators();
std::span<const OnnxOperator> WindowOperators();
std::span<const OnnxOperator> DenseOperators();
std::span<const OnnxOperator> EinsumOperators();
std::span<const OnnxOperator> NormalizationOperators();
std::span<const OnnxOperator> ReductionOperators();
std::span<const OnnxOperator> MovementOperators();
std::span<const OnnxOperator> ShapeOperators();
std::span<const OnnxOperator> RecurrentOperators();
std::span<const OnnxOperator> QuantizationOperators();
std::span<const OnnxOperator> ControlOperators();
std::span<const OnnxOperator> LossOperators();

}  // namespace edgefleet::compiler
