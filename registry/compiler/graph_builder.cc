#include "registry/compiler/graph_builder.h"

#include <cstring>
#include <new>
#include <utility>

namespace edgefleet::compiler {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

void GraphBuilder::FreeAligned::operator()(std::byte* data) const { ::operator delete[](data, kAlignment); }

GraphBuilder::GraphBuilder(std::string name) : storage_(std::make_shared<Storage>()) { graph_.name = std::move(name); }

runtime::TensorId GraphBuilder::AddActivation(runtime::Tensor tensor) {
  graph_.tensors.push_back(std::move(tensor));
  return static_cast<runtime::TensorId>(graph_.tensors.size() - 1);
}

runtime::TensorId GraphBuilder::AddConstant(runtime::Tensor tensor, ByteView data) {
  storage_->emplace_back(static_cast<std::byte*>(::operator new[](data.size(), kAlignment)));
  std::memcpy(storage_->back().get(), data.data(), data.size());
  tensor.data = ByteView(storage_->back().get(), data.size());
  return AddActivation(std::move(tensor));
}

runtime::Graph GraphBuilder::Finish() && {
  graph_.storage = std::move(storage_);
  return std::move(graph_);
}

}  // namespace edgefleet::compiler
