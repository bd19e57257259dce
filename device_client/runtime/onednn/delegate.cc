#include "device_client/runtime/delegate.h"

#include "device_client/runtime/onednn/builder.h"
#include "device_client/runtime/onednn/objection.h"

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

class OneDnn final : public Delegate {
 public:
  std::string_view name() const override { return "onednn"; }
  Support Supports(const Node& node, const Graph& graph) const override {
    if (onednn::KernelsRun(node, graph)) return {};
    std::string reason = onednn::Objection(node, graph);
    return {reason.empty(), std::move(reason)};
  }
  Cost Estimate(const Node& node, const Graph& graph) const override {
    const bool int8 = !node.inputs.empty() && node.inputs[0] != kAbsent && graph.tensor(node.inputs[0]).type == DataType::kInt8;
    return Roofline(WorkOf(graph, node), int8 ? 120e9 : 40e9, 10e9);
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
