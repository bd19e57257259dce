#include "device_client/runtime/onednn/objection.h"

#include <algorithm>

#include "device_client/runtime/onednn/eltwise.h"
#include "device_client/runtime/onednn/program.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime::onednn {
namespace {

// Whether bf16 primitives exist for this processor.
bool ComputesBf16() {
  Engine();  // sets the limit that the answer depends on
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  return isa == dnnl::cpu_isa::avx512_core || isa == dnnl::cpu_isa::avx512_core_vnni || isa == dnnl::cpu_isa::avx512_core_bf16;
}

struct Operands {
  const Node& node;
  const Graph& graph;

  bool Has(std::size_t i) const { return i < node.inputs.size() && node.inputs[i] != kAbsent; }
  const Tensor& In(std::size_t i = 0) const { return graph.tensor(node.inputs[i]); }
  const Tensor& Out() const { return graph.tensor(node.outputs[0]); }

  // Of Conv2d and ConvTranspose2d.
  std::string Padding(const auto& op) const {
    const auto& weights = In(1).shape;
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t window = (weights[i + 2] - 1) * op.dilations[i] + 1;
      if (op.pads[i] >= window || op.pads[i + 2] >= window) return "padding as wide as the window";
    }
    return {};
  }
  bool IsGlobalAverage(const Reduce& op) const {
    return op.kind == ReduceKind::kMean && op.keep_dims && In().shape.size() == 4 && op.axes == std::vector<std::int64_t>{2, 3};
  }
};

struct OfFloats : Operands {
  static std::string Type(const Tensor& tensor) {
    static const bool bf16 = ComputesBf16();
    if (tensor.type == DataType::kFloat32 || (tensor.type == DataType::kBFloat16 && bf16)) return {};
    return "arithmetic in " + std::string(DataTypeName(tensor.type));
  }
  // Of inputs `first` and on: fp32 or bf16 activations, or constants that can be widened.
  std::string Parameters(std::size_t first) const {
    for (std::size_t i = first; i < node.inputs.size(); ++i) {
      if (!Has(i) || (In(i).is_constant() && CanWiden(In(i)))) continue;
      if (std::string reason = Type(In(i)); !reason.empty()) return reason;
    }
    return {};
  }
  static std::string Fused(const Activation& activation) {
    return HasEltwise(activation) ? "" : "an activation without an algorithm";
  }
  std::string First(std::initializer_list<std::string> reasons) const {
    for (const std::string& reason : reasons) {
      if (!reason.empty()) return reason;
    }
    return {};
  }

  std::string operator()(const Conv2d& op) const {
    return First({Type(In()), Parameters(1), Fused(op.activation), Padding(op)});
  }
  std::string operator()(const ConvTranspose2d& op) const {
    if (op.output_pads[0] > op.pads[2] || op.output_pads[1] > op.pads[3]) return "output that no input reaches";
    return First({Type(In()), Parameters(1), Fused(op.activation), Padding(op)});
  }
  std::string operator()(const FullyConnected& op) const { return First({Type(In()), Parameters(1), Fused(op.activation)}); }
  std::string operator()(const MatMul&) const { return First({Type(Out()), Parameters(0)}); }

  template <typename Op>
  std::string Recurrent(const Op& op, const std::vector<UnaryKind>& kinds) const {
    if (op.clip != 0 || Has(4)) return "clipping, or lengths of sequences";
    for (std::size_t i = 0; i < op.activations.size(); ++i) {
      if (op.activations[i].kind != kinds[i % kinds.size()]) return "activations but the usual ones";
    }
    for (const std::size_t i : {1, 2, 3, 7}) {
      if (Has(i) && !In(i).is_constant()) return "weights that are no constants";
    }
    return First({Type(In()), Parameters(1)});
  }
  std::string operator()(const Lstm& op) const {
    if (op.input_forget) return "a forget gate coupled to the input gate";
    return Recurrent(op, {UnaryKind::kSigmoid, UnaryKind::kTanh, UnaryKind::kTanh});
  }
  std::string operator()(const Gru& op) const { return Recurrent(op, {UnaryKind::kSigmoid, UnaryKind::kTanh}); }
  std::string operator()(const Rnn& op) const {
    const UnaryKind kind = op.activations[0].kind;
    const bool known = kind == UnaryKind::kTanh || kind == UnaryKind::kRelu || kind == UnaryKind::kSigmoid;
    return known ? Recurrent(op, {kind}) : "activations but the usual ones";
  }

  std::string operator()(const Pool2d& op) const {
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t size = In().shape[i + 2];
      const std::int64_t extent = (op.kernel[i] - 1) * op.dilations[i] + 1;
      const std::int64_t beyond = (Out().shape[i + 2] - 1) * op.strides[i] + extent - op.pads[i] - size;
      if (op.dilations[i] > 1 && size < op.dilations[i]) return "windows whose taps lie around the image";
      if (beyond > op.pads[i + 2] && (op.count_include_pad || beyond >= extent))
        return "a last window that ends beyond the padding";
    }
    return Type(In());
  }
  std::string operator()(const Reduce& op) const {
    return IsGlobalAverage(op) ? Type(In()) : "a reduction but the mean of each channel";
  }
  std::string operator()(const BatchNorm&) const { return First({Type(In()), Parameters(1)}); }
  std::string operator()(const GroupNorm&) const { return First({Type(In()), Parameters(1)}); }
  std::string operator()(const LayerNorm& op) const {
    const auto& shape = In().shape;
    std::int64_t inner = 1;
    for (auto i = static_cast<std::size_t>(op.axis < 0 ? op.axis + static_cast<int>(shape.size()) : op.axis); i < shape.size();
         ++i) {
      inner *= shape[i];
    }
    for (std::size_t i = 1; i < 3; ++i) {
      if (Has(i) && ElementCount(In(i).shape) != inner) return "scales that are broadcast";
    }
    for (std::size_t i = 1; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != kAbsent) return "statistics as outputs";
    }
    return First({Type(In()), Parameters(1)});
  }
  std::string operator()(const Lrn& op) const {
    return op.size % 2 == 1 && op.size <= In().shape[1] ? Type(In())
                                                        : "a window that is not centered, or wider than the channels";
  }
  std::string operator()(const Softmax&) const { return Type(In()); }

  // oneDNN's resampling looks at pixel centers and scales by the quotient of sizes.
  std::string operator()(const Resize& op) const {
    const auto& x = In().shape;
    const auto& y = Out().shape;
    if (x.size() < 3 || x.size() > 5 || x[0] != y[0] || x[1] != y[1]) return "resizing but of the last dimensions of images";
    if (!Exact(op)) return "resizing by another factor than that of the sizes";
    using Coordinates = Resize::Coordinates;
    const bool centers =
        op.coordinates == Coordinates::kHalfPixel || op.coordinates == Coordinates::kHalfPixelSymmetric ||
        (op.coordinates == Coordinates::kPytorchHalfPixel && std::ranges::count(y.begin() + 2, y.end(), 1) == 0);
    bool smaller = false;
    bool multiples = true;
    for (std::size_t i = 2; i < x.size(); ++i) {
      smaller = smaller || y[i] < x[i];
      multiples = multiples && y[i] % x[i] == 0;
    }
    if (op.mode == Resize::Mode::kLinear && centers && !(op.antialias && smaller) && !op.exclude_outside) return Type(In());
    const bool rounded = op.nearest == Resize::Nearest::kRoundPreferFloor || op.nearest == Resize::Nearest::kRoundPreferCeil;
    const bool nearest =
        (centers && rounded) || (op.coordinates == Coordinates::kAsymmetric && op.nearest == Resize::Nearest::kFloor);
    if (op.mode == Resize::Mode::kNearest && multiples && nearest) return Type(In());
    return "this mode of resizing";
  }
  bool Exact(const Resize& op) const {
    if (Has(3) && ElementCount(In(3).shape) > 0) return op.aspect_ratio == Resize::AspectRatio::kStretch;
    if (!Has(2) || !In(2).is_constant() || In(2).type != DataType::kFloat32) return false;
    const auto* scales = reinterpret_cast<const float*>(In(2).data.data());
    const auto rank = static_cast<std::int64_t>(In().shape.size());
    for (std::int64_t i = 0; i < ElementCount(In(2).shape); ++i) {
      const std::int64_t axis = op.axes.empty() ? i : (op.axes[static_cast<std::size_t>(i)] + rank) % rank;
      const auto size = static_cast<double>(In().shape[static_cast<std::size_t>(axis)]);
      if (size * static_cast<double>(scales[i]) != static_cast<double>(Out().shape[static_cast<std::size_t>(axis)]))
        return false;
    }
    return true;
  }

  std::string operator()(const Unary& op) const {
    if (op.function.kind == UnaryKind::kIdentity) return "nothing to compute";
    return First({Type(In()), Fused(op.function)});
  }
  std::string operator()(const Binary& op) const {
    const auto& y = Out().shape;
    const bool commutes = op.kind == BinaryKind::kAdd || op.kind == BinaryKind::kMul || op.kind == BinaryKind::kMin ||
                          op.kind == BinaryKind::kMax;
    if (!commutes && op.kind != BinaryKind::kSub && op.kind != BinaryKind::kDiv)
      return "a function of two values without an algorithm";
    if (y.empty() || (In(0).shape != y && !(commutes && In(1).shape == y))) return "two operands that are broadcast";
    return First({Type(In(0)), Type(In(1)), Fused(op.activation)});
  }

  template <typename Op>
  std::string operator()(const Op&) const {
    return "not among the fp32 and bf16 primitives";
  }
};

struct OfInt8 : Operands {
  static bool IsInt8(const Tensor& tensor) { return tensor.type == DataType::kInt8 && tensor.quantization; }
  static std::string Type(const Tensor& tensor) {
    return IsInt8(tensor) ? "" : "arithmetic in " + std::string(DataTypeName(tensor.type));
  }
  std::string Average() const {
    if (In().quantization->scales == Out().quantization->scales && ZeroPoint(In()) == ZeroPoint(Out())) return {};
    return "an int8 average that changes its quantization";
  }
  std::string Weighted(const Activation& activation) const {
    if (!IsInt8(In())) return Type(In());
    if (Has(2) && !In(2).is_constant()) return "a bias that is no constant";
    const bool simple = activation.kind == UnaryKind::kIdentity || activation.kind == UnaryKind::kRelu;
    return simple ? "" : "a fused activation but ReLU";
  }

  std::string operator()(const Conv2d& op) const {
    const std::string reason = Weighted(op.activation);
    return reason.empty() ? Padding(op) : reason;
  }
  std::string operator()(const FullyConnected& op) const {
    return In().shape.size() == 2 ? Weighted(op.activation) : "features of more than 2 dimensions";
  }
  std::string operator()(const Pool2d& op) const {
    if (!IsInt8(In())) return Type(In());
    if (op.dilations != std::array{1, 1} || op.ceil) return "pooling with dilations or rounding up";
    if (op.kind == Pool2d::Kind::kMax) return {};
    if (op.count_include_pad && ZeroPoint(In()) != 0) return "an int8 average that counts padding, with a zero point";
    return Average();
  }
  std::string operator()(const Reduce& op) const {
    if (!IsInt8(In())) return Type(In());
    return IsGlobalAverage(op) ? Average() : "a reduction but the mean of each channel";
  }
  std::string operator()(const Binary& op) const {
    const bool sum = op.kind == BinaryKind::kAdd && In(0).shape == In(1).shape &&
                     (op.activation.kind == UnaryKind::kIdentity || op.activation.kind == UnaryKind::kRelu);
    return sum ? Type(In()) : "a function of two int8 values but their sum";
  }
  std::string operator()(const Quantize& op) const {
    const bool plain = In().type == DataType::kFloat32 && op.to == DataType::kInt8 && Out().quantization->axis < 0;
    return plain ? "" : "quantization but of fp32 to int8 as a whole";
  }
  std::string operator()(const Dequantize&) const {
    const bool plain = IsInt8(In()) && In().quantization->axis < 0 && !In().is_constant();
    return plain ? "" : "dequantization but of int8 as a whole";
  }
  std::string operator()(const Reshape&) const { return {}; }
  std::string operator()(const Squeeze&) const { return {}; }
  std::string operator()(const Unsqueeze&) const { return {}; }
  std::string operator()(const Flatten&) const { return {}; }

  template <typename Op>
  std::string operator()(const Op&) const {
    return "not among the int8 primitives";
  }
};

template <typename Op>
inline constexpr bool kComputesMuch =
    std::is_same_v<Op, Conv2d> || std::is_same_v<Op, ConvTranspose2d> || std::is_same_v<Op, FullyConnected> ||
    std::is_same_v<Op, MatMul> || std::is_same_v<Op, Lstm> || std::is_same_v<Op, Gru> || std::is_same_v<Op, Rnn> ||
    std::is_same_v<Op, Pool2d> || std::is_same_v<Op, BatchNorm> || std::is_same_v<Op, GroupNorm> ||
    std::is_same_v<Op, LayerNorm> || std::is_same_v<Op, Lrn> || std::is_same_v<Op, Softmax> || std::is_same_v<Op, Resize>;

}  // namespace

std::string FloatObjection(const Node& node, const Graph& graph) { return std::visit(OfFloats{{node, graph}}, node.op); }

std::string Int8Objection(const Node& node, const Graph& graph) { return std::visit(OfInt8{{node, graph}}, node.op); }

std::string Objection(const Node& node, const Graph& graph) {
  const bool much = std::visit([]<typename Op>(const Op&) { return kComputesMuch<Op>; }, node.op);
  if (!much) return {};
  std::string reason = FloatObjection(node, graph);
  if (reason.empty() || graph.tensor(node.inputs[0]).type != DataType::kInt8) return reason;
  return Int8Objection(node, graph);
}

}  // namespace edgefleet::runtime::onednn
