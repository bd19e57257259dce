#include "registry/compiler/optimize/editor.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "device_client/runtime/folding_builder.h"

namespace edgefleet::compiler {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

GraphEditor::GraphEditor(runtime::Graph& graph)
    : graph_(graph),
      writer_(graph.tensors.size(), -1),
      readers_(graph.tensors.size(), 0),
      removed_(graph.nodes.size(), false),
      storage_(std::make_shared<std::vector<std::shared_ptr<const void>>>()) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    Count(graph.nodes[i], 1);
    for (const TensorId id : graph.nodes[i].outputs) {
      if (id != runtime::kAbsent) writer_[static_cast<std::size_t>(id)] = static_cast<std::ptrdiff_t>(i);
    }
  }
  for (const TensorId id : graph.outputs) ++readers_[static_cast<std::size_t>(id)];
  storage_->push_back(graph.storage);
  graph.storage = storage_;
}

void GraphEditor::Count(const runtime::Node& node, std::ptrdiff_t by) {
  for (const TensorId id : node.inputs) {
    if (id != runtime::kAbsent) readers_[static_cast<std::size_t>(id)] += static_cast<std::size_t>(by);
  }
}

std::optional<std::size_t> GraphEditor::Writer(TensorId id) const {
  const std::ptrdiff_t writer = id == runtime::kAbsent ? -1 : writer_[static_cast<std::size_t>(id)];
  if (writer < 0) return std::nullopt;
  return static_cast<std::size_t>(writer);
}

std::optional<std::size_t> GraphEditor::SoleWriter(TensorId id) const {
  if (id == runtime::kAbsent || Readers(id) != 1 || IsOutput(id)) return std::nullopt;
  return Writer(id);
}

bool GraphEditor::IsOutput(TensorId id) const { return std::ranges::find(graph_.outputs, id) != graph_.outputs.end(); }

void GraphEditor::Replace(TensorId from, TensorId to) {
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (removed_[i]) continue;
    for (TensorId& id : graph_.nodes[i].inputs) id = id == from ? to : id;
  }
  for (TensorId& id : graph_.outputs) {
    if (id != from) continue;
    id = to;
    std::swap(At(from).name, At(to).name);
  }
  readers_[static_cast<std::size_t>(to)] += readers_[static_cast<std::size_t>(from)];
  readers_[static_cast<std::size_t>(from)] = 0;
}

void GraphEditor::TakeOver(std::size_t writer, std::size_t node) {
  const TensorId output = graph_.nodes[node].outputs[0];
  Remove(node);
  graph_.nodes[writer].outputs[0] = output;
  writer_[static_cast<std::size_t>(output)] = static_cast<std::ptrdiff_t>(writer);
}

void GraphEditor::Remove(std::size_t index) {
  if (removed_[index]) return;
  removed_[index] = true;
  Count(graph_.nodes[index], -1);
  for (const TensorId id : graph_.nodes[index].outputs) {
    if (id != runtime::kAbsent) writer_[static_cast<std::size_t>(id)] = -1;
  }
}

void GraphEditor::SetInput(std::size_t index, std::size_t input, TensorId id) {
  TensorId& former = graph_.nodes[index].inputs[input];
  if (former != runtime::kAbsent) --readers_[static_cast<std::size_t>(former)];
  former = id;
  ++readers_[static_cast<std::size_t>(id)];
}

void GraphEditor::SetInputs(std::size_t index, const std::vector<TensorId>& ids) {
  Count(graph_.nodes[index], -1);
  graph_.nodes[index].inputs = ids;
  Count(graph_.nodes[index], 1);
}

void GraphEditor::AddInput(std::size_t index, TensorId id) {
  graph_.nodes[index].inputs.push_back(id);
  ++readers_[static_cast<std::size_t>(id)];
}

TensorId GraphEditor::AddConstant(std::string name, std::vector<std::int64_t> shape, std::span<const float> values) {
  return AddConstant({.name = std::move(name), .shape = std::move(shape)}, std::as_bytes(values));
}

ByteView GraphEditor::Store(std::span<const std::byte> data) {
  auto* bytes = static_cast<std::byte*>(::operator new(std::max<std::size_t>(data.size(), 1), kAlignment));
  storage_->push_back(std::shared_ptr<const void>(
      bytes, [](const void* pointer) { ::operator delete(const_cast<void*>(pointer), kAlignment); }));
  if (!data.empty()) std::memcpy(bytes, data.data(), data.size());
  return {bytes, data.size()};
}

TensorId GraphEditor::AddConstant(runtime::Tensor like, std::span<const std::byte> data) {
  like.data = Store(data);
  graph_.tensors.push_back(std::move(like));
  writer_.push_back(-1);
  readers_.push_back(0);
  return static_cast<TensorId>(graph_.tensors.size() - 1);
}

void GraphEditor::Apply() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (removed_[i]) continue;
    if (kept != i) graph_.nodes[kept] = std::move(graph_.nodes[i]);
    ++kept;
  }
  graph_.nodes.resize(kept);
  runtime::RemoveDead(graph_);
}

std::optional<float> ScalarOf(const runtime::Tensor& tensor) {
  const std::span<const float> values = Floats(tensor);
  if (values.empty()) return std::nullopt;
  const bool same = std::ranges::all_of(values, [&](float value) { return value == values[0]; });
  return same ? std::optional(values[0]) : std::nullopt;
}

}  // namespace edgefleet::compiler
