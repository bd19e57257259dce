#include "registry/compiler/quantize.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "device_client/runtime/validate.h"
#include "registry/compiler/graph_builder.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::Node;
using runtime::Tensor;
using runtime::TensorId;

// A device accepts scales from 2^-40 to 2^40; the activations' and weights' are kept where their product, the bias's scale,
// fits too.
constexpr float kActivationScaleMax = 0x1p30F;  // ScaleOf() has the other end
constexpr double kBiasScaleMin = 0x1p-40;
constexpr double kBiasScaleMax = 0x1p40;
constexpr double kBiasMax = 0x1p30;  // leaves the accumulator room

struct QuantizedWeights {
  std::vector<std::int8_t> values;
  std::vector<float> scales;
  std::optional<double> snr_db;
};

std::span<const float> Floats(const Tensor& tensor) {
  return {reinterpret_cast<const float*>(tensor.data.data()), tensor.data.size() / sizeof(float)};
}

// The scale of one output channel: its largest weight is 127; coarser only if the bias would not fit int32 otherwise.
float ChannelScale(std::span<const float> weights, double bias, double input_scale) {
  double scale = 0;
  for (const float w : weights) scale = std::max(scale, std::abs(double{w}) / 127);
  if (scale == 0) scale = 1;
  scale = std::max({scale, std::abs(bias) / (input_scale * kBiasMax), kBiasScaleMin / input_scale, kBiasScaleMin});
  return static_cast<float>(scale);
}

QuantizedWeights QuantizeWeights(const Tensor& weights, std::span<const float> bias, double input_scale) {
  const std::span<const float> values = Floats(weights);
  const auto channels = static_cast<std::size_t>(weights.shape[0]);
  const std::size_t slice = values.size() / channels;
  QuantizedWeights out;
  double signal = 0;
  double noise = 0;
  for (std::size_t c = 0; c < channels; ++c) {
    const auto channel = values.subspan(c * slice, slice);
    const float scale = ChannelScale(channel, bias.empty() ? 0 : bias[c], input_scale);
    out.scales.push_back(scale);
    for (const float w : channel) {
      const double q = std::clamp(std::nearbyint(double{w} / scale), -127.0, 127.0);
      out.values.push_back(static_cast<std::int8_t>(q));
      signal += double{w} * w;
      noise += (w - q * scale) * (w - q * scale);
    }
  }
  if (noise > 0) out.snr_db = 10 * std::log10(signal / noise);
  return out;
}

class Quantizer {
 public:
  Quantizer(const runtime::Graph& fp32, std::span<const ActivationRange> ranges)
      : fp32_(fp32), ranges_(ranges), builder_(fp32.name) {}

  Result<QuantizedGraph> Run() {
    for (const TensorId input : fp32_.inputs) {
      const TensorId id = builder_.AddActivation({.name = At(input).name, .shape = At(input).shape});
      builder_.graph().inputs.push_back(id);
      floats_.emplace(input, id);
    }
    for (const Node& node : fp32_.nodes) {
      nodes_.emplace_back();
      EF_RETURN_IF_ERROR(AddNode(node));
    }
    for (const TensorId output : fp32_.outputs) builder_.graph().outputs.push_back(Float(output));
    builder_.graph().dynamic = fp32_.dynamic;
    return QuantizedGraph{std::move(builder_).Finish(), std::move(nodes_)};
  }

 private:
  const Tensor& At(TensorId id) const { return fp32_.tensors[static_cast<std::size_t>(id)]; }

  bool RunsInInt8(const Node& node) const {
    if (std::holds_alternative<runtime::Softmax>(node.op)) return false;
    if (std::holds_alternative<runtime::Binary>(node.op)) return true;
    if (node.inputs.size() == 1) return int8s_.contains(node.inputs[0]);
    const Tensor& weights = At(node.inputs[1]);
    return runtime::ElementCount(weights.shape) / weights.shape[0] <= runtime::kInt8ReductionMax;
  }

  // The fp32 form of one of the fp32 graph's activations; dequantized if it has none yet.
  TensorId Float(TensorId id) {
    if (const auto found = floats_.find(id); found != floats_.end()) return found->second;
    const TensorId out = builder_.AddActivation({.name = At(id).name, .shape = At(id).shape});
    builder_.AddNode({At(id).name + "_dequantize", runtime::Dequantize{}, {int8s_.at(id)}, {out}});
    floats_.emplace(id, out);
    return out;
  }

  // The int8 form; quantized by its own range if it has none yet.
  Result<TensorId> Int8(TensorId id) {
    if (const auto found = int8s_.find(id); found != int8s_.end()) return found->second;
    EF_ASSIGN_OR_RETURN(const AffineScale scale, ScaleFor(id));
    const TensorId in = floats_.at(id);
    const TensorId out = AddInt8(id, scale);
    builder_.AddNode({At(id).name + "_quantize", runtime::Quantize{}, {in}, {out}});
    return out;
  }

  Result<AffineScale> ScaleFor(TensorId id) const {
    const AffineScale scale = ScaleOf(ranges_[static_cast<std::size_t>(id)]);
    if (scale.scale > kActivationScaleMax) {
      return InvalidArgument("BAD_CALIBRATION", "'" + At(id).name + "' takes values too large for int8; normalize the network");
    }
    return scale;
  }

  TensorId AddInt8(TensorId id, AffineScale scale) {
    const TensorId out = builder_.AddActivation({.name = At(id).name + "_int8",
                                                 .type = DataType::kInt8,
                                                 .shape = At(id).shape,
                                                 .quantization = runtime::Quantization{{scale.scale}, {scale.zero_point}, -1}});
    int8s_.emplace(id, out);
    return out;
  }

  AffineScale ScaleOfInt8(TensorId quantized) {
    const runtime::Quantization& q = *builder_.graph().tensors[static_cast<std::size_t>(quantized)].quantization;
    return {q.scales[0], q.zero_points[0]};
  }

  Status AddNode(const Node& node) {
    if (!RunsInInt8(node)) return AddFloatNode(node);
    nodes_.back().int8 = true;
    Node quantized{node.name, node.op, {}, {}};
    EF_ASSIGN_OR_RETURN(const TensorId x, Int8(node.inputs[0]));
    quantized.inputs = {x};
    const bool weighted = node.inputs.size() > 1 && At(node.inputs[1]).is_constant();
    AffineScale scale = ScaleOfInt8(x);  // kept by pooling, Flatten and Relu
    if (weighted) EF_RETURN_IF_ERROR(AddWeights(node, scale.scale, quantized));
    if (std::holds_alternative<runtime::Binary>(node.op)) {
      EF_ASSIGN_OR_RETURN(const TensorId other, Int8(node.inputs[1]));
      quantized.inputs.push_back(other);
    }
    if (node.inputs.size() > 1) {
      EF_ASSIGN_OR_RETURN(scale, ScaleFor(node.outputs[0]));
    }
    quantized.outputs = {AddInt8(node.outputs[0], scale)};
    nodes_.back().output = scale;
    builder_.AddNode(std::move(quantized));
    return OkStatus();
  }

  Status AddFloatNode(const Node& node) {
    Node copy{node.name, node.op, {}, {}};
    for (const TensorId input : node.inputs) {
      if (!At(input).is_constant()) {
        copy.inputs.push_back(Float(input));
        continue;
      }
      if (!floats_.contains(input)) {
        floats_.emplace(input, builder_.AddConstant({.name = At(input).name, .shape = At(input).shape}, At(input).data));
      }
      copy.inputs.push_back(floats_.at(input));
    }
    const TensorId out = builder_.AddActivation({.name = At(node.outputs[0]).name, .shape = At(node.outputs[0]).shape});
    floats_.emplace(node.outputs[0], out);
    copy.outputs = {out};
    builder_.AddNode(std::move(copy));
    return OkStatus();
  }

  // Weights and bias depend on the input's scale, so every reader of shared weights gets its own.
  Status AddWeights(const Node& node, float input_scale, Node& quantized) {
    const Tensor& weights = At(node.inputs[1]);
    const std::span<const float> bias = node.inputs.size() > 2 ? Floats(At(node.inputs[2])) : std::span<const float>();
    QuantizedWeights q = QuantizeWeights(weights, bias, input_scale);
    nodes_.back().weight_snr_db = q.snr_db;
    std::vector<float> bias_scales;
    std::vector<std::int32_t> bias_values;
    for (std::size_t c = 0; c < q.scales.size(); ++c) {
      const double scale = double{input_scale} * q.scales[c];
      if (scale > kBiasScaleMax || q.scales[c] > kBiasScaleMax)
        return InvalidArgument("BAD_CALIBRATION", "node '" + node.name + "' has weights too large for int8");
      bias_scales.push_back(std::max(static_cast<float>(scale), static_cast<float>(kBiasScaleMin)));
      if (!bias.empty()) bias_values.push_back(static_cast<std::int32_t>(std::nearbyint(bias[c] / scale)));
    }
    quantized.inputs.push_back(builder_.AddConstant({.name = weights.name,
                                                     .type = DataType::kInt8,
                                                     .shape = weights.shape,
                                                     .quantization = runtime::Quantization{std::move(q.scales), {}, 0}},
                                                    std::as_bytes(std::span(q.values))));
    if (bias.empty()) return OkStatus();
    quantized.inputs.push_back(builder_.AddConstant({.name = At(node.inputs[2]).name,
                                                     .type = DataType::kInt32,
                                                     .shape = At(node.inputs[2]).shape,
                                                     .quantization = runtime::Quantization{std::move(bias_scales), {}, 0}},
                                                    std::as_bytes(std::span(bias_values))));
    return OkStatus();
  }

  const runtime::Graph& fp32_;
  const std::span<const ActivationRange> ranges_;
  GraphBuilder builder_;
  std::vector<NodeQuantization> nodes_;
  std::map<TensorId, TensorId> floats_;  // of the fp32 graph -> of the new one
  std::map<TensorId, TensorId> int8s_;
};

}  // namespace

Result<QuantizedGraph> QuantizeGraph(const runtime::Graph& fp32, std::span<const ActivationRange> ranges) {
  return Quantizer(fp32, ranges).Run();
}

}  // namespace edgefleet::compiler
