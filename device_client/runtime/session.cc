#include "device_client/runtime/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

constexpr std::int64_t kBatchMax = 65'536;
constexpr int kThreadsMax = 64;

std::size_t BytesOf(const Tensor& tensor, std::int64_t batch) {
  return static_cast<std::size_t>(batch * ElementCount(tensor.shape)) * SizeOf(tensor.type);
}

// A run of nodes on one delegate.
struct Cut {
  const Delegate* delegate = nullptr;
  std::vector<std::size_t> nodes;
};

// The activations that cross a cut's border.
struct Border {
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
};

std::vector<Border> FindBorders(const Graph& graph, const std::vector<Cut>& cuts) {
  constexpr std::size_t kOutside = static_cast<std::size_t>(-1);
  std::vector<std::size_t> writer(graph.tensors.size(), kOutside);
  std::vector<bool> exported(graph.tensors.size(), false);
  for (const TensorId id : graph.outputs) exported[static_cast<std::size_t>(id)] = true;
  std::vector<Border> borders(cuts.size());
  for (std::size_t cut = 0; cut < cuts.size(); ++cut) {
    for (const std::size_t index : cuts[cut].nodes) {
      for (const TensorId id : graph.nodes[index].inputs) {
        const auto tensor = static_cast<std::size_t>(id);
        if (graph.tensors[tensor].is_constant() || writer[tensor] == cut) continue;
        exported[tensor] = true;
        if (std::ranges::find(borders[cut].inputs, id) == borders[cut].inputs.end()) borders[cut].inputs.push_back(id);
      }
      writer[static_cast<std::size_t>(graph.nodes[index].outputs[0])] = cut;
    }
  }
  for (std::size_t cut = 0; cut < cuts.size(); ++cut) {
    for (const std::size_t index : cuts[cut].nodes) {
      const TensorId id = graph.nodes[index].outputs[0];
      if (exported[static_cast<std::size_t>(id)]) borders[cut].outputs.push_back(id);
    }
  }
  return borders;
}

}  // namespace

struct Session::State {
  std::shared_ptr<const Graph> graph;
  SessionOptions options;
  SessionInfo info;
  AlignedBuffer arena;
  std::vector<std::byte*> buffers;
  std::vector<std::unique_ptr<Partition>> partitions;
  std::vector<TensorId> partition_output;  // when observing: each partition's only node's output
  std::vector<float> observed;

  const Tensor& At(TensorId id) const { return graph->tensors[static_cast<std::size_t>(id)]; }
  std::byte* Buffer(TensorId id) const { return buffers[static_cast<std::size_t>(id)]; }

  Status Prepare();
  std::vector<Cut> Place(const Delegate& chosen);
  Status PlanBuffers(const std::vector<Border>& borders);
  Status CompileCut(const Cut& cut, const Border& border);
  void Observe(TensorId id);
  Status Execute();
};

std::vector<Cut> Session::State::Place(const Delegate& chosen) {
  std::vector<Cut> cuts;
  for (std::size_t index = 0; index < graph->nodes.size(); ++index) {
    const Node& node = graph->nodes[index];
    Support support = chosen.Supports(node, *graph);
    const Delegate& delegate = support.supported ? chosen : ReferenceDelegate();
    info.nodes.push_back(
        {node.name, std::string(OperatorName(node.op)), std::string(delegate.name()), std::move(support.reason)});
    if (cuts.empty() || cuts.back().delegate != &delegate || options.observer) cuts.push_back({&delegate, {}});
    cuts.back().nodes.push_back(index);
  }
  return cuts;
}

// Memory for every activation that crosses a border; step 0 is the copying in, the last step the copying out.
Status Session::State::PlanBuffers(const std::vector<Border>& borders) {
  constexpr std::size_t kUnused = static_cast<std::size_t>(-1);
  std::vector<Lifetime> lifetimes;
  std::vector<TensorId> ids;
  std::vector<std::size_t> slot_of(graph->tensors.size(), kUnused);
  const auto touch = [&](TensorId id, std::size_t step) {
    std::size_t& slot = slot_of[static_cast<std::size_t>(id)];
    if (slot == kUnused) {
      slot = lifetimes.size();
      lifetimes.push_back({BytesOf(At(id), options.batch), step, step});
      ids.push_back(id);
    }
    lifetimes[slot].last = step;
  };
  for (const TensorId id : graph->inputs) touch(id, 0);
  for (std::size_t i = 0; i < borders.size(); ++i) {
    for (const TensorId id : borders[i].inputs) touch(id, i + 1);
    for (const TensorId id : borders[i].outputs) touch(id, i + 1);
  }
  for (const TensorId id : graph->outputs) touch(id, borders.size() + 1);
  EF_ASSIGN_OR_RETURN(const ArenaPlan plan, PlanArena(lifetimes, options.memory_bytes_max));
  EF_ASSIGN_OR_RETURN(arena, AlignedBuffer::Allocate(plan.bytes));
  buffers.assign(graph->tensors.size(), nullptr);
  for (std::size_t i = 0; i < ids.size(); ++i) buffers[static_cast<std::size_t>(ids[i])] = arena.data() + plan.offsets[i];
  info.memory_bytes = arena.size();
  return OkStatus();
}

// A delegate that fails to compile what it said it supports loses the nodes to the reference.
Status Session::State::CompileCut(const Cut& cut, const Border& border) {
  PartitionSpec spec{graph,
                     cut.nodes,
                     border.inputs,
                     border.outputs,
                     options.batch,
                     options.threads,
                     options.memory_bytes_max - std::min(info.memory_bytes, options.memory_bytes_max)};
  auto partition = cut.delegate->Compile(spec);
  if (!partition && partition.error().reason() == "DELEGATE_FAILED") {
    for (const std::size_t index : cut.nodes) {
      info.nodes[index].delegate = ReferenceDelegate().name();
      info.nodes[index].fallback_reason = partition.error().message();
    }
    partition = ReferenceDelegate().Compile(spec);
  }
  if (!partition) return partition.error();
  info.memory_bytes += (*partition)->bytes();
  partitions.push_back(*std::move(partition));
  partition_output.push_back(graph->nodes[cut.nodes.back()].outputs[0]);
  return OkStatus();
}

Status Session::State::Prepare() {
  if (options.batch < 1 || options.batch > kBatchMax) {
    return InvalidArgument("BAD_BATCH", "a session's batch is 1 to " + std::to_string(kBatchMax));
  }
  if (options.threads < 1 || options.threads > kThreadsMax) {
    return InvalidArgument("BAD_THREADS", "a session has 1 to " + std::to_string(kThreadsMax) + " threads");
  }
  EF_RETURN_IF_ERROR(ValidateGraph(*graph));
  EF_ASSIGN_OR_RETURN(const Delegate* chosen, FindDelegate(options.delegate));
  info.delegate = chosen->name();
  const std::vector<Cut> cuts = Place(*chosen);
  std::vector<Border> borders = FindBorders(*graph, cuts);
  if (options.observer) {
    for (std::size_t i = 0; i < cuts.size(); ++i) borders[i].outputs = graph->nodes[cuts[i].nodes[0]].outputs;
  }
  EF_RETURN_IF_ERROR(PlanBuffers(borders));
  for (std::size_t i = 0; i < cuts.size(); ++i) EF_RETURN_IF_ERROR(CompileCut(cuts[i], borders[i]));
  info.partitions = partitions.size();
  const auto covered = std::ranges::count(info.nodes, info.delegate, &NodePlacement::delegate);
  info.coverage = static_cast<double>(covered) / static_cast<double>(info.nodes.size());
  return OkStatus();
}

void Session::State::Observe(TensorId id) {
  const Tensor& tensor = At(id);
  const auto count = static_cast<std::size_t>(options.batch * ElementCount(tensor.shape));
  if (tensor.type == DataType::kFloat32) {
    options.observer(id, std::span(reinterpret_cast<const float*>(Buffer(id)), count));
    return;
  }
  observed.resize(count);
  const auto* values = reinterpret_cast<const std::int8_t*>(Buffer(id));
  const float scale = tensor.quantization->scales[0];
  const std::int32_t zero_point = ZeroPoint(tensor);
  for (std::size_t i = 0; i < count; ++i) observed[i] = scale * static_cast<float>(values[i] - zero_point);
  options.observer(id, observed);
}

Status Session::State::Execute() {
  if (options.observer) {
    for (const TensorId id : graph->inputs) Observe(id);
  }
  for (std::size_t i = 0; i < partitions.size(); ++i) {
    EF_RETURN_IF_ERROR(partitions[i]->Execute(buffers));
    if (options.observer) Observe(partition_output[i]);
  }
  return OkStatus();
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::Create(std::shared_ptr<const Graph> graph, SessionOptions options) {
  auto state = std::make_unique<State>();
  state->graph = std::move(graph);
  state->options = std::move(options);
  EF_RETURN_IF_ERROR(state->Prepare());
  return std::unique_ptr<Session>(new Session(std::move(state)));
}

Status Session::Run(std::span<const ByteView> inputs, std::span<const std::span<std::byte>> outputs) {
  const Graph& graph = *state_->graph;
  const std::int64_t batch = state_->options.batch;
  if (inputs.size() != graph.inputs.size()) {
    return InvalidArgument("INPUT_COUNT", "the model takes " + std::to_string(graph.inputs.size()) + " inputs");
  }
  if (outputs.size() != graph.outputs.size()) {
    return InvalidArgument("OUTPUT_COUNT", "the model yields " + std::to_string(graph.outputs.size()) + " outputs");
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::size_t size = BytesOf(state_->At(graph.inputs[i]), batch);
    if (inputs[i].size() != size) {
      return InvalidArgument("INPUT_SIZE", "input " + std::to_string(i) + " must have " + std::to_string(size) +
                                               " bytes, not " + std::to_string(inputs[i].size()));
    }
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::size_t size = BytesOf(state_->At(graph.outputs[i]), batch);
    if (outputs[i].size() != size) {
      return InvalidArgument("OUTPUT_SIZE", "output " + std::to_string(i) + " must have " + std::to_string(size) +
                                                " bytes, not " + std::to_string(outputs[i].size()));
    }
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::memcpy(state_->Buffer(graph.inputs[i]), inputs[i].data(), inputs[i].size());
  }
  EF_RETURN_IF_ERROR(state_->Execute());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    std::memcpy(outputs[i].data(), state_->Buffer(graph.outputs[i]), outputs[i].size());
  }
  return OkStatus();
}

Status Session::Run(std::span<const float> input, std::span<float> output) {
  const Graph& graph = *state_->graph;
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1 || state_->At(graph.inputs[0]).type != DataType::kFloat32 ||
      state_->At(graph.outputs[0]).type != DataType::kFloat32) {
    return InvalidArgument("NOT_FLOAT", "the model has not one fp32 input and one fp32 output; pass bytes");
  }
  const ByteView in = std::as_bytes(input);
  const std::span<std::byte> out = std::as_writable_bytes(output);
  return Run(std::span(&in, 1), std::span(&out, 1));
}

const Graph& Session::graph() const { return *state_->graph; }
std::int64_t Session::batch() const { return state_->options.batch; }
std::int64_t Session::input_size() const { return ElementCount(state_->At(state_->graph->inputs[0]).shape); }
std::int64_t Session::output_size() const { return ElementCount(state_->At(state_->graph->outputs[0]).shape); }
const SessionInfo& Session::info() const { return state_->info; }

}  // namespace edgefleet::runtime
