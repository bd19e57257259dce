// NodeReader: one ONNX node's inputs and attributes.
#include <algorithm>
#include <cmath>
#include <utility>

#include "registry/compiler/onnx_importer.h"

namespace edgefleet::compiler {

std::string NodeReader::Where() const {
  std::string name = node_.name().substr(0, 256);
  if (name.empty() && node_.output_size() > 0) name = node_.output(0).substr(0, 256);
  return "node '" + name + "' (" + node_.op_type().substr(0, 64) + ", opset " + std::to_string(importer_.opset_) + "): ";
}

Error NodeReader::Bad(const std::string& what) const { return InvalidArgument("BAD_ONNX", Where() + what); }
Error NodeReader::Unsupported(const std::string& what) const { return InvalidArgument("UNSUPPORTED_OPERATOR", Where() + what); }

const onnx::AttributeProto* NodeReader::Find(const char* name, int type, Status& error) {
  known_.insert(name);
  const onnx::AttributeProto* found = nullptr;
  for (const onnx::AttributeProto& attribute : node_.attribute()) {
    if (attribute.name() != name) continue;
    if (found != nullptr) error = Bad(std::string("attribute '") + name + "' is there twice");
    // Type 0: files from before the field existed.
    if (attribute.type() != type && attribute.type() != onnx::AttributeProto::UNDEFINED) {
      error = Bad(std::string("attribute '") + name + "' has the wrong type");
    }
    found = &attribute;
  }
  return found;
}

Result<std::int64_t> NodeReader::Int(const char* name, std::int64_t fallback) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::INT, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? fallback : attribute->i();
}

Result<float> NodeReader::Float(const char* name, float fallback) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::FLOAT, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? fallback : attribute->f();
}

Result<std::string> NodeReader::String(const char* name, const char* fallback) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::STRING, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? std::string(fallback) : attribute->s();
}

Result<std::vector<std::int64_t>> NodeReader::Ints(const char* name) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::INTS, error);
  EF_RETURN_IF_ERROR(error);
  if (attribute == nullptr) return std::vector<std::int64_t>();
  return std::vector<std::int64_t>(attribute->ints().begin(), attribute->ints().end());
}

Status NodeReader::Finish() const {
  for (const onnx::AttributeProto& attribute : node_.attribute()) {
    if (!known_.contains(attribute.name())) {
      return Unsupported("attribute '" + attribute.name().substr(0, 64) + "' is not supported; export the node without it");
    }
  }
  return OkStatus();
}

bool NodeReader::IsConstant(int index) const {
  return has_input(index) && (importer_.tensors_.contains(node_.input(index)) || importer_.made_.contains(node_.input(index)));
}

Status NodeReader::CheckInputCount(int at_least, int at_most) const {
  if (node_.input_size() > at_most) return Bad("it has more than " + std::to_string(at_most) + " inputs");
  for (int i = 0; i < at_least; ++i) {
    if (!has_input(i)) return Bad("input " + std::to_string(i) + " is missing");
  }
  return OkStatus();
}

Result<ValueId> NodeReader::Activation(int index) const {
  const std::string& name = node_.input(index);
  const auto found = importer_.activations_.find(name);
  if (found != importer_.activations_.end()) return found->second;
  if (IsConstant(index)) return Unsupported("input '" + name + "' must not be a constant; fold constants when you export");
  return Bad("input '" + name.substr(0, 256) + "' is neither an input, an initializer nor the output of an earlier node " +
             "(missing, cyclic or out of order)");
}

Result<OnnxConstant> NodeReader::Constant(int index) const {
  const std::string& name = node_.input(index);
  if (const auto made = importer_.made_.find(name); made != importer_.made_.end()) return made->second;
  const auto tensor = importer_.tensors_.find(name);
  if (tensor != importer_.tensors_.end()) {
    std::int64_t elements = 1;
    for (const std::int64_t dim : tensor->second->dims()) elements *= dim;  // within the limits, as CheckTensor found
    EF_RETURN_IF_ERROR(importer_.Charge(elements));
    return ReadTensor(*tensor->second);
  }
  if (importer_.activations_.contains(name)) {
    return Unsupported("input '" + name + "' must be a constant; export with constant folding on");
  }
  return Bad("initializer '" + name.substr(0, 256) + "' is missing");
}

Result<OnnxConstant> NodeReader::FloatConstant(int index) const {
  EF_ASSIGN_OR_RETURN(OnnxConstant constant, Constant(index));
  if (constant.floats.empty()) return Bad("input '" + node_.input(index) + "' must be float32");
  return constant;
}

Result<std::optional<std::vector<float>>> NodeReader::PerChannel(const OnnxConstant& constant,
                                                                 const std::vector<std::int64_t>& target) const {
  const std::int64_t channels = target[1];
  EF_RETURN_IF_ERROR(importer_.Charge(channels));
  if (constant.floats.size() == 1) return std::vector<float>(static_cast<std::size_t>(channels), constant.floats[0]);
  // Aligned from the right, every dimension is 1 but the channels'.
  if (constant.shape.size() > target.size()) return std::nullopt;
  for (std::size_t i = 0; i < constant.shape.size(); ++i) {
    const std::size_t axis = target.size() - constant.shape.size() + i;
    if (constant.shape[i] != (axis == 1 ? channels : 1)) return std::nullopt;
  }
  if (!std::cmp_equal(constant.floats.size(), channels)) return std::nullopt;
  return constant.floats;
}

ValueId NodeReader::AddConstant(int index, const std::string& change, std::vector<std::int64_t> shape,
                                std::vector<float> values) {
  const std::string& name = node_.input(index);
  const auto key = std::pair(name, change);
  if (const auto found = importer_.constants_.find(key); found != importer_.constants_.end()) return found->second;
  // The first use keeps the initializer's name; other forms of the same initializer get a free one.
  std::string unique = name;
  const auto taken = [&] {
    return importer_.constant_names_.contains(unique) || (unique != name && importer_.names_.contains(unique));
  };
  for (int i = 2; taken(); ++i) unique = name + "#" + std::to_string(i);
  const auto id = static_cast<ValueId>(importer_.graph_.values.size());
  importer_.graph_.values.push_back({unique, std::move(shape), true, std::move(values)});
  importer_.constants_.emplace(key, id);
  importer_.constant_names_.insert(unique);
  importer_.names_.insert(unique);
  return id;
}

Status NodeReader::CheckOutputs() const {
  if (node_.output_size() == 0) return Bad("it has no output");
  for (int i = 1; i < node_.output_size(); ++i) {
    if (!node_.output(i).empty()) return Unsupported("output " + std::to_string(i) + " is not supported; export for inference");
  }
  return OkStatus();
}

Status NodeReader::Emit(IrOperator op, std::vector<ValueId> inputs, std::vector<std::int64_t> shape) {
  EF_RETURN_IF_ERROR(CheckOutputs());
  EF_RETURN_IF_ERROR(importer_.TakeName(node_.output(0), "value"));
  auto output = importer_.AddActivation(node_.output(0), std::move(shape));
  if (!output) return std::move(output).error().Annotate(Where());
  std::string name = node_.name().empty() ? node_.output(0) : node_.name();
  if (name.size() > 240) return Bad("its name has more than 240 bytes");
  importer_.graph_.nodes.push_back({std::move(name), std::move(op), std::move(inputs), *output});
  return OkStatus();
}

Status NodeReader::EmitConstant() {
  EF_RETURN_IF_ERROR(CheckInputCount(0, 0));
  EF_RETURN_IF_ERROR(CheckOutputs());
  if (node_.attribute_size() != 1) return Bad("it needs exactly one value");
  const std::string& output = node_.output(0);
  EF_RETURN_IF_ERROR(importer_.TakeName(output, "value"));
  const onnx::AttributeProto& value = node_.attribute(0);
  if (value.name() == "value" && value.has_t()) {
    EF_RETURN_IF_ERROR(CheckTensor(value.t(), importer_.limits_));
    importer_.tensors_.emplace(output, &value.t());
    return OkStatus();
  }
  OnnxConstant constant;
  if (value.name() == "value_float") constant.floats = {value.f()};
  if (value.name() == "value_int") constant.integers = {value.i()};
  if (value.name() == "value_floats") constant.floats.assign(value.floats().begin(), value.floats().end());
  if (value.name() == "value_ints") constant.integers.assign(value.ints().begin(), value.ints().end());
  if (constant.floats.empty() && constant.integers.empty()) {
    return Unsupported("a constant given by '" + value.name().substr(0, 64) + "' is not supported; export it as a tensor");
  }
  if (!std::ranges::all_of(constant.floats, [](float x) { return std::isfinite(x); })) return Bad("its value is not finite");
  if (value.name().ends_with("s")) {
    constant.shape = {static_cast<std::int64_t>(std::max(constant.floats.size(), constant.integers.size()))};
  }
  importer_.made_.emplace(output, std::move(constant));
  return OkStatus();
}

}  // namespace edgefleet::compiler
