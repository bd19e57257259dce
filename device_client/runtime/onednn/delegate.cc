#include "device_client/runtime/delegate.h"

#include "device_client/runtime/onednn/builder.h"

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
      program_.Run(stream_);
      return OkStatus();
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

  std::string operator()(const Conv2d& op) const {
    const auto& weights = In(1).shape;
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t window = (weights[i + 2] - 1) * op.dilations[i] + 1;
      if (op.pads[i] >= window || op.pads[i + 2] >= window) return "padding as wide as the window";
    }
    return {};
  }
  std::string operator()(const Pool2d& op) const {
    if (op.kind == Pool2d::Kind::kMax) return {};
    if (is_int8() && op.count_include_pad && ZeroPoint(In()) != 0)
      return "an int8 average that counts padding, with a zero point";
    return Average();
  }
  std::string operator()(const GlobalAveragePool&) const { return Average(); }
  std::string operator()(const Relu&) const { return is_int8() ? "an int8 ReLU of its own (fused ones run)" : ""; }
  std::string operator()(const FullyConnected&) const { return {}; }
  std::string operator()(const Add&) const { return {}; }
  std::string operator()(const Flatten&) const { return {}; }
  std::string operator()(const Softmax&) const { return {}; }
  std::string operator()(const Quantize&) const { return {}; }
  std::string operator()(const Dequantize&) const { return {}; }
  template <typename Op>
  std::string operator()(const Op&) const {
    return "not among the operators of this delegate";
  }
};

class OneDnn final : public Delegate {
 public:
  std::string_view name() const override { return "onednn"; }
  Support Supports(const Node& node, const Graph& graph) const override {
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
