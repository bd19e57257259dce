#include "device_client/runtime/parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgefleet::runtime {
namespace {

void AppendLittleEndian(Bytes& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

const Tensor& ParameterAt(const Graph& graph, std::size_t index) {
  return graph.tensors[static_cast<std::size_t>(graph.parameters[index])];
}

// What a graph with replaced parameters keeps alive: its own values, and the constants it shares with the original.
struct ParameterStorage {
  std::vector<std::vector<float>> values;
  std::shared_ptr<const void> original;
};

}  // namespace

std::int64_t ParameterCount(const Graph& graph) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < graph.parameters.size(); ++i) count += ElementCount(ParameterAt(graph, i).shape);
  return count;
}

crypto::Sha256Digest LayoutSha256(const Graph& graph) {
  Bytes layout;
  for (std::size_t i = 0; i < graph.parameters.size(); ++i) {
    const Tensor& tensor = ParameterAt(graph, i);
    AppendLittleEndian(layout, tensor.name.size(), 4);
    const ByteView name = AsBytes(tensor.name);
    layout.insert(layout.end(), name.begin(), name.end());
    AppendLittleEndian(layout, tensor.shape.size(), 4);
    for (const std::int64_t dimension : tensor.shape) AppendLittleEndian(layout, static_cast<std::uint64_t>(dimension), 8);
  }
  return crypto::Sha256(layout);
}

std::vector<float> ReadParameters(const Graph& graph) {
  std::vector<float> values(static_cast<std::size_t>(ParameterCount(graph)));
  std::size_t offset = 0;
  for (std::size_t i = 0; i < graph.parameters.size(); ++i) {
    const ByteView data = ParameterAt(graph, i).data;
    std::memcpy(values.data() + offset, data.data(), data.size());
    offset += data.size() / sizeof(float);
  }
  return values;
}

Result<Graph> WithParameters(const Graph& graph, std::span<const float> parameters) {
  if (graph.parameters.empty()) {
    return FailedPrecondition("NOT_TRAINABLE", "graph '" + graph.name + "' has no parameters; use the trainable variant");
  }
  if (static_cast<std::int64_t>(parameters.size()) != ParameterCount(graph)) {
    return InvalidArgument("PARAMETER_COUNT", "graph '" + graph.name + "' has " + std::to_string(ParameterCount(graph)) +
                                                  " parameters, not " + std::to_string(parameters.size()));
  }
  if (!std::ranges::all_of(parameters, [](float value) { return std::isfinite(value); })) {
    return InvalidArgument("PARAMETER_NOT_FINITE", "a parameter is NaN or infinite");
  }
  auto storage = std::make_shared<ParameterStorage>();
  storage->original = graph.storage;
  storage->values.reserve(graph.parameters.size());
  Graph copy = graph;
  for (const TensorId id : graph.parameters) {
    Tensor& tensor = copy.tensors[static_cast<std::size_t>(id)];
    const auto count = static_cast<std::size_t>(ElementCount(tensor.shape));
    storage->values.emplace_back(parameters.begin(), parameters.begin() + static_cast<std::ptrdiff_t>(count));
    tensor.data = std::as_bytes(std::span(storage->values.back()));
    parameters = parameters.subspan(count);
  }
  copy.storage = std::move(storage);
  return copy;
}

}  // namespace edgefleet::runtime
