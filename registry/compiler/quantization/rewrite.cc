#include "registry/compiler/quantization/rewrite.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/validate.h"
#include "registry/compiler/quantization/constants.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::kAbsent;
using runtime::Node;
using runtime::Quantization;
using runtime::Tensor;
using runtime::TensorId;

constexpr float kConcatRatioMax = 4;
constexpr float kActivationScaleMax = 0x1p30F;  // ScaleOf() has the other end

// What holds an activation's values.
enum Form : std::size_t { kFloat, kHalf, kByte };
constexpr std::array<std::string_view, 3> kSuffix{"", "_bf16", "_int8"};

Form FormOf(Precision precision) {
  return precision == Precision::kInt8 ? kByte : precision == Precision::kBf16 ? kHalf : kFloat;
}

bool IsConcat(const Node& node) { return std::holds_alternative<runtime::Concat>(node.op); }

// int8 Pad fills with what stands for zero only if no value is given.
bool Moves(const Node& node) {
  if (std::holds_alternative<runtime::Pad>(node.op)) return node.inputs.size() < 3 || node.inputs[2] == kAbsent;
  return runtime::MovesElements(node.op);
}

// How many of the first inputs hold the elements that an operator moves.
std::size_t MovedInputs(const Node& node) { return IsConcat(node) ? node.inputs.size() : 1; }

// Ranges such that what shares a quantization shares a range.
class SharedRanges {
 public:
  SharedRanges(const runtime::Graph& graph, std::span<const ActivationRange> ranges)
      : ranges_(ranges.begin(), ranges.end()), leader_(ranges.size()) {
    if (ranges.empty()) return;  // nothing was calibrated, so nothing becomes int8
    std::iota(leader_.begin(), leader_.end(), std::size_t{0});
    for (const Node& node : graph.nodes) {
      if (!Moves(node)) continue;
      for (std::size_t i = 0; i < MovedInputs(node); ++i) {
        for (const TensorId output : node.outputs) {
          if (output == kAbsent || graph.tensor(node.inputs[i]).is_constant()) continue;
          if (!IsConcat(node) || Fits(ranges[Index(node.inputs[i])], ranges[Index(output)])) Join(node.inputs[i], output);
        }
      }
    }
  }
  ActivationRange Of(TensorId id) { return ranges_[Leader(static_cast<std::size_t>(id))]; }

 private:
  static std::size_t Index(TensorId id) { return static_cast<std::size_t>(id); }
  // Whether a part of a Concat keeps most of its levels in the range of the whole. Else it is requantized, and its other
  // readers see it as it was.
  static bool Fits(ActivationRange part, ActivationRange whole) {
    return whole.max - whole.min <= kConcatRatioMax * (part.max - part.min);
  }
  std::size_t Leader(std::size_t i) {
    while (leader_[i] != i) i = leader_[i] = leader_[leader_[i]];
    return i;
  }
  void Join(TensorId a, TensorId b) {
    const std::size_t into = Leader(static_cast<std::size_t>(a));
    const std::size_t from = Leader(static_cast<std::size_t>(b));
    ranges_[into] = {std::min(ranges_[into].min, ranges_[from].min), std::max(ranges_[into].max, ranges_[from].max)};
    leader_[from] = into;
  }

  std::vector<ActivationRange> ranges_;
  std::vector<std::size_t> leader_;
};

class Rewriter {
 public:
  explicit Rewriter(const RewriteInput& input)
      : input_(input),
        fp32_(input.fp32),
        ranges_(fp32_, input.ranges),
        builder_(fp32_.name),
        forms_(fp32_.tensors.size(), {kAbsent, kAbsent, kAbsent}) {
    builder_.Keep(fp32_.storage);
    if (input.former == nullptr) return;
    for (const Tensor& tensor : input.former->tensors) former_.emplace(tensor.name, &tensor);
  }

  Result<QuantizedGraph> Run() {
    for (const TensorId id : fp32_.inputs) {
      forms_[Index(id)][kFloat] = builder_.AddInput(At(id).name, At(id).type, At(id).shape, At(id).quantization);
    }
    for (const runtime::DynamicDimension& dimension : fp32_.dynamic) builder_.AddDynamic(dimension);
    for (std::size_t i = 0; i < fp32_.nodes.size(); ++i) {
      index_ = i;
      out_.nodes.emplace_back();
      out_.weights.emplace_back();
      Status added = AddNode(fp32_.nodes[i]);
      if (!added.ok()) return MakeError(std::move(added).Annotate("node '" + fp32_.nodes[i].name + "'"));
    }
    std::vector<runtime::FoldingBuilder::Output> outputs;
    for (const TensorId id : fp32_.outputs) {
      EF_ASSIGN_OR_RETURN(const TensorId real, In(id, kFloat));
      outputs.push_back({real, At(id).name});
    }
    out_.graph = std::move(builder_).Finish(std::move(outputs));
    return std::move(out_);
  }

 private:
  static std::size_t Index(TensorId id) { return static_cast<std::size_t>(id); }
  const Tensor& At(TensorId id) const { return fp32_.tensor(id); }
  NodeQuantization& quantization() { return out_.nodes.back(); }
  bool Has(TensorId id, Form form) const { return forms_[Index(id)][form] != kAbsent; }

  const Tensor* Former(const std::string& name, DataType type, const std::vector<std::int64_t>& shape) const {
    const auto found = former_.find(name);
    if (found == former_.end() || found->second->type != type || found->second->shape != shape) return nullptr;
    return found->second;
  }

  Result<AffineScale> ScaleFor(TensorId id) {
    const Tensor* former = Former(At(id).name + std::string(kSuffix[kByte]), DataType::kInt8, At(id).shape);
    if (former != nullptr && former->quantization && former->quantization->scales.size() == 1) {
      return AffineScale{former->quantization->scales[0], runtime::ZeroPoint(*former)};
    }
    ActivationRange range = ranges_.Of(id);
    if (At(id).is_constant()) {
      const auto [low, high] = std::ranges::minmax(Floats(At(id)));
      range = {low, high};
    }
    const AffineScale scale = ScaleOf(range);
    if (scale.scale > kActivationScaleMax || !std::isfinite(scale.scale)) {
      return InvalidArgument("BAD_CALIBRATION", "'" + At(id).name + "' takes values too large for int8; normalize the network");
    }
    return scale;
  }

  AffineScale ScaleOfByte(TensorId quantized) const {
    return {builder_.At(quantized).quantization->scales[0], runtime::ZeroPoint(builder_.At(quantized))};
  }

  static Quantization Whole(AffineScale scale) { return {{scale.scale}, {scale.zero_point}, -1}; }

  Result<TensorId> Add(const std::string& name, QuantizedConstant constant, const std::vector<std::int64_t>& shape) {
    return builder_.AddConstant(name, constant.type, shape, constant.data, std::move(constant.quantization));
  }

  // A tensor of the fp32 graph in a form; converted if it has not got it yet.
  Result<TensorId> In(TensorId id, Form form) {
    TensorId& known = forms_[Index(id)][form];
    if (known != kAbsent) return known;
    const std::string name = At(id).name + std::string(kSuffix[form]);
    if (At(id).is_constant()) {
      if (form == kFloat) return known = builder_.AddBorrowed(At(id));
      if (form == kHalf) {
        EF_ASSIGN_OR_RETURN(known, Add(name, QuantizeHalf(At(id), DataType::kBFloat16), At(id).shape));
        return known;
      }
      EF_ASSIGN_OR_RETURN(const AffineScale scale, ScaleFor(id));
      EF_ASSIGN_OR_RETURN(known, Add(name, QuantizeOperand(At(id), scale), At(id).shape));
      return known;
    }
    if (form == kFloat) {
      const bool byte = Has(id, kByte);
      const runtime::Operator op = byte ? runtime::Operator(runtime::Dequantize{}) : runtime::Operator(runtime::Cast{});
      return Convert(name + (byte ? "_dequantize" : "_cast"), op, forms_[Index(id)][byte ? kByte : kHalf], name, known);
    }
    EF_ASSIGN_OR_RETURN(const TensorId real, In(id, kFloat));
    if (form == kHalf) return Convert(name + "_cast", runtime::Cast{DataType::kBFloat16}, real, name, known);
    EF_ASSIGN_OR_RETURN(const AffineScale scale, ScaleFor(id));
    return Convert(At(id).name + "_quantize", runtime::Quantize{}, real, name, known, Whole(scale));
  }

  Result<TensorId> Convert(std::string node, runtime::Operator op, TensorId from, std::string name, TensorId& known,
                           std::optional<Quantization> to = std::nullopt) {
    EF_ASSIGN_OR_RETURN(const auto ids,
                        builder_.AddNode(std::move(node), std::move(op), {from}, {std::move(name)}, std::move(to)));
    return known = ids[0];
  }

  bool IsFloat(TensorId id) const { return id != kAbsent && At(id).type == DataType::kFloat32; }

  // The form in which an operator without weights runs: what its activations already are.
  Form FormFor(const Node& node) const {
    const bool moves = Moves(node);
    if (!moves && !FollowsItsInputs(node.op)) return kFloat;
    if (!std::ranges::all_of(node.outputs, [&](TensorId id) { return id == kAbsent || IsFloat(id); })) return kFloat;
    const Form asked = FormOf(input_.precisions[index_]);
    for (const Form form : {kByte, kHalf}) {
      if (!moves && form != asked) continue;
      const auto first = node.inputs.begin();
      const auto last = moves ? first + static_cast<std::ptrdiff_t>(MovedInputs(node)) : node.inputs.end();
      if (std::any_of(first, last, [&](TensorId id) { return id != kAbsent && Has(id, form); })) return form;
    }
    return kFloat;
  }

  bool MultipliesActivations(const Node& node) const {
    return std::holds_alternative<runtime::MatMul>(node.op) &&
           std::ranges::all_of(node.inputs, [&](TensorId id) { return IsFloat(id) && !At(id).is_constant(); }) &&
           At(node.inputs[0]).shape.back() <= runtime::kInt8ReductionMax;
  }

  Status AddNode(const Node& node) {
    const Precision precision = input_.precisions[index_];
    if (const auto layer = WeightedLayerOf(fp32_, node); layer && precision != Precision::kFp32) return AddLayer(node, *layer);
    if (IsEmbedding(fp32_, node) && FormOf(precision) == kByte) return AddEmbedding(node);
    const Form form = MultipliesActivations(node) ? FormOf(precision) : FormFor(node);
    if (form != kFloat) quantization().precision = form == kByte ? Precision::kInt8 : Precision::kBf16;
    std::vector<TensorId> inputs;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId id = node.inputs[i];
      // Indices, sizes and what else is not moved stay as they are.
      const bool converts = form != kFloat && IsFloat(id) && (!Moves(node) || i < MovedInputs(node));
      inputs.push_back(kAbsent);
      if (id != kAbsent) {
        EF_ASSIGN_OR_RETURN(inputs.back(), In(id, converts ? form : kFloat));
      }
    }
    if (form == kByte && IsConcat(node)) EF_RETURN_IF_ERROR(Align(node, inputs));
    return Emit(node, node.op, std::move(inputs), form);
  }

  // Brings the inputs of a Concat to one quantization, where sharing a range has not: that of the output.
  Status Align(const Node& node, std::vector<TensorId>& inputs) {
    EF_ASSIGN_OR_RETURN(const AffineScale scale, ScaleFor(node.outputs[0]));
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Quantization wanted = Whole(scale);
      if (*builder_.At(inputs[i]).quantization == wanted) continue;
      const std::string name = At(node.inputs[i]).name + "_requantized" + std::to_string(index_);
      EF_ASSIGN_OR_RETURN(const auto ids, builder_.AddNode(name, runtime::Quantize{}, {inputs[i]}, {name}, wanted));
      inputs[i] = ids[0];
    }
    return OkStatus();
  }

  // Appends the node; its float outputs are in `form`.
  Status Emit(const Node& node, runtime::Operator op, std::vector<TensorId> inputs, Form form) {
    std::vector<std::string> names;
    for (const TensorId id : node.outputs) {
      names.push_back(id == kAbsent ? "" : At(id).name + std::string(kSuffix[IsFloat(id) ? form : kFloat]));
    }
    // Of a network that came quantized.
    std::optional<Quantization> to;
    if (node.outputs[0] != kAbsent) to = At(node.outputs[0]).quantization;
    if (form == kByte) {
      AffineScale scale = ScaleOfByte(inputs[0]);
      if (!Moves(node)) {
        EF_ASSIGN_OR_RETURN(scale, ScaleFor(node.outputs[0]));
      }
      quantization().output = scale;
      to = Whole(scale);
    }
    EF_ASSIGN_OR_RETURN(const auto ids,
                        builder_.AddNode(node.name, std::move(op), std::move(inputs), std::move(names), std::move(to)));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (node.outputs[i] != kAbsent) forms_[Index(node.outputs[i])][IsFloat(node.outputs[i]) ? form : kFloat] = ids[i];
    }
    return OkStatus();
  }

  void Note(Precision precision, const Tensor& weights, const QuantizedConstant& constant) {
    NodeQuantization& node = quantization();
    node.precision = precision;
    meter_.Add(Floats(weights), constant.real);
    node.weight_error = meter_.Measures();
    node.weight_bytes += constant.data.size();
    if (out_.weights.back().empty()) out_.weights.back() = constant.real;
  }

  Status AddEmbedding(const Node& node) {
    meter_ = {};
    const Tensor& table = At(node.inputs[0]);
    EF_ASSIGN_OR_RETURN(const AffineScale scale, ScaleFor(node.inputs[0]));
    QuantizedConstant constant = QuantizeOperand(table, scale);
    Note(Precision::kInt8, table, constant);
    EF_ASSIGN_OR_RETURN(const TensorId indices, In(node.inputs[1], kFloat));
    EF_ASSIGN_OR_RETURN(const TensorId bytes, Add(table.name, std::move(constant), table.shape));
    return Emit(node, node.op, {bytes, indices}, kByte);
  }

  Status AddLayer(const Node& node, const WeightedLayer& layer) {
    meter_ = {};
    Precision precision = input_.precisions[index_];
    const std::vector<float> bias = BiasOf(node, layer);
    if (precision == Precision::kInt8 && layer.int8_arithmetic) return AddInt8Layer(node, layer, bias);
    if (precision == Precision::kInt8) precision = Precision::kInt8Weights;
    // Recurrent ones have no bf16 arithmetic: their weights alone are narrow.
    const Form form = layer.weights.size() == 1 ? FormOf(precision) : kFloat;
    std::vector<TensorId> inputs(node.inputs.size(), kAbsent);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId id = node.inputs[i];
      if (id == kAbsent) continue;
      if (std::ranges::find(layer.weights, i) != layer.weights.end()) {
        QuantizedConstant constant = QuantizeWeights(
            At(id), layer, precision, input_.per_tensor_weights, input_.group_size,
            Former(At(id).name, precision == Precision::kInt4 ? DataType::kInt4 : DataType::kInt8, At(id).shape));
        Note(precision, At(id), constant);
        EF_ASSIGN_OR_RETURN(inputs[i], Add(At(id).name, std::move(constant), At(id).shape));
      } else if (layer.bias != i) {
        EF_ASSIGN_OR_RETURN(inputs[i], In(id, IsFloat(id) ? form : kFloat));
      }
    }
    EF_RETURN_IF_ERROR(AddBias(node, layer, bias, inputs));
    return Emit(node, node.op, std::move(inputs), form);
  }

  // The bias with the correction; empty without both.
  std::vector<float> BiasOf(const Node& node, const WeightedLayer& layer) const {
    std::vector<float> bias;
    if (layer.bias && *layer.bias < node.inputs.size() && node.inputs[*layer.bias] != kAbsent) {
      const auto values = Floats(At(node.inputs[*layer.bias]));
      bias.assign(values.begin(), values.end());
    }
    if (!layer.bias || input_.shifts.empty() || input_.shifts[index_].empty()) return bias;
    const std::vector<float>& shift = input_.shifts[index_];
    bias.resize(shift.size(), 0);
    for (std::size_t i = 0; i < bias.size(); ++i) bias[i] -= shift[i];
    return bias;
  }

  std::string BiasName(const Node& node, const WeightedLayer& layer) const {
    const bool has = *layer.bias < node.inputs.size() && node.inputs[*layer.bias] != kAbsent;
    return has ? At(node.inputs[*layer.bias]).name : At(node.inputs[1]).name + "_bias";
  }

  Status AddBias(const Node& node, const WeightedLayer& layer, const std::vector<float>& bias, std::vector<TensorId>& inputs) {
    if (bias.empty()) return OkStatus();
    inputs.resize(std::max(inputs.size(), *layer.bias + 1), kAbsent);
    EF_ASSIGN_OR_RETURN(inputs[*layer.bias],
                        builder_.AddConstant(BiasName(node, layer), DataType::kFloat32,
                                             {static_cast<std::int64_t>(bias.size())}, std::as_bytes(std::span(bias))));
    return OkStatus();
  }

  // Weights and bias depend on the input's scale, so every reader of shared weights gets its own.
  Status AddInt8Layer(const Node& node, const WeightedLayer& layer, const std::vector<float>& bias) {
    const std::size_t at = layer.weights[0];
    const Tensor& weights = At(node.inputs[at]);
    EF_ASSIGN_OR_RETURN(const TensorId x, In(node.inputs[1 - at], kByte));
    const float input_scale = ScaleOfByte(x).scale;
    EF_ASSIGN_OR_RETURN(QuantizedConstant constant,
                        QuantizeInt8Weights(weights, layer, input_.per_tensor_weights, bias, input_scale,
                                            Former(weights.name, DataType::kInt8, weights.shape)));
    Note(Precision::kInt8, weights, constant);
    std::vector<TensorId> inputs{x, x};
    std::optional<QuantizedConstant> q_bias;
    if (!bias.empty()) q_bias = QuantizeBias(bias, input_scale, constant.quantization->scales);
    EF_ASSIGN_OR_RETURN(inputs[at], Add(weights.name, std::move(constant), weights.shape));
    if (q_bias) {
      EF_ASSIGN_OR_RETURN(const TensorId id,
                          Add(BiasName(node, layer), std::move(*q_bias), {static_cast<std::int64_t>(bias.size())}));
      inputs.push_back(id);
    }
    // Emit() reads the scale of a moved input only.
    return Emit(node, node.op, std::move(inputs), kByte);
  }

  const RewriteInput& input_;
  const runtime::Graph& fp32_;
  SharedRanges ranges_;
  runtime::FoldingBuilder builder_;
  std::vector<std::array<TensorId, 3>> forms_;  // by the fp32 graph's TensorId, then by Form
  std::map<std::string, const Tensor*> former_;
  QuantizedGraph out_;
  ErrorMeter meter_;  // of the node's weights so far
  std::size_t index_ = 0;
};

}  // namespace

Result<QuantizedGraph> Rewrite(const RewriteInput& input) { return Rewriter(input).Run(); }

}  // namespace edgefleet::compiler
