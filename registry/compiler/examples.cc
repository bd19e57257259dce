#include "registry/compiler/examples.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

namespace edgefleet::compiler {
namespace {

constexpr const char* kLabels = "labels";
constexpr const char* kBadEvaluation = "BAD_EVALUATION";

const runtime::Tensor& At(const runtime::Graph& graph, runtime::TensorId id) {
  return graph.tensors[static_cast<std::size_t>(id)];
}

// "[examples, 3]", or "[examples * 2, 3]" where an input has two rows.
std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[examples" + (shape[0] == 1 ? "" : " * " + std::to_string(shape[0]));
  for (std::size_t i = 1; i < shape.size(); ++i) text += ", " + std::to_string(shape[i]);
  return text + "]";
}

// Nothing for types that no array has.
std::optional<arrays::ElementType> ElementTypeOf(runtime::DataType type) {
  switch (type) {
    case runtime::DataType::kFloat32:
      return arrays::ElementType::kFloat32;
    case runtime::DataType::kInt8:
      return arrays::ElementType::kInt8;
    case runtime::DataType::kUint8:
      return arrays::ElementType::kUint8;
    case runtime::DataType::kInt32:
      return arrays::ElementType::kInt32;
    case runtime::DataType::kInt64:
      return arrays::ElementType::kInt64;
    case runtime::DataType::kBool:
      return arrays::ElementType::kBool;
    default:
      return std::nullopt;
  }
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
  std::size_t examples = 0;
  for (const runtime::TensorId id : graph.inputs) {
    const runtime::Tensor& input = At(graph, id);
    const auto found = archive.find(input.name);
    if (found == archive.end())
      return InvalidArgument(reason, "there is no array '" + input.name + "' for the network's input of that name");
    const arrays::Array& array = found->second;
    const auto type = ElementTypeOf(input.type);
    const std::vector<std::int64_t> one = input.shape.empty() ? std::vector<std::int64_t>{1} : input.shape;
    if (!type || array.type != *type || array.shape.size() != one.size() ||
        !std::equal(array.shape.begin() + 1, array.shape.end(), one.begin() + 1)) {
      return InvalidArgument(
          reason, "array '" + input.name + "' must be " + std::string(DataTypeName(input.type)) + " " + ShapeText(one));
    }
    if (array.shape[0] < 1 || array.shape[0] % one[0] != 0) {
      return InvalidArgument(reason, "array '" + input.name + "' needs an example or more, " + ShapeText(one));
    }
    const auto count = static_cast<std::size_t>(array.shape[0] / one[0]);
    if (examples != 0 && count != examples) {
      return InvalidArgument(reason, "array '" + input.name + "' needs an example or more, as many as the others have");
    }
    if (array.type == arrays::ElementType::kFloat32 &&
        !std::ranges::all_of(array.values<float>(), [](float x) { return std::isfinite(x); })) {
      return InvalidArgument(reason, "array '" + input.name + "' holds NaN or infinity");
    }
    examples = count;
  }
  return examples;
}

ExampleRunner::ExampleRunner(std::unique_ptr<runtime::Session> session, const arrays::Archive& examples)
    : session_(std::move(session)) {
  const runtime::Graph& graph = session_->graph();
  for (const runtime::TensorId id : graph.inputs) inputs_.push_back(&examples.at(At(graph, id).name));
  for (const runtime::TensorId id : graph.outputs) {
    const runtime::Tensor& output = At(graph, id);
    outputs_.emplace_back(runtime::ConstantBytes(output.type, output.shape));
  }
}

Result<std::unique_ptr<ExampleRunner>> ExampleRunner::Create(std::shared_ptr<const runtime::Graph> graph,
                                                             const arrays::Archive& examples, runtime::SessionOptions options) {
  EF_ASSIGN_OR_RETURN(auto session, runtime::Session::Create(std::move(graph), std::move(options)));
  return std::unique_ptr<ExampleRunner>(new ExampleRunner(std::move(session), examples));
}

Status ExampleRunner::Run(std::size_t example) {
  const runtime::Graph& graph = session_->graph();
  std::vector<ByteView> inputs;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const runtime::Tensor& input = At(graph, graph.inputs[i]);
    const std::size_t size = runtime::ConstantBytes(input.type, input.shape);
    inputs.push_back(ByteView(inputs_[i]->data).subspan(example * size, size));
  }
  std::vector<std::span<std::byte>> outputs(outputs_.begin(), outputs_.end());
  return session_->Run(inputs, outputs);
}

std::vector<float> ExampleRunner::Outputs() const {
  std::vector<float> values;
  const runtime::Graph& graph = session_->graph();
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (At(graph, graph.outputs[i]).type != runtime::DataType::kFloat32) continue;
    const auto* data = reinterpret_cast<const float*>(outputs_[i].data());
    values.insert(values.end(), data, data + outputs_[i].size() / sizeof(float));
  }
  return values;
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
