#include "registry/compiler/onnx/import.h"

#include <algorithm>
#include <array>
#include <climits>
#include <exception>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "device_client/runtime/specialize.h"
#include "registry/compiler/onnx/importer.h"
#include "registry/compiler/onnx/wire.h"

namespace edgefleet::compiler {
namespace {

// The runtime's reasons as an importer's caller knows them.
Status Translate(Status status) {
  const auto as = [&](const char* reason, const char* advice = "") {
    return Status(StatusCode::kInvalidArgument, reason, status.message() + advice);
  };
  const std::string& reason = status.reason();
  if (reason == "SHAPE_DEPENDS_ON_DATA") {
    return as("UNSUPPORTED_OPERATOR", "; export the network with fixed sizes, or leave this part out of it");
  }
  if (reason == "GRAPH_TYPE" || reason == "OPERATOR_UNKNOWN") return as("UNSUPPORTED_OPERATOR");
  if (reason == "OUT_OF_MEMORY") return as("TOO_LARGE");
  if (reason == "SIZE_MISSING") return as("BAD_SHAPE");
  constexpr std::array<std::string_view, 6> kOwn{"UNSUPPORTED_OPERATOR", "UNSUPPORTED_OPSET", "TOO_LARGE", "BAD_SHAPE",
                                                 "BAD_OPTIONS",          "EXTERNAL_DATA"};
  return std::ranges::find(kOwn, reason) == kOwn.end() ? as("BAD_ONNX") : as(std::string(reason).c_str());
}

// A size that is not the default: of the batch one more, of open dimensions twice the default, of bounded ones the smallest.
std::int64_t OtherSize(const runtime::Graph& graph, const runtime::DynamicDimension& dimension,
                       const runtime::DynamicDimension& bounds) {
  if (dimension.symbol == runtime::kBatchSymbol) return std::min(bounds.min + 1, bounds.max);
  if (bounds.max < kOpenMax) return bounds.min;
  const runtime::TensorId input = graph.inputs[static_cast<std::size_t>(dimension.input)];
  return std::min(2 * graph.tensor(input).shape[static_cast<std::size_t>(dimension.axis)], bounds.max);
}

// Whether the network works with all dynamic dimensions at a size other than the default.
Status TrySizes(const runtime::Graph& graph) {
  std::vector<runtime::DimensionSize> sizes;
  std::set<std::string_view> seen;
  for (const runtime::DynamicDimension& dimension : graph.dynamic) {
    if (!seen.insert(dimension.symbol).second) continue;
    const auto bounds = runtime::FindDynamic(graph, dimension.symbol);
    if (bounds->max < bounds->min) {
      return InvalidArgument("BAD_SHAPE", "the bounds of '" + dimension.symbol + "' exclude one another");
    }
    sizes.push_back({dimension.symbol, OtherSize(graph, dimension, *bounds)});
  }
  auto other = runtime::Specialize(graph, sizes);
  return other ? OkStatus() : std::move(other.error());
}

Result<runtime::Graph> ImportWith(const onnx::ModelProto& model, const ImportOptions& options, std::int64_t open_default) {
  Importer importer(model, options, {false, open_default});
  auto graph = importer.Run();
  Status failure = graph ? TrySizes(*graph) : std::move(graph.error());
  if (failure.ok()) return graph;
  // A batch that somebody has written into the network; errors that have another cause come again.
  if (importer.batch_is_dynamic()) {
    auto fixed = Importer(model, options, {true, open_default}).Run();
    failure = fixed ? TrySizes(*fixed) : std::move(fixed.error());
    if (failure.ok()) return fixed;
    graph = std::move(fixed);
  }
  if (!graph) return MakeError(std::move(failure));
  return InvalidArgument("BAD_SHAPE",
                         "the network does not work with all sizes within the bounds; narrow them: " + failure.message());
}

// Sizes that nobody has given stay open if the network works with one of these and with twice it.
Result<runtime::Graph> Import(const onnx::ModelProto& model, const ImportOptions& options) {
  auto graph = ImportWith(model, options, 0);
  if (graph || graph.error().reason() != "SIZE_MISSING") return graph;
  for (const std::int64_t size : {64, 224, 256, 320, 512, 576, 1'024, 16'000}) {
    auto open = ImportWith(model, options, size);
    if (open) return open;
    const std::string& reason = open.error().reason();
    if (reason != "GRAPH_SHAPE" && reason != "GRAPH_NODE" && reason != "BAD_SHAPE" && reason != "UNSUPPORTED_OPERATOR")
      return open;
  }
  return graph;
}

}  // namespace

Result<runtime::Graph> ImportOnnx(ByteView bytes, const ImportOptions& options) {
  const ImportLimits& limits = options.limits;
  if (bytes.size() > limits.bytes_max || bytes.size() > INT_MAX) {
    return InvalidArgument("TOO_LARGE", "the model has more than " + std::to_string(limits.bytes_max) +
                                            " bytes; save its weights as external data");
  }
  const Error truncated = InvalidArgument("BAD_ONNX", "the file is truncated or no ONNX model; export it again");
  const auto structure = OnnxStructureBytes(bytes);
  if (!structure) return Error(truncated);
  if (*structure > limits.structure_bytes_max) {
    return InvalidArgument("TOO_LARGE", "the model has more than " + std::to_string(limits.structure_bytes_max) +
                                            " bytes besides its weights; drop what is not needed to run it");
  }
  try {
    onnx::ModelProto model;
    if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return Error(truncated);
    auto graph = Import(model, options);
    if (!graph) return MakeError(Translate(std::move(graph.error())));
    return graph;
  } catch (const std::exception& error) {  // protobuf, std::bad_alloc
    return InvalidArgument("BAD_ONNX", std::string("the model cannot be read: ") + error.what());
  }
}

}  // namespace edgefleet::compiler
