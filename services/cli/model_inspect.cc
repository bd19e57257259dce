// edgefleet model inspect: what is in a model file.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/file.h"
#include "device_client/runtime/delegate.h"
#include "device_client/runtime/format/layout.h"
#include "device_client/runtime/parameters.h"
#include "device_client/runtime/specialize.h"
#include "services/cli/commands.h"
#include "services/cli/local_model.h"

namespace edgefleet::cli {
namespace {

struct InspectSpec {
  std::string model;
  bool layers = false;
};

using runtime::DataType;
using runtime::Graph;
using runtime::Tensor;
using runtime::TensorId;

std::string TypeName(const Tensor& tensor) { return std::string(runtime::DataTypeName(tensor.type)); }

// The shapes of a graph as text: dynamic dimensions of inputs by their symbols, others that grow with the batch as "batch".
class Shapes {
 public:
  explicit Shapes(const Graph& graph) : graph_(graph) {
    const runtime::DimensionSize two[] = {{runtime::kBatchSymbol, 2}};
    for (const runtime::DynamicDimension& dimension : graph.dynamic) {
      symbols_[{graph.inputs[static_cast<std::size_t>(dimension.input)], dimension.axis}] = dimension.symbol;
    }
    if (runtime::BatchMax(graph) < 2) return;
    if (auto doubled = runtime::Specialize(graph, two)) doubled_ = *std::move(doubled);
  }
  std::string Text(TensorId id) const {
    const auto& shape = graph_.tensor(id).shape;
    const auto& doubled = doubled_ ? doubled_->tensor(id).shape : shape;
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const bool grows = doubled.size() == shape.size() && doubled[i] != shape[i];
      const auto symbol = symbols_.find({id, static_cast<std::int32_t>(i)});
      std::string size = std::to_string(shape[i]);
      if (grows) size = shape[i] == 1 ? "batch" : "batch * " + size;
      text += (i == 0 ? "" : ", ") + (symbol == symbols_.end() ? size : symbol->second);
    }
    return text + "]";
  }

 private:
  const Graph& graph_;
  std::map<std::pair<TensorId, std::int32_t>, std::string> symbols_;
  std::optional<Graph> doubled_;
};

std::size_t ActivationBytes(const Tensor& tensor) {
  return static_cast<std::size_t>(runtime::ElementCount(tensor.shape)) * SizeOf(tensor.type);
}

// The most bytes of activations that are needed at once when the nodes run in order: what no plan can go below.
std::size_t PeakActivationBytes(const Graph& graph) {
  const std::size_t end = graph.nodes.size();
  constexpr std::size_t kNever = static_cast<std::size_t>(-1);
  std::vector<std::pair<std::size_t, std::size_t>> alive(graph.tensors.size(), {kNever, 0});
  const auto touch = [&](TensorId id, std::size_t step) {
    if (id == runtime::kAbsent || graph.tensor(id).is_constant()) return;
    auto& [first, last] = alive[static_cast<std::size_t>(id)];
    first = std::min(first, step);
    last = std::max(last, step);
  };
  for (const TensorId id : graph.inputs) touch(id, 0);
  for (std::size_t i = 0; i < end; ++i) {
    for (const TensorId id : graph.nodes[i].inputs) touch(id, i);
    for (const TensorId id : graph.nodes[i].outputs) touch(id, i);
  }
  for (const TensorId id : graph.outputs) touch(id, end);
  std::vector<std::ptrdiff_t> changes(end + 2, 0);
  for (std::size_t i = 0; i < alive.size(); ++i) {
    if (alive[i].first == kNever) continue;
    const auto bytes = static_cast<std::ptrdiff_t>(ActivationBytes(graph.tensors[i]));
    changes[alive[i].first] += bytes;
    changes[alive[i].second + 1] -= bytes;
  }
  std::ptrdiff_t now = 0;
  std::ptrdiff_t peak = 0;
  for (const std::ptrdiff_t change : changes) peak = std::max(peak, now += change);
  return static_cast<std::size_t>(peak);
}

struct WeightSum {
  std::size_t tensors = 0;
  std::int64_t elements = 0;
  std::size_t bytes = 0;
};

std::map<std::string, WeightSum> WeightsByType(const Graph& graph) {
  std::map<std::string, WeightSum> sums;
  for (const Tensor& tensor : graph.tensors) {
    if (!tensor.is_constant()) continue;
    WeightSum& sum = sums[TypeName(tensor)];
    ++sum.tensors;
    sum.elements += runtime::ElementCount(tensor.shape);
    sum.bytes += tensor.data.size();
  }
  return sums;
}

// How tensors are quantized, by count.
struct QuantizationSum {
  std::size_t activations = 0;
  std::size_t weights_per_tensor = 0;
  std::size_t weights_per_channel = 0;
  std::size_t weights_in_groups = 0;

  bool any() const { return activations + weights_per_tensor + weights_per_channel + weights_in_groups > 0; }
};

QuantizationSum Quantizations(const Graph& graph) {
  QuantizationSum sum;
  for (const Tensor& tensor : graph.tensors) {
    if (!tensor.quantization) continue;
    if (!tensor.is_constant()) {
      ++sum.activations;
    } else if (tensor.quantization->group_size > 0) {
      ++sum.weights_in_groups;
    } else if (tensor.type != DataType::kInt32) {  // int32: biases, whose scales follow from the others
      ++(tensor.quantization->axis < 0 ? sum.weights_per_tensor : sum.weights_per_channel);
    }
  }
  return sum;
}

// Where each delegate would run the nodes, and what a session takes.
struct Placement {
  std::string delegate;
  Result<runtime::SessionInfo> session;
};

std::vector<Placement> Placements(const std::shared_ptr<const Graph>& graph) {
  std::vector<Placement> placements;
  for (const runtime::Delegate* delegate : runtime::AllDelegates()) {
    ExecutionSpec execution;
    execution.delegate = delegate->name();
    auto session = MakeSession(graph, execution, 1);
    if (session) {
      placements.push_back({execution.delegate, (*session)->info()});
    } else {
      placements.push_back({execution.delegate, tl::unexpected<Status>(std::move(session).error())});
    }
  }
  return placements;
}

std::map<std::string, std::size_t> CountOperators(const Graph& graph) {
  std::map<std::string, std::size_t> counts;
  for (const runtime::Node& node : graph.nodes) ++counts[std::string(runtime::OperatorName(node.op))];
  return counts;
}

std::size_t CountOn(const runtime::SessionInfo& info, const std::string& op) {
  return static_cast<std::size_t>(std::ranges::count_if(
      info.nodes, [&](const runtime::NodePlacement& node) { return node.op == op && node.delegate == info.delegate; }));
}

WeightSum WeightsOf(const Graph& graph, const runtime::Node& node) {
  WeightSum sum;
  const std::set<TensorId> distinct(node.inputs.begin(), node.inputs.end());
  for (const TensorId id : distinct) {
    if (id == runtime::kAbsent || !graph.tensor(id).is_constant()) continue;
    ++sum.tensors;
    sum.elements += runtime::ElementCount(graph.tensor(id).shape);
    sum.bytes += graph.tensor(id).data.size();
  }
  return sum;
}

// A node has an output that is wanted.
TensorId FirstOutput(const runtime::Node& node) {
  return *std::ranges::find_if(node.outputs, [](TensorId id) { return id != runtime::kAbsent; });
}

// Where a session runs a node. Nodes that only compute shapes are gone in a session.
runtime::NodePlacement PlacementOf(const runtime::SessionInfo& info, const runtime::Node& node) {
  const auto found = std::ranges::find(info.nodes, node.name, &runtime::NodePlacement::node);
  return found == info.nodes.end() ? runtime::NodePlacement{.delegate = "-"} : *found;
}

Json PortsJson(const Graph& graph, const std::vector<TensorId>& ids) {
  Json ports = Json::array();
  for (const TensorId id : ids) {
    ports.push_back({{"name", graph.tensor(id).name}, {"type", TypeName(graph.tensor(id))}, {"shape", graph.tensor(id).shape}});
  }
  return ports;
}

Json DynamicJson(const Graph& graph) {
  Json dynamic = Json::array();
  for (const runtime::DynamicDimension& dimension : graph.dynamic) {
    dynamic.push_back({{"input", graph.tensor(graph.inputs[static_cast<std::size_t>(dimension.input)]).name},
                       {"axis", dimension.axis},
                       {"symbol", dimension.symbol},
                       {"min", dimension.min},
                       {"max", dimension.max}});
  }
  return dynamic;
}

Json PlacementsJson(const std::vector<Placement>& placements) {
  Json delegates = Json::array();
  for (const Placement& placement : placements) {
    Json one{{"name", placement.delegate}};
    if (placement.session) {
      one["coverage"] = placement.session->coverage;
      one["partitions"] = placement.session->partitions;
      one["session_bytes"] = placement.session->memory_bytes;
    } else {
      one["error"] = placement.session.error().ToString();
    }
    delegates.push_back(std::move(one));
  }
  return delegates;
}

Json OperatorsJson(const Graph& graph, const std::vector<Placement>& placements) {
  Json operators = Json::array();
  for (const auto& [op, count] : CountOperators(graph)) {
    Json one{{"operator", op}, {"nodes", count}};
    for (const Placement& placement : placements) {
      if (placement.session) one["on"][placement.delegate] = CountOn(*placement.session, op);
    }
    operators.push_back(std::move(one));
  }
  return operators;
}

Json LayersJson(const Graph& graph, const std::vector<Placement>& placements) {
  Json layers = Json::array();
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const runtime::Node& node = graph.nodes[i];
    const Tensor& output = graph.tensor(FirstOutput(node));
    const WeightSum weights = WeightsOf(graph, node);
    Json one{{"name", node.name},
             {"operator", runtime::OperatorName(node.op)},
             {"output", output.name},
             {"type", TypeName(output)},
             {"shape", output.shape},
             {"parameters", weights.elements},
             {"weight_bytes", weights.bytes}};
    if (output.quantization && output.quantization->axis < 0) {
      one["scale"] = output.quantization->scales[0];
      one["zero_point"] = runtime::ZeroPoint(output);
    }
    for (const Placement& placement : placements) {
      if (!placement.session) continue;
      const runtime::NodePlacement placed = PlacementOf(*placement.session, node);
      one["on"][placement.delegate] = placed.delegate;
      if (!placed.fallback_reason.empty()) one["fallback_reason"] = placed.fallback_reason;
    }
    layers.push_back(std::move(one));
  }
  return layers;
}

std::int64_t ParametersOf(const Graph& graph) {
  std::int64_t parameters = 0;
  for (const auto& [type, sum] : WeightsByType(graph)) parameters += sum.elements;
  return parameters;
}

void PrintSummary(const Output& out, const runtime::EfmHeader& header, const Graph& graph,
                  const std::vector<Placement>& placements) {
  std::vector<std::pair<std::string, std::string>> fields{
      {"model", graph.name},
      {"format", ".efm version " + std::to_string(header.version)},
      {"size", FormatBytes(header.file_size) + ": graph " + FormatBytes(header.graph_size) + ", weights " +
                   FormatBytes(header.weights_size)},
      {"parameters", std::to_string(ParametersOf(graph)) + ", trainable: " + std::to_string(runtime::ParameterCount(graph))}};
  const Shapes shapes(graph);
  const auto add_ports = [&](const std::string& kind, const std::vector<TensorId>& ids) {
    for (const TensorId id : ids) {
      fields.emplace_back(kind + " " + graph.tensor(id).name, TypeName(graph.tensor(id)) + " " + shapes.Text(id));
    }
  };
  add_ports("input", graph.inputs);
  add_ports("output", graph.outputs);
  std::map<std::string, std::string> bounds;
  for (const runtime::DynamicDimension& dimension : graph.dynamic) {
    bounds[dimension.symbol] = std::to_string(dimension.min) + " to " + std::to_string(dimension.max);
  }
  for (const auto& [symbol, text] : bounds) fields.emplace_back("size " + symbol, text);
  if (const QuantizationSum sum = Quantizations(graph); sum.any()) {
    fields.emplace_back("quantized", std::to_string(sum.activations) +
                                         " activations; weights: " + std::to_string(sum.weights_per_channel) +
                                         " per channel, " + std::to_string(sum.weights_per_tensor) + " per tensor, " +
                                         std::to_string(sum.weights_in_groups) + " in groups");
  }
  fields.emplace_back("activations", FormatBytes(PeakActivationBytes(graph)) + " at once");
  for (const auto& [delegate, session] : placements) {
    fields.emplace_back("on " + delegate, session ? FormatPercent(session->coverage) +
                                                        " of the nodes, partitions: " + std::to_string(session->partitions) +
                                                        ", session memory: " + FormatBytes(session->memory_bytes)
                                                  : session.error().ToString());
  }
  out.PrintFields(fields);
}

void PrintWeightsAndOperators(const Output& out, const Graph& graph, const std::vector<Placement>& placements) {
  std::vector<Row> rows;
  for (const auto& [type, sum] : WeightsByType(graph)) {
    rows.push_back({type, std::to_string(sum.tensors), std::to_string(sum.elements), FormatBytes(sum.bytes)});
  }
  if (!rows.empty()) {
    out.PrintLine("");
    out.PrintTable({"WEIGHTS", "TENSORS", "ELEMENTS", "SIZE"}, rows);
  }
  rows.clear();
  Row headers{"OPERATOR", "NODES"};
  for (const Placement& placement : placements) headers.push_back("ON " + placement.delegate);
  for (const auto& [op, count] : CountOperators(graph)) {
    rows.push_back({op, std::to_string(count)});
    for (const auto& [delegate, session] : placements) {
      rows.back().push_back(session ? std::to_string(CountOn(*session, op)) : "-");
    }
  }
  out.PrintLine("");
  out.PrintTable(headers, rows);
}

void PrintLayers(const Output& out, const Graph& graph, const Placement& placement) {
  const Shapes shapes(graph);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const runtime::Node& node = graph.nodes[i];
    const Tensor& output = graph.tensor(FirstOutput(node));
    const WeightSum weights = WeightsOf(graph, node);
    const runtime::NodePlacement placed = placement.session ? PlacementOf(*placement.session, node) : runtime::NodePlacement{};
    rows.push_back({std::to_string(i), node.name, std::string(runtime::OperatorName(node.op)), TypeName(output),
                    shapes.Text(FirstOutput(node)), std::to_string(weights.elements), FormatBytes(weights.bytes),
                    placed.delegate, placed.fallback_reason});
  }
  out.PrintLine("");
  out.PrintTable({"#", "NODE", "OPERATOR", "TYPE", "OUTPUT", "PARAMETERS", "WEIGHTS", "RUNS ON", "BECAUSE"}, rows);
}

Json InspectedJson(const InspectSpec& spec, const runtime::EfmHeader& header, const Graph& graph,
                   const std::vector<Placement>& placements) {
  Json weights = Json::array();
  for (const auto& [type, sum] : WeightsByType(graph)) {
    weights.push_back({{"type", type}, {"tensors", sum.tensors}, {"elements", sum.elements}, {"bytes", sum.bytes}});
  }
  const QuantizationSum quantization = Quantizations(graph);
  Json json{{"file", spec.model},
            {"model", graph.name},
            {"format_version", header.version},
            {"file_bytes", header.file_size},
            {"graph_bytes", header.graph_size},
            {"weight_bytes", header.weights_size},
            {"inputs", PortsJson(graph, graph.inputs)},
            {"outputs", PortsJson(graph, graph.outputs)},
            {"dynamic", DynamicJson(graph)},
            {"nodes", graph.nodes.size()},
            {"operators", OperatorsJson(graph, placements)},
            {"delegates", PlacementsJson(placements)},
            {"parameters", ParametersOf(graph)},
            {"trainable_parameters", runtime::ParameterCount(graph)},
            {"weights", weights},
            {"quantization",
             {{"activations", quantization.activations},
              {"weights_per_channel", quantization.weights_per_channel},
              {"weights_per_tensor", quantization.weights_per_tensor},
              {"weights_in_groups", quantization.weights_in_groups}}},
            {"peak_activation_bytes", PeakActivationBytes(graph)}};
  if (spec.layers) json["layers"] = LayersJson(graph, placements);
  return json;
}

Status Inspect(Context& context, const InspectSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto graph, LoadModel(spec.model));
  EF_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(spec.model));
  runtime::EfmHeader header;
  std::memcpy(&header, file->bytes().data(), sizeof header);  // LoadModel has checked it
  const std::vector<Placement> placements = Placements(graph);
  if (context.out.json) return context.out.PrintJson(InspectedJson(spec, header, *graph, placements)), OkStatus();
  PrintSummary(context.out, header, *graph, placements);
  PrintWeightsAndOperators(context.out, *graph, placements);
  if (spec.layers) PrintLayers(context.out, *graph, placements.front());
  return OkStatus();
}

}  // namespace

void AddModelInspectCommand(CLI::App& model, Action& action) {
  auto spec = std::make_shared<InspectSpec>();
  auto* command = AddCommand(model, action, "inspect", "what is in a model file: inputs, outputs, operators, weights, memory",
                             "  edgefleet model inspect fashion.efm\n"
                             "  edgefleet model inspect fashion.efm --layers --json\n",
                             &Inspect, spec);
  command->add_option("FILE", spec->model, "the .efm file")->required()->check(CLI::ExistingFile);
  command->add_flag("--layers", spec->layers, "also every node, in execution order");
}

}  // namespace edgefleet::cli
