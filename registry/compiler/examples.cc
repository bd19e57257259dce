#include "registry/compiler/examples.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace edgefleet::compiler {
namespace {

constexpr const char* kLabels = "labels";
constexpr const char* kBadEvaluation = "BAD_EVALUATION";

const runtime::Tensor& At(const runtime::Graph& graph, runtime::TensorId id) {
  return graph.tensors[static_cast<std::size_t>(id)];
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[examples";
  for (std::size_t i = 1; i < shape.size(); ++i) text += ", " + std::to_string(shape[i]);
  return text + "]";
}

class NpzDataset final : public runtime::Dataset {
 public:
  NpzDataset(arrays::Array inputs, arrays::Array labels) : inputs_(std::move(inputs)), labels_(std::move(labels)) {}
  std::size_t size() const override { return labels_.values<std::int64_t>().size(); }
  std::size_t example_size() const override { return inputs_.values<float>().size() / size(); }
  void CopyExample(std::size_t index, std::span<float> out) const override {
    std::ranges::copy(inputs_.values<float>().subspan(index * example_size(), example_size()), out.begin());
  }
  std::int32_t Label(std::size_t index) const override {
    return static_cast<std::int32_t>(labels_.values<std::int64_t>()[index]);
  }

 private:
  const arrays::Array inputs_;
  const arrays::Array labels_;
};

Status CheckLabels(const arrays::Array& labels, std::size_t examples, std::int64_t classes) {
  if (labels.type != arrays::ElementType::kInt64 || labels.shape != std::vector{static_cast<std::int64_t>(examples)}) {
    return InvalidArgument(kBadEvaluation,
                           "array 'labels' must be int64 with one label an example (" + std::to_string(examples) + ")");
  }
  for (const std::int64_t label : labels.values<std::int64_t>()) {
    if (label < 0 || label >= classes) {
      return InvalidArgument(kBadEvaluation, "label " + std::to_string(label) + " is none of the network's classes 0 to " +
                                                 std::to_string(classes - 1));
    }
  }
  return OkStatus();
}

}  // namespace

Result<std::size_t> CheckExamples(const runtime::Graph& graph, const arrays::Archive& archive, const char* reason) {
  std::int64_t examples = 0;
  for (const runtime::TensorId id : graph.inputs) {
    const runtime::Tensor& input = At(graph, id);
    const auto found = archive.find(input.name);
    if (found == archive.end())
      return InvalidArgument(reason, "there is no array '" + input.name + "' for the network's input of that name");
    const arrays::Array& array = found->second;
    if (array.type != arrays::ElementType::kFloat32 || array.shape.size() != input.shape.size() ||
        !std::equal(array.shape.begin() + 1, array.shape.end(), input.shape.begin() + 1)) {
      return InvalidArgument(reason, "array '" + input.name + "' must be float32 " + ShapeText(input.shape));
    }
    if (array.shape[0] < 1 || (examples != 0 && array.shape[0] != examples)) {
      return InvalidArgument(reason, "array '" + input.name + "' needs an example or more, as many as the others have");
    }
    if (!std::ranges::all_of(array.values<float>(), [](float x) { return std::isfinite(x); })) {
      return InvalidArgument(reason, "array '" + input.name + "' holds NaN or infinity");
    }
    examples = array.shape[0];
  }
  return static_cast<std::size_t>(examples);
}

Result<std::unique_ptr<runtime::Dataset>> ReadEvaluation(const runtime::Graph& graph, ByteView npz) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1 || At(graph, graph.outputs[0]).shape.size() != 2) {
    return InvalidArgument(kBadEvaluation,
                           "only networks with one input and one output [batch, classes] can be evaluated; publish without "
                           "evaluation data");
  }
  EF_ASSIGN_OR_RETURN(arrays::Archive archive, arrays::ReadNpz(npz));
  EF_ASSIGN_OR_RETURN(const std::size_t examples, CheckExamples(graph, archive, kBadEvaluation));
  const auto labels = archive.find(kLabels);
  if (labels == archive.end()) return InvalidArgument(kBadEvaluation, "there is no array 'labels'");
  EF_RETURN_IF_ERROR(CheckLabels(labels->second, examples, At(graph, graph.outputs[0]).shape[1]));
  arrays::Array& inputs = archive.find(At(graph, graph.inputs[0]).name)->second;
  return std::unique_ptr<runtime::Dataset>(std::make_unique<NpzDataset>(std::move(inputs), std::move(labels->second)));
}

}  // namespace edgefleet::compiler
