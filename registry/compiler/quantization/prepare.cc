#include "registry/compiler/quantization/prepare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/ops/widen.h"
#include "registry/compiler/quantization/correction.h"
#include "registry/compiler/quantization/layers.h"
#include "registry/compiler/quantization/prune.h"

namespace edgefleet::compiler {
namespace {

using runtime::Activation;
using runtime::kAbsent;
using runtime::Node;
using runtime::TensorId;
using runtime::UnaryKind;

constexpr int kSweepsMax = 20;
constexpr float kSettled = 1.01F;
constexpr double kHardlyScaled = 0.02;  // what training may change of a channel's size

Activation* FusedActivation(runtime::Operator& op) {
  return std::visit(
      []<typename Op>(Op& each) -> Activation* {
        if constexpr (requires { each.activation; }) {
          return &each.activation;
        } else {
          return nullptr;
        }
      },
      op);
}

bool RunsInInt8(const Activation& activation) {
  return activation.kind == UnaryKind::kIdentity || activation.kind == UnaryKind::kRelu || activation.kind == UnaryKind::kClip;
}

// f(s x) = s f(x) for s > 0.
bool IsHomogeneous(const Activation& activation) {
  return activation.kind == UnaryKind::kIdentity || activation.kind == UnaryKind::kRelu ||
         activation.kind == UnaryKind::kLeakyRelu;
}

// Whether a node between two layers keeps channels apart and scales with them.
bool Passes(const Node& node) {
  if (const auto* unary = std::get_if<runtime::Unary>(&node.op)) return IsHomogeneous(unary->function);
  return std::holds_alternative<runtime::Pool2d>(node.op);
}

bool IsFlatten(const runtime::Graph& graph, const Node& node) {
  const auto* flatten = std::get_if<runtime::Flatten>(&node.op);
  return flatten != nullptr && flatten->axis == 1 && graph.tensor(node.inputs[0]).shape.size() == 4;
}

// Which nodes read each tensor; graph outputs count as a reader.
struct Readers {
  explicit Readers(const runtime::Graph& graph) : of(graph.tensors.size()) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const TensorId id : graph.nodes[i].inputs) {
        if (id != kAbsent) of[static_cast<std::size_t>(id)].push_back(i);
      }
    }
    for (const TensorId id : graph.outputs) of[static_cast<std::size_t>(id)].push_back(graph.nodes.size());
  }
  std::optional<std::size_t> Sole(const runtime::Graph& graph, TensorId id) const {
    const auto& readers = of[static_cast<std::size_t>(id)];
    if (readers.size() != 1 || readers[0] == graph.nodes.size()) return std::nullopt;
    return readers[0];
  }
  std::vector<std::vector<std::size_t>> of;
};

bool IsDepthwise(const runtime::Graph& graph, const Node& node) {
  const auto* conv = std::get_if<runtime::Conv2d>(&node.op);
  return conv != nullptr && conv->groups > 1 && conv->groups == graph.tensor(node.inputs[1]).shape[0] &&
         graph.tensor(node.inputs[1]).shape[1] == 1;
}

bool IsPlain(const Node& node) {
  const auto* conv = std::get_if<runtime::Conv2d>(&node.op);
  return conv != nullptr ? conv->groups == 1 : std::holds_alternative<runtime::FullyConnected>(node.op);
}

// A layer whose weights and bias nothing else reads.
bool Owns(const runtime::Graph& graph, const Readers& readers, const Node& node) {
  const auto layer = WeightedLayerOf(graph, node);
  if (!layer || !layer->bias) return false;
  return std::all_of(node.inputs.begin() + 1, node.inputs.end(),
                     [&](TensorId id) { return id == kAbsent || readers.of[static_cast<std::size_t>(id)].size() == 1; });
}

std::optional<LayerPair> PairFrom(const runtime::Graph& graph, const Readers& readers, std::size_t first) {
  const Node& node = graph.nodes[first];
  runtime::Operator op = node.op;
  if (!(IsPlain(node) || IsDepthwise(graph, node)) || !Owns(graph, readers, node)) return std::nullopt;
  if (!IsHomogeneous(*FusedActivation(op))) return std::nullopt;
  std::size_t repeats = 1;
  auto next = readers.Sole(graph, node.outputs[0]);
  while (next) {
    const Node& reader = graph.nodes[*next];
    if (IsFlatten(graph, reader)) {
      const auto& shape = graph.tensor(reader.inputs[0]).shape;
      repeats *= static_cast<std::size_t>(shape[2] * shape[3]);
    } else if (!Passes(reader)) {
      break;
    }
    next = readers.Sole(graph, reader.outputs[0]);
  }
  if (!next) return std::nullopt;
  const Node& second = graph.nodes[*next];
  const bool fits = (IsPlain(second) || IsDepthwise(graph, second)) && Owns(graph, readers, second);
  // A product over the columns of an image that was not flattened does not keep channels apart.
  if (!fits ||
      (std::holds_alternative<runtime::FullyConnected>(second.op) && graph.tensor(second.inputs[0]).shape.size() != 2)) {
    return std::nullopt;
  }
  return LayerPair{first, *next, repeats};
}

// Copies of constants that may be written; they keep themselves alive in the graph's storage.
class WritableConstants {
 public:
  explicit WritableConstants(runtime::Graph& graph) : graph_(graph) { kept_->push_back(graph.storage); }
  ~WritableConstants() { graph_.storage = kept_; }
  WritableConstants(const WritableConstants&) = delete;
  WritableConstants& operator=(const WritableConstants&) = delete;

  Result<std::span<float>> Open(TensorId id) {
    const auto found = open_.find(id);
    if (found != open_.end()) return found->second;
    runtime::Tensor& tensor = graph_.tensor(id);
    EF_ASSIGN_OR_RETURN(runtime::AlignedBuffer buffer, runtime::AlignedBuffer::Allocate(tensor.data.size()));
    std::ranges::copy(tensor.data, buffer.data());
    const std::span<float> values(reinterpret_cast<float*>(buffer.data()), tensor.data.size() / sizeof(float));
    tensor.data = ByteView(buffer.data(), tensor.data.size());
    kept_->push_back(std::make_shared<runtime::AlignedBuffer>(std::move(buffer)));
    open_.emplace(id, values);
    return values;
  }

 private:
  runtime::Graph& graph_;
  std::shared_ptr<std::vector<std::shared_ptr<const void>>> kept_ =
      std::make_shared<std::vector<std::shared_ptr<const void>>>();
  std::map<TensorId, std::span<float>> open_;
};

// Divides the channels of a pair's first layer by `scales` and multiplies what reads them.
Status ScalePair(const runtime::Graph& graph, WritableConstants& constants, const LayerPair& pair,
                 std::span<const float> scales) {
  const Node& first = graph.nodes[pair.first];
  const Node& second = graph.nodes[pair.second];
  EF_ASSIGN_OR_RETURN(const std::span<float> w1, constants.Open(first.inputs[1]));
  EF_ASSIGN_OR_RETURN(const std::span<float> w2, constants.Open(second.inputs[1]));
  const std::size_t columns1 = w1.size() / scales.size();
  for (std::size_t i = 0; i < w1.size(); ++i) w1[i] /= scales[i / columns1];
  if (first.inputs.size() > 2 && first.inputs[2] != kAbsent) {
    EF_ASSIGN_OR_RETURN(const std::span<float> bias, constants.Open(first.inputs[2]));
    for (std::size_t c = 0; c < scales.size(); ++c) bias[c] /= scales[c];
  }
  const bool depthwise = IsDepthwise(graph, second);
  const std::size_t columns2 = w2.size() / static_cast<std::size_t>(graph.tensor(second.inputs[1]).shape[0]);
  const std::size_t taps = depthwise ? columns2 : columns2 / scales.size();
  for (std::size_t i = 0; i < w2.size(); ++i) w2[i] *= depthwise ? scales[i / columns2] : scales[i % columns2 / taps];
  return OkStatus();
}

// The scales of one step for a pair.
std::vector<float> PairScales(const runtime::Graph& graph, const LayerPair& pair) {
  const runtime::Tensor& w1 = graph.tensor(graph.nodes[pair.first].inputs[1]);
  const runtime::Tensor& w2 = graph.tensor(graph.nodes[pair.second].inputs[1]);
  const auto channels = static_cast<std::size_t>(w1.shape[0]);
  const auto rows2 = static_cast<std::size_t>(w2.shape[0]);
  const bool depthwise = IsDepthwise(graph, graph.nodes[pair.second]);
  return EqualizationScales(RowRanges(Floats(w1), channels),
                            depthwise ? RowRanges(Floats(w2), rows2) : ColumnRanges(Floats(w2), rows2, channels));
}

// By what each row of `weights` is best divided to become that of `former`; 1 where it hardly differs or nothing fits.
std::vector<float> FittingScales(const runtime::Tensor& weights, const runtime::Tensor& former) {
  const auto rows = static_cast<std::size_t>(weights.shape[0]);
  const auto values = Floats(weights);
  const std::size_t columns = values.size() / rows;
  std::vector<float> real(values.size());
  runtime::WidenRows(former, former.data.data(), 0, weights.shape[0], real.data());
  std::vector<float> scales(rows, 1);
  for (std::size_t row = 0; row < rows; ++row) {
    double product = 0;
    double squares = 0;
    for (std::size_t i = row * columns; i < (row + 1) * columns; ++i) {
      product += double{values[i]} * real[i];
      squares += double{real[i]} * real[i];
    }
    const double scale = squares > 0 ? product / squares : 1;
    if (scale > 0x1p-10 && scale < 0x1p10 && std::abs(scale - 1) > kHardlyScaled) scales[row] = static_cast<float>(scale);
  }
  return scales;
}

// The rows (dimension 0) that stay of a constant, or of its columns: dimension 1 as blocks of `repeats` values.
struct Kept {
  std::vector<bool> rows;
  std::vector<bool> columns;
  std::size_t repeats = 1;
};

bool Stays(const std::vector<bool>& kept, std::size_t i) { return kept.empty() || kept[i]; }

// A constant without what does not stay.
std::pair<std::vector<std::int64_t>, std::vector<float>> Reduced(const runtime::Tensor& tensor, const Kept& kept) {
  const std::span<const float> values = Floats(tensor);
  std::vector<std::int64_t> shape = tensor.shape;
  const auto rows = static_cast<std::size_t>(shape[0]);
  const std::size_t columns = shape.size() > 1 ? static_cast<std::size_t>(shape[1]) : 1;
  const std::size_t taps = values.size() / rows / columns;
  std::vector<float> out;
  std::size_t rows_left = 0;
  std::size_t columns_left = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    if (!Stays(kept.rows, row)) continue;
    ++rows_left;
    columns_left = 0;
    for (std::size_t column = 0; column < columns; ++column) {
      if (!Stays(kept.columns, column / kept.repeats)) continue;
      ++columns_left;
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>((row * columns + column) * taps);
      out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(taps));
    }
  }
  shape[0] = static_cast<std::int64_t>(rows_left);
  if (shape.size() > 1) shape[1] = static_cast<std::int64_t>(columns_left);
  return {std::move(shape), std::move(out)};
}

// What stays of each constant when channels go.
std::map<TensorId, Kept> KeptChannels(const runtime::Graph& graph, double share) {
  std::map<TensorId, Kept> kept;
  for (const LayerPair& pair : LayerPairs(graph)) {
    const Node& first = graph.nodes[pair.first];
    const Node& second = graph.nodes[pair.second];
    if (IsDepthwise(graph, first) || IsDepthwise(graph, second)) continue;
    const runtime::Tensor& weights = graph.tensor(first.inputs[1]);
    const auto rows = static_cast<std::size_t>(weights.shape[0]);
    std::vector<bool> stay(rows, true);
    for (const std::size_t row : RowsToPrune(Floats(weights), rows, share, RowNorm::kL2)) stay[row] = false;
    for (std::size_t i = 1; i < first.inputs.size(); ++i) {
      if (first.inputs[i] != kAbsent) kept[first.inputs[i]].rows = stay;
    }
    kept[second.inputs[1]].columns = stay;
    kept[second.inputs[1]].repeats = pair.repeats;
  }
  return kept;
}

}  // namespace

runtime::Graph SplitActivations(const runtime::Graph& graph) {
  runtime::Graph out = graph;
  out.nodes.clear();
  for (const Node& node : graph.nodes) {
    Node linear = node;
    Activation* fused = FusedActivation(linear.op);
    if (fused == nullptr || RunsInInt8(*fused)) {
      out.nodes.push_back(node);
      continue;
    }
    const Activation function = std::exchange(*fused, {});
    runtime::Tensor before = graph.tensor(node.outputs[0]);
    before.name += "_linear";
    out.tensors.push_back(std::move(before));
    linear.outputs[0] = static_cast<TensorId>(out.tensors.size() - 1);
    Node unary{node.name + "_activation", runtime::Unary{function}, linear.outputs, node.outputs};
    out.nodes.push_back(std::move(linear));
    out.nodes.push_back(std::move(unary));
  }
  return out;
}

std::vector<LayerPair> LayerPairs(const runtime::Graph& graph) {
  const Readers readers(graph);
  std::vector<LayerPair> pairs;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (const auto pair = PairFrom(graph, readers, i)) pairs.push_back(*pair);
  }
  return pairs;
}

Result<std::size_t> Equalize(runtime::Graph& graph) {
  const std::vector<LayerPair> pairs = LayerPairs(graph);
  if (pairs.empty()) return 0;
  WritableConstants constants(graph);
  for (int sweep = 0; sweep < kSweepsMax; ++sweep) {
    float farthest = 1;
    for (const LayerPair& pair : pairs) {
      const std::vector<float> scales = PairScales(graph, pair);
      EF_RETURN_IF_ERROR(ScalePair(graph, constants, pair, scales));
      for (const float scale : scales) farthest = std::max({farthest, scale, 1 / scale});
    }
    if (farthest < kSettled) break;
  }
  return pairs.size();
}

Status EqualizeLike(runtime::Graph& graph, const runtime::Graph& former) {
  WritableConstants constants(graph);
  for (const LayerPair& pair : LayerPairs(graph)) {
    const runtime::Tensor& weights = graph.tensor(graph.nodes[pair.first].inputs[1]);
    const auto found = std::ranges::find(former.tensors, weights.name, &runtime::Tensor::name);
    if (found == former.tensors.end() || found->shape != weights.shape || !found->is_constant() || !runtime::CanWiden(*found)) {
      continue;
    }
    EF_RETURN_IF_ERROR(ScalePair(graph, constants, pair, FittingScales(weights, *found)));
  }
  return OkStatus();
}

Status PruneWeights(runtime::Graph& graph, double share) {
  WritableConstants constants(graph);
  std::map<TensorId, std::span<float>> weights;  // each once, whoever reads it
  for (const Node& node : graph.nodes) {
    const auto layer = WeightedLayerOf(graph, node);
    if (!layer || layer->weights.size() != 1) continue;
    const TensorId id = node.inputs[layer->weights[0]];
    EF_ASSIGN_OR_RETURN(weights[id], constants.Open(id));
  }
  std::vector<std::span<float>> all;
  for (const auto& [id, values] : weights) all.push_back(values);
  PruneSmallest(all, share);
  return OkStatus();
}

Result<runtime::Graph> PruneChannels(const runtime::Graph& graph, double share) {
  const std::map<TensorId, Kept> kept = KeptChannels(graph, share);
  runtime::FoldingBuilder builder(graph.name);
  builder.Keep(graph.storage);
  std::vector<TensorId> ids(graph.tensors.size(), kAbsent);
  const auto at = [&](TensorId id) -> TensorId& { return ids[static_cast<std::size_t>(id)]; };
  for (const TensorId id : graph.inputs) {
    const runtime::Tensor& input = graph.tensor(id);
    at(id) = builder.AddInput(input.name, input.type, input.shape, input.quantization);
  }
  for (const runtime::DynamicDimension& dimension : graph.dynamic) builder.AddDynamic(dimension);
  for (const Node& node : graph.nodes) {
    std::vector<TensorId> inputs;
    for (const TensorId id : node.inputs) {
      if (id != kAbsent && at(id) == kAbsent) {
        const auto found = kept.find(id);
        if (found == kept.end()) {
          at(id) = builder.AddBorrowed(graph.tensor(id));
        } else {
          const auto [shape, values] = Reduced(graph.tensor(id), found->second);
          EF_ASSIGN_OR_RETURN(at(id), builder.AddConstant(graph.tensor(id).name, runtime::DataType::kFloat32, shape,
                                                          std::as_bytes(std::span(values))));
        }
      }
      inputs.push_back(id == kAbsent ? kAbsent : at(id));
    }
    std::vector<std::string> names;
    for (const TensorId id : node.outputs) names.push_back(id == kAbsent ? "" : graph.tensor(id).name);
    EF_ASSIGN_OR_RETURN(const auto outputs, builder.AddNode(node.name, node.op, std::move(inputs), std::move(names)));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (node.outputs[i] != kAbsent) at(node.outputs[i]) = outputs[i];
    }
  }
  std::vector<runtime::FoldingBuilder::Output> outputs;
  for (const TensorId id : graph.outputs) outputs.push_back({at(id), graph.tensor(id).name});
  return std::move(builder).Finish(std::move(outputs));
}

}  // namespace edgefleet::compiler
