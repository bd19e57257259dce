#include <algorithm>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/delegate.h"
#include "device_client/runtime/inference.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime {
namespace {

constexpr std::size_t kNever = static_cast<std::size_t>(-1);

class ReferencePartition final : public Partition {
 public:
  static Result<std::unique_ptr<Partition>> Compile(const PartitionSpec& spec) {
    auto partition = std::unique_ptr<ReferencePartition>(new ReferencePartition(spec));
    EF_RETURN_IF_ERROR(partition->PlanInternals());
    return partition;
  }

  Status Execute(BufferTable buffers) override {
    for (const TensorId id : spec_.inputs) table_[static_cast<std::size_t>(id)] = buffers[static_cast<std::size_t>(id)];
    for (const TensorId id : spec_.outputs) table_[static_cast<std::size_t>(id)] = buffers[static_cast<std::size_t>(id)];
    for (const std::size_t index : spec_.nodes) EF_RETURN_IF_ERROR(RunNode(spec_.graph->nodes[index]));
    return OkStatus();
  }

  std::size_t bytes() const override { return arena_.size(); }

 private:
  explicit ReferencePartition(const PartitionSpec& spec) : spec_(spec), table_(spec.graph->tensors.size(), nullptr) {}

  Status RunNode(const Node& node) {
    const Graph& graph = *spec_.graph;
    inputs_.clear();
    outputs_.clear();
    for (const TensorId id : node.inputs) {
      if (id == kAbsent) {
        inputs_.push_back({});
      } else {
        const Tensor& tensor = graph.tensor(id);
        inputs_.push_back({&tensor, tensor.is_constant() ? tensor.data.data() : table_[static_cast<std::size_t>(id)]});
      }
    }
    for (const TensorId id : node.outputs) {
      outputs_.push_back(id == kAbsent ? Destination{} : Destination{&graph.tensor(id), table_[static_cast<std::size_t>(id)]});
    }
    Status ran = RunOperator(node.op, {inputs_, outputs_});
    return ran.ok() ? ran : std::move(ran).Annotate(Describe(node));
  }

  // Gives memory to what the partition writes and nobody outside reads.
  Status PlanInternals() {
    const Graph& graph = *spec_.graph;
    std::vector<std::size_t> slot_of(graph.tensors.size(), kNever);
    std::vector<TensorId> internals;
    std::vector<Lifetime> lifetimes;
    for (std::size_t step = 0; step < spec_.nodes.size(); ++step) {
      const Node& node = graph.nodes[spec_.nodes[step]];
      for (const TensorId id : node.inputs) {
        if (id == kAbsent) continue;
        if (const std::size_t slot = slot_of[static_cast<std::size_t>(id)]; slot != kNever) lifetimes[slot].last = step;
      }
      for (const TensorId out : node.outputs) {
        if (out == kAbsent || std::ranges::find(spec_.outputs, out) != spec_.outputs.end()) continue;
        const Tensor& tensor = graph.tensor(out);
        slot_of[static_cast<std::size_t>(out)] = lifetimes.size();
        lifetimes.push_back({static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type), step, step});
        internals.push_back(out);
      }
    }
    EF_ASSIGN_OR_RETURN(const ArenaPlan plan, PlanArena(lifetimes, spec_.memory_bytes_max));
    EF_ASSIGN_OR_RETURN(arena_, AlignedBuffer::Allocate(plan.bytes));
    for (std::size_t i = 0; i < internals.size(); ++i) {
      table_[static_cast<std::size_t>(internals[i])] = arena_.data() + plan.offsets[i];
    }
    return OkStatus();
  }

  const PartitionSpec spec_;
  AlignedBuffer arena_;
  std::vector<std::byte*> table_;
  std::vector<Operand> inputs_;
  std::vector<Destination> outputs_;
};

class Reference final : public Delegate {
 public:
  std::string_view name() const override { return "reference"; }
  Support Supports(const Node&, const Graph&) const override { return {}; }
  Cost Estimate(const Node& node, const Graph& graph) const override { return Roofline(WorkOf(graph, node), 0.3e9, 1e9); }
  Result<std::unique_ptr<Partition>> Compile(const PartitionSpec& spec) const override {
    return ReferencePartition::Compile(spec);
  }
};

}  // namespace

const Delegate& ReferenceDelegate() {
  static const Reference delegate;
  return delegate;
}

}  // namespace edgefleet::runtime
