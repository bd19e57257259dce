#include "registry/compiler/onnx_import.h"

#include <algorithm>
#include <climits>
#include <exception>

#include "device_client/runtime/validate.h"
#include "registry/compiler/onnx/wire.h"
#include "registry/compiler/onnx_importer.h"

namespace edgefleet::compiler {
namespace {

Error BadOnnx(const std::string& what) { return InvalidArgument("BAD_ONNX", what); }

constexpr std::size_t kNameMax = 240;  // leaves the device's limit of 256 room for the suffixes that passes add

std::string Quoted(const std::string& text) { return "'" + text.substr(0, kNameMax) + "'"; }

// The product fits the limit, whatever the dimensions are.
bool WithinLimit(const std::vector<std::int64_t>& shape, std::int64_t elements_max) {
  std::int64_t count = 1;
  for (const std::int64_t dim : shape) {
    if (dim < 1 || dim > elements_max / count) return false;
    count *= dim;
  }
  return true;
}

}  // namespace

Result<IrGraph> OnnxImporter::Run() {
  EF_RETURN_IF_ERROR(CheckModel());
  EF_RETURN_IF_ERROR(ReadInitializers());
  EF_RETURN_IF_ERROR(ReadInputs());
  EF_RETURN_IF_ERROR(ReadNodes());
  EF_RETURN_IF_ERROR(ReadOutputs());
  return std::move(graph_);
}

Status OnnxImporter::CheckModel() {
  if (!model_.has_graph()) return BadOnnx("the model has no graph");
  const onnx::GraphProto& graph = model_.graph();
  if (graph.node_size() == 0) return BadOnnx("the graph has no nodes");
  if (static_cast<std::size_t>(graph.node_size()) > runtime::kNodesMax) {
    return InvalidArgument("TOO_LARGE", "the graph has more than " + std::to_string(runtime::kNodesMax) + " nodes");
  }
  if (graph.sparse_initializer_size() > 0) return BadOnnx("sparse initializers are not supported; export dense ones");
  std::int64_t opset = 0;
  for (const auto& import : model_.opset_import()) {
    if (!import.domain().empty() && import.domain() != "ai.onnx") continue;
    if (opset != 0) return BadOnnx("the default operator set is imported twice");
    opset = import.version();
    if (opset < kOpsetMin || opset > kOpsetMax) {
      return InvalidArgument("UNSUPPORTED_OPSET", "opset " + std::to_string(opset) + " is not supported; export with opset " +
                                                      std::to_string(kOpsetMin) + " to " + std::to_string(kOpsetMax));
    }
  }
  if (opset == 0) return BadOnnx("the model does not import the default operator set");
  opset_ = static_cast<int>(opset);
  return OkStatus();
}

Status OnnxImporter::TakeName(const std::string& name, std::string_view what) {
  if (name.empty()) return BadOnnx(std::string(what) + " without a name");
  if (name.size() > kNameMax) {
    return BadOnnx(std::string(what) + " " + Quoted(name) + ": names have at most " + std::to_string(kNameMax) + " bytes");
  }
  if (!names_.insert(name).second) return BadOnnx(std::string(what) + " " + Quoted(name) + ": the name is there twice");
  return OkStatus();
}

Status OnnxImporter::ReadInitializers() {
  for (const onnx::TensorProto& tensor : model_.graph().initializer()) {
    EF_RETURN_IF_ERROR(TakeName(tensor.name(), "initializer"));
    EF_RETURN_IF_ERROR(CheckTensor(tensor, limits_));
    tensors_.emplace(tensor.name(), &tensor);
  }
  return OkStatus();
}

Status OnnxImporter::Charge(std::int64_t elements) {
  if (elements > elements_left_) {
    return InvalidArgument("TOO_LARGE",
                           "the nodes' constants hold more than " + std::to_string(2 * limits_.elements_max) + " elements");
  }
  elements_left_ -= elements;
  return OkStatus();
}

Result<ValueId> OnnxImporter::AddActivation(const std::string& name, std::vector<std::int64_t> shape) {
  if (!WithinLimit(shape, limits_.elements_max)) {
    return BadOnnx("value " + Quoted(name) + ": its dimensions must be positive and hold at most " +
                   std::to_string(limits_.elements_max) + " elements an example");
  }
  const auto id = static_cast<ValueId>(graph_.values.size());
  graph_.values.push_back({name, std::move(shape), false, {}});
  activations_.emplace(name, id);
  return id;
}

Status OnnxImporter::ReadInputs() {
  for (const onnx::ValueInfoProto& input : model_.graph().input()) {
    if (tensors_.contains(input.name())) continue;  // before IR version 4 initializers were inputs too
    EF_RETURN_IF_ERROR(TakeName(input.name(), "input"));
    const std::string where = "input " + Quoted(input.name()) + ": ";
    if (!input.type().has_tensor_type() || input.type().tensor_type().elem_type() != onnx::TensorProto::FLOAT) {
      return BadOnnx(where + "only float32 tensors are supported; convert the data before the network");
    }
    const onnx::TensorShapeProto& dims = input.type().tensor_type().shape();
    if (dims.dim_size() < 2 || static_cast<std::size_t>(dims.dim_size()) > runtime::kDimensionsMax) {
      return BadOnnx(where + "the shape must be [batch, ...] with 2 to " + std::to_string(runtime::kDimensionsMax) +
                     " dimensions");
    }
    if (dims.dim(0).has_dim_value() && dims.dim(0).dim_value() != 1) {
      return BadOnnx(where + "the batch (dimension 0) must be symbolic or 1; export with a dynamic batch");
    }
    std::vector<std::int64_t> shape{1};
    for (int i = 1; i < dims.dim_size(); ++i) {
      if (!dims.dim(i).has_dim_value()) return BadOnnx(where + "dimension " + std::to_string(i) + " must be fixed");
      shape.push_back(dims.dim(i).dim_value());
    }
    EF_ASSIGN_OR_RETURN(const ValueId id, AddActivation(input.name(), std::move(shape)));
    graph_.inputs.push_back(id);
  }
  if (graph_.inputs.empty() || graph_.inputs.size() > 16) return BadOnnx("the graph needs 1 to 16 inputs");
  return OkStatus();
}

Status OnnxImporter::ReadNodes() {
  for (const onnx::NodeProto& node : model_.graph().node()) {
    NodeReader reader(*this, node);
    if (!node.domain().empty() && node.domain() != "ai.onnx") {
      return reader.Unsupported("operators of domain " + Quoted(node.domain()) +
                                " are not supported; export with standard ones");
    }
    EF_RETURN_IF_ERROR(ImportNode(reader));
  }
  return OkStatus();
}

Status OnnxImporter::ReadOutputs() {
  for (const onnx::ValueInfoProto& output : model_.graph().output()) {
    const auto found = activations_.find(output.name());
    if (found == activations_.end()) return BadOnnx("output " + Quoted(output.name()) + " is computed by no node");
    if (std::ranges::count(graph_.outputs, found->second) != 0)
      return BadOnnx("output " + Quoted(output.name()) + " is there twice");
    graph_.outputs.push_back(found->second);
  }
  if (graph_.outputs.empty() || graph_.outputs.size() > 16) return BadOnnx("the graph needs 1 to 16 outputs");
  return OkStatus();
}

Result<IrGraph> ImportOnnx(ByteView bytes, const OnnxLimits& limits) {
  if (bytes.size() > limits.bytes_max || bytes.size() > INT_MAX) {
    return InvalidArgument("TOO_LARGE", "the model has more than " + std::to_string(limits.bytes_max) + " bytes");
  }
  const auto structure = OnnxStructureBytes(bytes);
  if (!structure) return BadOnnx("the file is truncated or no ONNX model; export it again");
  if (*structure > limits.structure_bytes_max) {
    return InvalidArgument("TOO_LARGE", "the model has more than " + std::to_string(limits.structure_bytes_max) +
                                            " bytes besides its float32 weights; drop what is not needed to run it");
  }
  try {
    onnx::ModelProto model;
    if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return BadOnnx("the file is truncated or no ONNX model; export it again");
    }
    return OnnxImporter(model, limits).Run();
  } catch (const std::exception& error) {  // protobuf, std::bad_alloc
    return InvalidArgument("BAD_ONNX", std::string("the model cannot be read: ") + error.what());
  }
}

}  // namespace edgefleet::compiler
