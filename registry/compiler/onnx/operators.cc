#include "registry/compiler/onnx/operators.h"

#include <algorithm>
#include <tuple>

namespace edgefleet::compiler {
namespace {

std::vector<OnnxOperator> Collect() {
  std::vector<OnnxOperator> all;
  for (const auto part : {ElementwiseOperators(), WindowOperators(), DenseOperators(), EinsumOperators(),
                          NormalizationOperators(), ReductionOperators(), MovementOperators(), ShapeOperators(),
                          RecurrentOperators(), QuantizationOperators(), ControlOperators(), LossOperators()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  std::ranges::sort(all, {}, [](const OnnxOperator& each) { return std::tuple(each.domain, each.name); });
  return all;
}

}  // namespace

const std::vector<OnnxOperator>& OnnxOperators() {
  static const std::vector<OnnxOperator> all = Collect();
  return all;
}

const OnnxOperator* FindOperator(std::string_view domain, std::string_view name) {
  const auto& all = OnnxOperators();
  const auto found =
      std::ranges::find_if(all, [&](const OnnxOperator& each) { return each.domain == domain && each.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace edgefleet::compiler
