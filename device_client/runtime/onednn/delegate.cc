#include "device_client/runtime/delegate.h"

#include "device_client/runtime/onednn/builder.h"
#include "device_client/runtime/onednn/eltwise.h"

namespace edgefleet::runtime {
namespace {

constexpr char kFailed[] = "DELEGATE_FAILED";

class OneDnnPartition final : public Partition {
 public:
  static Result<std::unique_ptr<Partition>> Compile(const PartitionSpec& spec) {
    std::unique_ptr<OneDnnPartition> partition(new OneDnnPartition(spec));
    EF_RETURN_IF_ERROR(onednn::Guard(kFailed, [&] { return partition->Build(); }));
    return partition;
  }

  Status Execute(BufferTable buffers) override {
    return onednn::Guard(kFailed, [&] {
      const onednn::ThreadScope threads(spec_.threads);
      for (const auto& [tensor, view] : bound_) program_.Bind(view, buffers[static_cast<std::size_t>(tensor)]);
      return program_.Run(stream_);
    });
  }

  std::size_t bytes() const override { return program_.bytes(); }

 private:
  explicit OneDnnPartition(const PartitionSpec& spec) : spec_(spec) {}

  Status Build() {
    const onednn::ThreadScope threads(spec_.threads);
    stream_ = dnnl::stream(onednn::Engine());
    bound_ = onednn::PartitionBuilder(spec_, program_).Build();
    return program_.Finalize(spec_.memory_bytes_max);
  }

  const PartitionSpec spec_;
  dnnl::stream stream_;
  onednn::Program program_;
  std::vector<onednn::BoundTensor> bound_;
};

// What oneDNN cannot do, or not with the reference's meaning.
struct Objection {
  const Node& node;
  const Graph& graph;

  const Tensor& In(std::size_t index = 0) const { return graph.tensors[static_cast<std::size_t>(node.inputs[index])]; }
  const Tensor& Out() const { return graph.tensors[static_cast<std::size_t>(node.outputs[0])]; }
  bool is_int8() const { return In().type == DataType::kInt8; }
  std::string Average() const {
    if (is_int8() && (In().quantization->scales != Out().quantization->scales || ZeroPoint(In()) != ZeroPoint(Out()))) {
      return "an int8 average that changes its quantization";
    }
    return {};
  }

  // fp32, or int8 quantized as graph.h says, with constant weights; in int8 with a ReLU at most.
  std::string Weighted(const Activation& activation) const {
    const DataType type = In().type;
    if (type != DataType::kFloat32 && type != DataType::kInt8) return "arithmetic in " + std::string(DataTypeName(type));
    if (!In(1).is_constant() || In(1).type != type) return "weights that are no constants of the activations' type";
    if (activation.kind == UnaryKind::kIdentity || activation.kind == UnaryKind::kRelu) return {};
    if (type == DataType::kInt8 || !onednn::EltwiseOf(activation)) return "a fused activation that oneDNN lacks";
    return {};
  }

  std::string operator()(const Conv2d& op) const {
    const auto& weights = In(1).shape;
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t window = (weights[i + 2] - 1) * op.dilations[i] + 1;
      if (op.pads[i] >= window || op.pads[i + 2] >= window) return "padding as wide as the window";
    }
    return Weighted(op.activation);
  }
  std::string operator()(const FullyConnected& op) const {
    return In().shape.size() == 2 ? Weighted(op.activation) : "features of more than 2 dimensions";
  }
  std::string operator()(const Pool2d& op) const {
    if (In().type != DataType::kFloat32 && !is_int8()) return "pooling of " + std::string(DataTypeName(In().type));
    if (op.dilations != std::array{1, 1} || op.ceil) return "pooling with dilations or rounding up";
    if (op.kind == Pool2d::Kind::kMax) return {};
    if (is_int8() && op.count_include_pad && ZeroPoint(In()) != 0)
      return "an int8 average that counts padding, with a zero point";
    return Average();
  }
  std::string operator()(const Reduce& op) const { return onednn::IsGlobalAverage(op, In()) ? Average() : std::string(); }
  std::string operator()(const Softmax& op) const {
    const auto last = static_cast<std::int32_t>(In().shape.size()) - 1;
    return In().type == DataType::kFloat32 && !op.log && (op.axis == -1 || op.axis == last) ? ""
                                                                                            : "softmax but over the last axis";
  }
  std::string operator()(const Quantize& op) const {
    const bool plain = In().type == DataType::kFloat32 && op.to == DataType::kInt8 && Out().quantization->axis < 0;
    return plain ? "" : "quantization but of fp32 to int8 as a whole";
  }
  std::string operator()(const Dequantize&) const {
    return is_int8() && In().quantization->axis < 0 && !In().is_constant() ? "" : "dequantization but of int8 as a whole";
  }
  std::string operator()(const ConvTranspose2d&) const { return kScalar; }
  std::string operator()(const MatMul&) const { return kScalar; }
  std::string operator()(const Lstm&) const { return kScalar; }
  std::string operator()(const Gru&) const { return kScalar; }
  std::string operator()(const Rnn&) const { return kScalar; }
  std::string operator()(const BatchNorm&) const { return kScalar; }
  std::string operator()(const GroupNorm&) const { return kScalar; }
  std::string operator()(const LayerNorm&) const { return kScalar; }
  std::string operator()(const Lrn&) const { return kScalar; }
  std::string operator()(const Resize&) const { return kScalar; }
  // What only moves elements or looks at each once runs inside the partition (PartitionBuilder::AddReference).
  template <typename Op>
  std::string operator()(const Op&) const {
    return {};
  }

  static constexpr const char* kScalar = "not among the operators of this delegate";
};

class OneDnn final : public Delegate {
 public:
  std::string_view name() const override { return "onednn"; }
  Support Supports(const Node& node, const Graph& graph) const override {
    if (onednn::KernelsRun(node, graph)) return {};
    std::string reason = std::visit(Objection{node, graph}, node.op);
    return {reason.empty(), std::move(reason)};
  }
  Result<std::unique_ptr<Partition>> Compile(const PartitionSpec& spec) const override {
    return OneDnnPartition::Compile(spec);
  }
};

}  // namespace

const Delegate& OneDnnDelegate() {
  static const OneDnn delegate;
  return delegate;
}

}  // namespace edgefleet::runtime
