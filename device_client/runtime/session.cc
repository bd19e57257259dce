#include "device_client/runtime/session.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/ops/half.h"
#include "device_client/runtime/specialize.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

constexpr int kThreadsMax = 64;

std::size_t BytesOf(const Tensor& tensor) { return static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type); }

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
        if (id == kAbsent || graph.tensor(id).is_constant() || writer[static_cast<std::size_t>(id)] == cut) continue;
        exported[static_cast<std::size_t>(id)] = true;
        if (std::ranges::find(borders[cut].inputs, id) == borders[cut].inputs.end()) borders[cut].inputs.push_back(id);
      }
      for (const TensorId id : graph.nodes[index].outputs) {
        if (id != kAbsent) writer[static_cast<std::size_t>(id)] = cut;
      }
    }
  }
  for (std::size_t cut = 0; cut < cuts.size(); ++cut) {
    for (const std::size_t index : cuts[cut].nodes) {
      for (const TensorId id : graph.nodes[index].outputs) {
        if (id != kAbsent && exported[static_cast<std::size_t>(id)]) borders[cut].outputs.push_back(id);
      }
    }
  }
  return borders;
}

std::size_t ConstantBytes(const Graph& graph, const Node& node) {
  std::size_t bytes = 0;
  for (const TensorId id : node.inputs) bytes += id == kAbsent ? 0 : graph.tensor(id).data.size();
  return bytes;
}

// What the nodes read of constants, sorted, neighbours joined across the padding between them.
std::vector<ByteView> ConstantsOf(const Graph& graph, const std::vector<std::size_t>& nodes) {
  constexpr std::ptrdiff_t kPaddingMax = 64;
  std::vector<ByteView> constants;
  for (const std::size_t index : nodes) {
    for (const TensorId id : graph.nodes[index].inputs) {
      if (id != kAbsent && !graph.tensor(id).data.empty()) constants.push_back(graph.tensor(id).data);
    }
  }
  std::ranges::sort(constants, std::less<>(), &ByteView::data);
  std::vector<ByteView> joined;
  for (const ByteView constant : constants) {
    const std::byte* end = constant.data() + constant.size();
    if (!joined.empty() && constant.data() - (joined.back().data() + joined.back().size()) < kPaddingMax) {
      joined.back() = {joined.back().data(), std::max(end, joined.back().data() + joined.back().size())};
    } else {
      joined.push_back(constant);
    }
  }
  return joined;
}

// Tells the pager, if there is one, for a scope.
class Reading {
 public:
  Reading(WeightPager* pager, std::span<const ByteView> constants) : pager_(pager), constants_(constants) {
    if (pager_ != nullptr) pager_->WillRead(constants_);
  }
  ~Reading() {
    if (pager_ != nullptr) pager_->DidRead(constants_);
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

 private:
  WeightPager* const pager_;
  const std::span<const ByteView> constants_;
};

}  // namespace

struct Session::State {
  std::shared_ptr<const Graph> source;
  std::shared_ptr<const Graph> graph;  // `source` for the session's sizes; tensors have the same ids
  SessionOptions options;
  SessionInfo info;
  AlignedBuffer arena;
  std::vector<std::byte*> buffers;
  std::vector<std::unique_ptr<Partition>> partitions;
  std::vector<std::vector<ByteView>> constants;          // of each partition, with a pager
  std::vector<std::vector<TensorId>> partition_outputs;  // when observing: those of each partition's only node
  std::vector<float> observed;

  const Tensor& At(TensorId id) const { return graph->tensor(id); }
  std::byte* Buffer(TensorId id) const { return buffers[static_cast<std::size_t>(id)]; }

  Status Prepare();
  Status Specialize();
  std::vector<Cut> Place(const Delegate& chosen);
  Status PlanBuffers(const std::vector<Border>& borders);
  Status CompileCut(const Cut& cut, const Border& border);
  void Observe(TensorId id);
  Status Execute();
};

std::vector<Cut> Session::State::Place(const Delegate& chosen) {
  std::vector<Cut> cuts;
  std::size_t block = 0;  // bytes of constants in the last cut
  for (std::size_t index = 0; index < graph->nodes.size(); ++index) {
    const Node& node = graph->nodes[index];
    Support support = chosen.Supports(node, *graph);
    const Delegate& delegate = support.supported ? chosen : ReferenceDelegate();
    info.estimated_latency += delegate.Estimate(node, *graph).latency;
    info.nodes.push_back(
        {node.name, std::string(OperatorName(node.op)), std::string(delegate.name()), std::move(support.reason)});
    const std::size_t bytes = options.pager != nullptr ? ConstantBytes(*graph, node) : 0;
    const bool full = block > 0 && bytes > 0 && block + bytes > options.block_weight_bytes;
    if (cuts.empty() || cuts.back().delegate != &delegate || options.observer || full) {
      cuts.push_back({&delegate, {}});
      block = 0;
    }
    cuts.back().nodes.push_back(index);
    block += bytes;
    info.block_weight_bytes = std::max(info.block_weight_bytes, block);
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
      lifetimes.push_back({BytesOf(At(id)), step, step});
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
  PartitionSpec spec{graph,           cut.nodes,
                     border.inputs,   border.outputs,
                     options.threads, options.memory_bytes_max - std::min(info.memory_bytes, options.memory_bytes_max)};
  constants.push_back(options.pager != nullptr ? ConstantsOf(*graph, cut.nodes) : std::vector<ByteView>());
  const Reading reading(options.pager, constants.back());
  auto partition = cut.delegate->Compile(spec);
  const auto helps_another = [](FailureClass failure) {
    return failure == FailureClass::kDelegate || failure == FailureClass::kUnsupported;
  };
  if (!partition && cut.delegate != &ReferenceDelegate() && helps_another(Classify(partition.error()))) {
    for (const std::size_t index : cut.nodes) {
      info.nodes[index].delegate = ReferenceDelegate().name();
      info.nodes[index].fallback_reason = partition.error().message();
    }
    partition = ReferenceDelegate().Compile(spec);
  }
  if (!partition) return partition.error();
  info.memory_bytes += (*partition)->bytes();
  partitions.push_back(*std::move(partition));
  partition_outputs.push_back(graph->nodes[cut.nodes.back()].outputs);
  return OkStatus();
}

Status Session::State::Specialize() {
  std::vector<DimensionSize> sizes;
  for (const auto& [symbol, size] : options.sizes) sizes.push_back({symbol, size});
  if (options.batch != 1 || FindDynamic(*source, kBatchSymbol)) {
    if (options.batch < 1 || options.batch > BatchMax(*source)) {
      return InvalidArgument("BAD_BATCH", "this model takes a batch of 1 to " + std::to_string(BatchMax(*source)));
    }
    sizes.push_back({kBatchSymbol, options.batch});
  }
  EF_ASSIGN_OR_RETURN(Graph specialized, runtime::Specialize(*source, sizes));
  graph = std::make_shared<const Graph>(std::move(specialized));
  return OkStatus();
}

Status Session::State::Prepare() {
  if (options.threads < 1 || options.threads > kThreadsMax) {
    return InvalidArgument("BAD_THREADS", "a session has 1 to " + std::to_string(kThreadsMax) + " threads");
  }
  EF_RETURN_IF_ERROR(ValidateGraph(*source));
  EF_RETURN_IF_ERROR(Specialize());
  EF_ASSIGN_OR_RETURN(const Delegate* chosen, FindDelegate(options.delegate));
  info.delegate = chosen->name();
  const std::vector<Cut> cuts = Place(*chosen);
  std::vector<Border> borders = FindBorders(*graph, cuts);
  if (options.observer) {
    for (std::size_t i = 0; i < cuts.size(); ++i) {
      borders[i].outputs = graph->nodes[cuts[i].nodes[0]].outputs;
      std::erase(borders[i].outputs, kAbsent);
    }
  }
  EF_RETURN_IF_ERROR(PlanBuffers(borders));
  for (std::size_t i = 0; i < cuts.size(); ++i) EF_RETURN_IF_ERROR(CompileCut(cuts[i], borders[i]));
  info.partitions = partitions.size();
  const auto covered = std::ranges::count(info.nodes, info.delegate, &NodePlacement::delegate);
  info.coverage = static_cast<double>(covered) / static_cast<double>(std::max<std::size_t>(info.nodes.size(), 1));
  return OkStatus();
}

// Tensors of other types than fp32, bf16 and quantized int8 are indices, masks and the like: nothing to observe.
void Session::State::Observe(TensorId id) {
  const Tensor& tensor = At(id);
  const auto count = static_cast<std::size_t>(ElementCount(tensor.shape));
  if (tensor.type == DataType::kFloat32) {
    options.observer(id, std::span(reinterpret_cast<const float*>(Buffer(id)), count));
    return;
  }
  observed.resize(count);
  if (tensor.type == DataType::kBFloat16) {
    const auto* values = reinterpret_cast<const std::uint16_t*>(Buffer(id));
    for (std::size_t i = 0; i < count; ++i) observed[i] = ToFloat(BFloat16{values[i]});
  } else if (tensor.type == DataType::kInt8 && tensor.quantization) {
    const auto* values = reinterpret_cast<const std::int8_t*>(Buffer(id));
    const float scale = tensor.quantization->scales[0];
    const std::int32_t zero_point = ZeroPoint(tensor);
    for (std::size_t i = 0; i < count; ++i) observed[i] = scale * static_cast<float>(values[i] - zero_point);
  } else {
    return;
  }
  options.observer(id, observed);
}

Status Session::State::Execute() {
  if (options.observer) {
    for (const TensorId id : graph->inputs) Observe(id);
  }
  for (std::size_t i = 0; i < partitions.size(); ++i) {
    {
      const Reading reading(options.pager, constants[i]);
      EF_RETURN_IF_ERROR(partitions[i]->Execute(buffers));
    }
    if (!options.observer) continue;
    for (const TensorId id : partition_outputs[i]) {
      if (id != kAbsent) Observe(id);
    }
  }
  return OkStatus();
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::Create(std::shared_ptr<const Graph> graph, SessionOptions options) {
  auto state = std::make_unique<State>();
  state->source = std::move(graph);
  state->options = std::move(options);
  EF_RETURN_IF_ERROR(state->Prepare());
  return std::unique_ptr<Session>(new Session(std::move(state)));
}

Status Session::Run(std::span<const ByteView> inputs, std::span<const std::span<std::byte>> outputs) {
  const Graph& graph = *state_->graph;
  if (inputs.size() != graph.inputs.size()) {
    return InvalidArgument("INPUT_COUNT", "the model takes " + std::to_string(graph.inputs.size()) + " inputs");
  }
  if (outputs.size() != graph.outputs.size()) {
    return InvalidArgument("OUTPUT_COUNT", "the model yields " + std::to_string(graph.outputs.size()) + " outputs");
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::size_t size = BytesOf(state_->At(graph.inputs[i]));
    if (inputs[i].size() != size) {
      return InvalidArgument("INPUT_SIZE", "input " + std::to_string(i) + " must have " + std::to_string(size) +
                                               " bytes, not " + std::to_string(inputs[i].size()));
    }
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::size_t size = BytesOf(state_->At(graph.outputs[i]));
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

std::int64_t BatchMax(const Graph& graph) {
  const auto bounds = FindDynamic(graph, kBatchSymbol);
  return bounds ? bounds->max : 1;
}

const Graph& Session::graph() const { return *state_->source; }
const std::vector<std::int64_t>& Session::shape(TensorId id) const { return state_->At(id).shape; }
std::int64_t Session::batch() const { return state_->options.batch; }
std::int64_t Session::input_size() const {
  return ElementCount(state_->At(state_->graph->inputs[0]).shape) / state_->options.batch;
}
std::int64_t Session::output_size() const {
  return ElementCount(state_->At(state_->graph->outputs[0]).shape) / state_->options.batch;
}
const SessionInfo& Session::info() const { return state_->info; }

}  // namespace edgefleet::runtime
