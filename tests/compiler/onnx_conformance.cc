#include "tests/compiler/onnx_conformance.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "device_client/runtime/session.h"
#include "registry/compiler/onnx/import.h"
#include "registry/compiler/onnx/operators.h"
#include "registry/compiler/onnx/tensor.h"
#include "tests/compiler/reference_run.h"

namespace edgefleet::compiler {
namespace {

namespace fs = std::filesystem;
using Outcome = ConformanceResult::Outcome;
using runtime::DataType;

std::string Read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void CollectOperators(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, std::set<std::string>& operators) {
  for (const auto& node : nodes) {
    operators.insert((node.domain().empty() ? "" : node.domain() + ".") + node.op_type());
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) CollectOperators(attribute.g().node(), operators);
    }
  }
}

// One of a model's sets of inputs and outputs.
struct DataSet {
  std::vector<onnx::TensorProto> inputs;
  std::vector<onnx::TensorProto> outputs;
};

// The suite stores bfloat16 as uint16.
void SetTypes(std::vector<onnx::TensorProto>& tensors,
              const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& declared) {
  for (int i = 0; i < declared.size() && std::cmp_less(i, tensors.size()); ++i) {
    onnx::TensorProto& tensor = tensors[static_cast<std::size_t>(i)];
    const bool declares = declared[i].type().tensor_type().elem_type() == onnx::TensorProto::BFLOAT16;
    if (declares && tensor.data_type() == onnx::TensorProto::UINT16) tensor.set_data_type(onnx::TensorProto::BFLOAT16);
  }
}

DataSet ReadDataSet(const fs::path& folder) {
  DataSet set;
  for (const auto& [prefix, list] : {std::pair{"input_", &set.inputs}, std::pair{"output_", &set.outputs}}) {
    for (int i = 0; fs::exists(folder / (std::string(prefix) + std::to_string(i) + ".pb")); ++i) {
      list->emplace_back().ParseFromString(Read(folder / (std::string(prefix) + std::to_string(i) + ".pb")));
    }
  }
  return set;
}

// float32 within ONNX's own tolerance (onnx.backend.test), wider for values that are kept in float32 but compared with
// bfloat16.
bool Near(const TensorValue& actual, const TensorValue& expected, int onnx_type) {
  if (expected.type != DataType::kFloat32) return std::ranges::equal(actual.bytes, expected.bytes);
  const double relative = onnx_type == onnx::TensorProto::BFLOAT16 ? 1.0 / 128 : 1e-3;
  for (std::size_t at = 0; at < expected.bytes.size(); at += sizeof(float)) {
    float a = 0;
    float b = 0;
    std::memcpy(&a, actual.bytes.data() + at, sizeof a);
    std::memcpy(&b, expected.bytes.data() + at, sizeof b);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!(std::abs(a - b) <= 1e-5 + relative * std::abs(b))) return false;
  }
  return true;
}

// A few models declare another shape than their data has.
void CorrectShapes(onnx::GraphProto& graph, const DataSet& set) {
  for (int i = 0; i < graph.input_size() && std::cmp_less(i, set.inputs.size()); ++i) {
    if (!graph.input(i).type().has_tensor_type()) continue;
    auto& type = *graph.mutable_input(i)->mutable_type()->mutable_tensor_type();
    const auto& dims = set.inputs[static_cast<std::size_t>(i)].dims();
    if (!type.has_shape() || type.shape().dim_size() == 0) continue;
    const bool same = type.shape().dim_size() == dims.size() &&
                      std::ranges::equal(type.shape().dim(), dims, [](const auto& dim, std::int64_t size) {
                        return !dim.has_dim_value() || dim.dim_value() == size;
                      });
    if (same) continue;
    type.mutable_shape()->clear_dim();
    for (const std::int64_t size : dims) type.mutable_shape()->add_dim()->set_dim_value(size);
  }
}

// The shapes of the data for inputs whose shape the model leaves open.
std::vector<InputShape> OpenShapes(const onnx::GraphProto& graph, const DataSet& set) {
  std::vector<InputShape> shapes;
  for (int i = 0; i < graph.input_size() && std::cmp_less(i, set.inputs.size()); ++i) {
    const auto& type = graph.input(i).type().tensor_type();
    const bool open =
        !type.has_shape() || std::ranges::any_of(type.shape().dim(), [](const auto& dim) { return dim.dim_value() <= 0; });
    if (!open) continue;
    InputShape shape{graph.input(i).name(), {}};
    for (const std::int64_t dim : set.inputs[static_cast<std::size_t>(i)].dims()) shape.dimensions.push_back({dim, dim});
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

// Why a model is refused, by what the importer says.
std::string CategoryOf(const std::string& message) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kCategories{{
      {"strings are not supported", "strings"},
      {"no strings", "strings"},
      {"is no tensor", "sequences and optional values"},
      {"training mode", "training"},
      {"operators of domain 'ai.onnx.preview.training'", "training"},
      {"spatial dimensions", "3-D windows"},
      {"output 1 is not supported", "indices of MaxPool"},
      {"is computed from data", "sizes that depend on data"},
      {"an activation has at least one", "empty tensors"},
      {"this operator is not supported", "operators that are not supported"},
  }};
  for (const auto& [text, category] : kCategories) {
    if (message.find(text) != std::string::npos) return std::string(category);
  }
  return "other";
}

class Case {
 public:
  explicit Case(const fs::path& folder) : folder_(folder) {
    result_.name = folder.parent_path().filename().string() + "/" + folder.filename().string();
    model_.ParseFromString(Read(folder / "model.onnx"));
    for (auto& import : *model_.mutable_opset_import()) {
      if (!import.domain().empty() || import.version() >= kOpsetMin) continue;
      old_ = true;
      import.set_version(kOpsetMin);
    }
    CollectOperators(model_.graph().node(), result_.operators);
  }

  ConformanceResult Run() {
    int sets = 0;
    for (; fs::exists(folder_ / ("test_data_set_" + std::to_string(sets))); ++sets) {
      DataSet set = ReadDataSet(folder_ / ("test_data_set_" + std::to_string(sets)));
      SetTypes(set.inputs, model_.graph().input());
      SetTypes(set.outputs, model_.graph().output());
      const Status status = RunSet(set);
      if (status.ok()) continue;
      result_.message = status.ToString();
      result_.outcome = old_ || status.reason() == "UNSUPPORTED_OPERATOR" ? Outcome::kRefused : Outcome::kFailed;
      result_.category = old_ ? "operators that opset 7 changed" : CategoryOf(result_.message);
      return std::move(result_);
    }
    result_.outcome = sets > 0 ? Outcome::kPassed : Outcome::kFailed;
    return std::move(result_);
  }

 private:
  Status RunSet(const DataSet& set) {
    const bool tensors =
        std::ranges::all_of(model_.graph().input(), [](const auto& input) { return input.type().has_tensor_type(); });
    // Activations have elements; constants may be empty.
    const bool empty =
        std::ranges::any_of(set.inputs, [](const auto& each) { return std::ranges::count(each.dims(), 0) != 0; });
    Status status;
    for (const auto& [constants, from] : {std::pair("", 1'000), std::pair("all but the first", 1), std::pair("all", 0)}) {
      if (*constants != '\0' && (!tensors || std::cmp_greater_equal(from, set.inputs.size()))) continue;
      if (*constants == '\0' && empty && tensors) continue;
      result_.constant_inputs = constants;
      status = RunWith(set, from);
      if (status.reason() != "UNSUPPORTED_OPERATOR" && !(empty && from > 0)) return status;
    }
    return status;
  }

  // Inputs from `constants_from` on are constants.
  Status RunWith(const DataSet& set, int constants_from) {
    onnx::ModelProto model = model_;
    onnx::GraphProto& graph = *model.mutable_graph();
    std::set<std::string> initialized;
    for (const auto& tensor : graph.initializer()) initialized.insert(tensor.name());
    std::vector<std::pair<std::string, const onnx::TensorProto*>> data;
    for (const auto& input : graph.input()) {
      if (initialized.contains(input.name()) || data.size() >= set.inputs.size()) continue;
      data.emplace_back(input.name(), &set.inputs[data.size()]);
    }
    if (data.size() == static_cast<std::size_t>(graph.input_size())) CorrectShapes(graph, set);
    ImportOptions options;
    options.shapes = OpenShapes(graph, set);
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (std::cmp_less(i, constants_from)) continue;
      onnx::TensorProto& tensor = *graph.add_initializer();
      tensor = *data[i].second;
      tensor.set_name(data[i].first);
      std::erase_if(options.shapes, [&](const InputShape& shape) { return shape.name == data[i].first; });
    }
    const std::string bytes = model.SerializeAsString();
    EF_ASSIGN_OR_RETURN(const runtime::Graph imported, ImportOnnx(AsBytes(bytes), options));
    std::vector<Bytes> inputs;
    for (std::size_t i = 0; i < data.size() && std::cmp_less(i, constants_from); ++i) {
      EF_ASSIGN_OR_RETURN(const TensorValue value, Value(*data[i].second));
      inputs.push_back(ToBytes(value.bytes));
    }
    EF_ASSIGN_OR_RETURN(const auto outputs, runtime::RunOnReference(imported, inputs));
    EF_RETURN_IF_ERROR(Compare(imported, outputs, set.outputs));
    Status status = RunSession(imported, inputs, set.outputs);
    return status.ok() ? status : std::move(status).Annotate("on the onednn delegate");
  }

  // On the delegate that devices use. Sessions have inputs, and activations with elements.
  static Status RunSession(const runtime::Graph& imported, const std::vector<Bytes>& inputs,
                           const std::vector<onnx::TensorProto>& expected) {
    const bool empty = std::ranges::any_of(imported.tensors, [](const runtime::Tensor& tensor) {
      return !tensor.is_constant() && runtime::ElementCount(tensor.shape) == 0;
    });
    if (imported.inputs.empty() || empty) return OkStatus();
    const auto graph = std::make_shared<const runtime::Graph>(imported);
    EF_ASSIGN_OR_RETURN(const auto session, runtime::Session::Create(graph));
    std::vector<Bytes> outputs;
    for (const runtime::TensorId id : graph->outputs) {
      const runtime::Tensor& tensor = graph->tensor(id);
      outputs.emplace_back(static_cast<std::size_t>(runtime::ElementCount(tensor.shape)) * runtime::SizeOf(tensor.type));
    }
    const std::vector<ByteView> from(inputs.begin(), inputs.end());
    const std::vector<std::span<std::byte>> to(outputs.begin(), outputs.end());
    EF_RETURN_IF_ERROR(session->Run(from, to));
    return Compare(imported, outputs, expected);
  }

  static Result<TensorValue> Value(const onnx::TensorProto& tensor) {
    static ExternalData none("");
    return ReadTensor(tensor, {}, none);
  }

  static Status Compare(const runtime::Graph& graph, const std::vector<Bytes>& outputs,
                        const std::vector<onnx::TensorProto>& expected) {
    if (outputs.size() != expected.size()) return Internal("MISMATCH", "the number of outputs differs");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const runtime::Tensor& tensor = graph.tensor(graph.outputs[i]);
      EF_ASSIGN_OR_RETURN(const TensorValue wanted, Value(expected[i]));
      const std::string where = "output '" + tensor.name + "' ";
      if (tensor.type != wanted.type)
        return Internal("MISMATCH", where + "has another type: " + std::string(DataTypeName(tensor.type)));
      if (tensor.shape != wanted.shape) {
        return Internal("MISMATCH",
                        where + "has shape " + runtime::ToText(tensor.shape) + ", not " + runtime::ToText(wanted.shape));
      }
      const TensorValue actual{tensor.type, tensor.shape, outputs[i], nullptr, nullptr};
      if (!Near(actual, wanted, expected[i].data_type())) return Internal("MISMATCH", where + "differs");
    }
    return OkStatus();
  }

  fs::path folder_;
  onnx::ModelProto model_;
  bool old_ = false;  // of an opset below 7, tried as if it were 7, which changed only some operators
  ConformanceResult result_;
};

}  // namespace

std::vector<ConformanceResult> RunConformance(const fs::path& folder) {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename() == "model.onnx") folders.push_back(entry.path().parent_path());
  }
  std::ranges::sort(folders);
  std::vector<ConformanceResult> results;
  for (const fs::path& each : folders) results.push_back(Case(each).Run());
  return results;
}

namespace {

void WriteSupported(std::ostringstream& out, const std::vector<ConformanceResult>& results, std::string_view domain) {
  out << "| operator | opset | models | limits |\n|---|---|---|---|\n";
  for (const OnnxOperator& each : OnnxOperators()) {
    if (each.domain != domain) continue;
    const std::string name = (domain.empty() ? "" : std::string(domain) + ".") + std::string(each.name);
    const auto passed = std::ranges::count_if(results, [&](const ConformanceResult& result) {
      return result.outcome == Outcome::kPassed && result.operators.contains(name);
    });
    out << "| " << each.name << " | ";
    if (domain.empty()) {
      out << std::max(each.since, kOpsetMin) << " to " << std::min(each.until, kOpsetMax);
    } else {
      out << "1";
    }
    out << " | " << (passed == 0 ? "" : std::to_string(passed)) << " | " << each.limits << " |\n";
  }
}

void WriteRefused(std::ostringstream& out, const std::vector<ConformanceResult>& results) {
  std::map<std::string, std::vector<std::string>> by_category;
  for (const ConformanceResult& result : results) {
    if (result.outcome != Outcome::kRefused) continue;
    by_category[result.category].push_back(result.name.substr(result.name.find("test_") + 5));
  }
  out << "| why | models | which |\n|---|---|---|\n";
  for (const auto& [category, names] : by_category) {
    out << "| " << category << " | " << names.size() << " | ";
    for (std::size_t i = 0; i < names.size(); ++i) out << (i == 0 ? "" : ", ") << names[i];
    out << " |\n";
  }
}

}  // namespace

std::string WriteOperatorList(const std::vector<ConformanceResult>& results) {
  const auto passed = std::ranges::count(results, Outcome::kPassed, &ConformanceResult::outcome);
  const auto with_constants = std::ranges::count_if(results, [](const ConformanceResult& result) {
    return result.outcome == Outcome::kPassed && !result.constant_inputs.empty();
  });
  std::ostringstream out;
  out << "# ONNX operators that are imported\n\n"
         "This page is written by `onnx_conformance_test --list`, and the test fails when it is not what the program finds.\n\n"
         "Models have opset "
      << kOpsetMin << " to " << kOpsetMax
      << ". Tensors are float32, int8, uint8, int32, int64 and bool; float64, float16 and "
         "bfloat16 are kept as float32, int16 and uint16 as int32, uint32 and uint64 as int64. Sizes are fixed or bounded when "
         "the model is "
         "compiled; the batch may stay open. What an operator needs to know when shapes are computed (a Reshape's shape, a "
         "Slice's starts) must "
         "follow from constants and from sizes.\n\n"
         "Of ONNX's "
      << results.size() << " test models (Debian's libonnx-testdata), **" << passed
      << " pass**: the importer takes them, and the reference "
         "kernels and the onednn delegate give the outputs that ONNX gives, within 0.1 % for float32 and exactly for integers. "
         "In "
      << with_constants
      << " of these some inputs are given as constants, because the operator needs them so. Every other model is refused with "
         "a message that names "
         "the node; the list is below. Models of opsets below 7, which the "
         "importer refuses, are tried as if they had opset 7. `models` counts the models that pass and have the operator.\n\n"
         "## The default domain\n\n";
  WriteSupported(out, results, "");
  out << "\n## com.microsoft\n\n";
  WriteSupported(out, results, "com.microsoft");
  out << "\nFunctions that a model brings along are inlined. Loop, Scan, sequences, optional values and strings are "
         "refused.\n\n"
         "## Test models that are refused\n\n";
  WriteRefused(out, results);
  return out.str();
}

}  // namespace edgefleet::compiler
