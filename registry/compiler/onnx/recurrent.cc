// LSTM, GRU and RNN. Layout 1 (batch first) becomes layout 0 by transpositions.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::Activation;
using runtime::Direction;
using runtime::kAbsent;
using runtime::UnaryKind;

struct Named {
  std::string_view name;
  UnaryKind kind;
  int parameters;  // how many of alpha and beta it takes
  float alpha;
  float beta;
};
constexpr std::array kActivations{
    Named{"relu", UnaryKind::kRelu, 0, 0, 0},
    Named{"tanh", UnaryKind::kTanh, 0, 0, 0},
    Named{"sigmoid", UnaryKind::kSigmoid, 0, 0, 0},
    Named{"softsign", UnaryKind::kSoftsign, 0, 0, 0},
    Named{"softplus", UnaryKind::kSoftplus, 0, 0, 0},
    Named{"leakyrelu", UnaryKind::kLeakyRelu, 1, 0.01F, 0},
    Named{"thresholdedrelu", UnaryKind::kThresholdedRelu, 1, 1, 0},
    Named{"elu", UnaryKind::kElu, 1, 1, 0},
    Named{"hardsigmoid", UnaryKind::kHardSigmoid, 2, 0.2F, 0.5F},
};

Result<Direction> ReadDirection(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const std::string name, node.String("direction", "forward"));
  if (name == "forward") return Direction::kForward;
  if (name == "reverse") return Direction::kReverse;
  if (name == "bidirectional") return Direction::kBidirectional;
  return node.Bad("'direction' has an unknown value");
}

// As many as there are gates with a function of their own, for each direction. alpha and beta are consumed in order by those
// that take them.
Result<std::vector<Activation>> ReadActivations(NodeContext& node, Direction direction, std::vector<Activation> defaults) {
  const std::size_t directions = direction == Direction::kBidirectional ? 2 : 1;
  std::vector<Activation> all;
  for (std::size_t i = 0; i < directions; ++i) all.insert(all.end(), defaults.begin(), defaults.end());
  EF_ASSIGN_OR_RETURN(const auto names, node.Strings("activations"));
  EF_ASSIGN_OR_RETURN(const auto alphas, node.Floats("activation_alpha"));
  EF_ASSIGN_OR_RETURN(const auto betas, node.Floats("activation_beta"));
  if (names.empty()) return all;
  if (names.size() != all.size()) return node.Bad("'activations' must have " + std::to_string(all.size()) + " names");
  std::size_t alpha = 0;
  std::size_t beta = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string lower;
    for (const char c : names[i].substr(0, 64)) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto* found = std::ranges::find(kActivations, lower, &Named::name);
    if (found == kActivations.end()) return node.Unsupported("activation '" + names[i].substr(0, 64) + "' is not supported");
    all[i] = {found->kind, found->alpha, found->beta};
    if (found->parameters > 0 && alpha < alphas.size()) all[i].alpha = alphas[alpha++];
    if (found->parameters > 1 && beta < betas.size()) all[i].beta = betas[beta++];
  }
  return all;
}

struct Common {
  Direction direction = Direction::kForward;
  std::int32_t hidden = 1;
  float clip = 0;
  bool batch_first = false;
  std::vector<Activation> activations;
};

Result<Common> ReadCommon(NodeContext& node, std::vector<Activation> defaults) {
  Common common;
  EF_ASSIGN_OR_RETURN(common.direction, ReadDirection(node));
  EF_ASSIGN_OR_RETURN(common.activations, ReadActivations(node, common.direction, std::move(defaults)));
  EF_ASSIGN_OR_RETURN(common.clip, node.Float("clip", 0));
  EF_ASSIGN_OR_RETURN(const TensorId r, node.Input(2));
  const Shape& shape = node.ShapeOf(r);
  if (shape.size() != 3) return node.Bad("its recurrent weights " + runtime::ToText(shape) + " must have 3 dimensions");
  EF_ASSIGN_OR_RETURN(const std::int64_t hidden, node.Int("hidden_size", shape[2]));
  if (hidden != shape[2] || hidden < 1 || hidden > 65'536) return node.Bad("'hidden_size' does not fit the weights");
  common.hidden = static_cast<std::int32_t>(hidden);
  if (node.opset() >= 14) {
    EF_ASSIGN_OR_RETURN(common.batch_first, node.Flag("layout", false));
  }
  return common;
}

// `states` are the inputs from 5 on that hold a state: [N, D, H] with the batch first.
Status FinishRecurrent(NodeContext& node, runtime::Operator op, bool batch_first, int states) {
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  if (!batch_first) return node.Finish(std::move(op), std::move(inputs));
  EF_ASSIGN_OR_RETURN(inputs[0], node.Transpose(inputs[0], {1, 0, 2}));
  for (std::size_t i = 5; i < inputs.size() && i < 5 + static_cast<std::size_t>(states); ++i) {
    if (inputs[i] == kAbsent) continue;
    EF_ASSIGN_OR_RETURN(inputs[i], node.Transpose(inputs[i], {1, 0, 2}));
  }
  std::vector<bool> wanted;
  for (int i = 0; i <= states; ++i) wanted.push_back(node.wants(i));
  EF_ASSIGN_OR_RETURN(const auto outputs, node.EmitAll(std::move(op), std::move(inputs), wanted));
  for (int i = 0; i <= states; ++i) {
    if (!wanted[static_cast<std::size_t>(i)]) continue;
    const auto order = i == 0 ? std::vector<std::int64_t>{2, 0, 1, 3} : std::vector<std::int64_t>{1, 0, 2};
    EF_ASSIGN_OR_RETURN(const TensorId y, node.Transpose(outputs[static_cast<std::size_t>(i)], order));
    EF_RETURN_IF_ERROR(node.Bind(i, y));
  }
  return OkStatus();
}

Status ImportLstm(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 8));
  EF_RETURN_IF_ERROR(node.CheckOutputs(3));
  EF_ASSIGN_OR_RETURN(Common common, ReadCommon(node, {{UnaryKind::kSigmoid}, {UnaryKind::kTanh}, {UnaryKind::kTanh}}));
  EF_ASSIGN_OR_RETURN(const bool input_forget, node.Flag("input_forget", false));
  return FinishRecurrent(
      node, runtime::Lstm{common.direction, common.hidden, common.clip, input_forget, std::move(common.activations)},
      common.batch_first, 2);
}

Status ImportGru(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 6));
  EF_RETURN_IF_ERROR(node.CheckOutputs(2));
  EF_ASSIGN_OR_RETURN(Common common, ReadCommon(node, {{UnaryKind::kSigmoid}, {UnaryKind::kTanh}}));
  EF_ASSIGN_OR_RETURN(const bool before, node.Flag("linear_before_reset", false));
  return FinishRecurrent(node,
                         runtime::Gru{common.direction, common.hidden, common.clip, before, std::move(common.activations)},
                         common.batch_first, 1);
}

Status ImportRnn(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 6));
  EF_RETURN_IF_ERROR(node.CheckOutputs(2));
  EF_ASSIGN_OR_RETURN(Common common, ReadCommon(node, {{UnaryKind::kTanh}}));
  return FinishRecurrent(node, runtime::Rnn{common.direction, common.hidden, common.clip, std::move(common.activations)},
                         common.batch_first, 1);
}

constexpr const char* kLimits = "activations without Affine and ScaledTanh";

constexpr std::array kOperators{
    OnnxOperator{"GRU", ImportGru, kLimits},
    OnnxOperator{"LSTM", ImportLstm, kLimits},
    OnnxOperator{"RNN", ImportRnn, kLimits},
};

}  // namespace

std::span<const OnnxOperator> RecurrentOperators() { return kOperators; }

}  // namespace edgefleet::compiler
