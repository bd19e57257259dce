#include "services/cli/model_arrays.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "base/arrays/npy.h"

namespace edgefleet::cli {
namespace {

namespace fs = std::filesystem;

// Arrays are read in parts, so their size is bounded by patience only.
constexpr std::uint64_t kInputBytesMax = std::uint64_t{64} << 30;

Error BadInput(std::string message) { return InvalidArgument("BAD_INPUT", std::move(message)); }

std::optional<arrays::ElementType> ElementTypeFor(runtime::DataType type) {
  switch (type) {
    case runtime::DataType::kFloat32:
      return arrays::ElementType::kFloat32;
    case runtime::DataType::kInt8:
      return arrays::ElementType::kInt8;
    case runtime::DataType::kInt32:
      return arrays::ElementType::kInt32;
    case runtime::DataType::kFloat16:
      return arrays::ElementType::kFloat16;
    case runtime::DataType::kUint8:
      return arrays::ElementType::kUint8;
    case runtime::DataType::kInt64:
      return arrays::ElementType::kInt64;
    case runtime::DataType::kBool:
      return arrays::ElementType::kBool;
    case runtime::DataType::kBFloat16:
    case runtime::DataType::kInt4:
      break;
  }
  return std::nullopt;
}

Result<std::vector<Port>> PortsOf(const runtime::Graph& graph, const std::vector<runtime::TensorId>& ids) {
  std::vector<Port> ports;
  for (const runtime::TensorId id : ids) {
    const runtime::Tensor& tensor = graph.tensor(id);
    const auto type = ElementTypeFor(tensor.type);
    if (!type)
      return Unimplemented("TYPE_UNSUPPORTED", "'" + tensor.name + "' is " + std::string(runtime::DataTypeName(tensor.type)) +
                                                   ", which .npy files do not have");
    ports.push_back({tensor.name, *type, tensor.shape, true});
  }
  return ports;
}

std::string NamesOf(const std::vector<Port>& ports) {
  std::string text;
  for (const Port& port : ports) text += (text.empty() ? "'" : ", '") + port.name + "' " + port.ToString();
  return text;
}

bool IsNpy(ByteView file) { return AsText(file).starts_with("\x93NUMPY"); }

// Infinity is a value (masks are full of it), NaN is none.
Status CheckNan(const Port& port, ByteView data, std::int64_t first_example, std::int64_t examples) {
  if (port.type != arrays::ElementType::kFloat32) return OkStatus();
  const std::span values(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  const auto found = std::ranges::find_if(values, [](float value) { return std::isnan(value); });
  if (found == values.end()) return OkStatus();
  const std::string where =
      port.batched ? " in example " + std::to_string(first_example + (found - values.begin()) * examples / std::ssize(values))
                   : "";
  return BadInput("array '" + port.name + "' holds NaN" + where + "; clean the data first");
}

}  // namespace

std::string Port::ToString() const {
  std::string text = std::string(arrays::NameOf(type)) + " [";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (i == 0 && batched ? "examples" : std::to_string(shape[i]));
  }
  return text + "]";
}

Result<std::vector<Port>> InputPorts(const runtime::Graph& graph) { return PortsOf(graph, graph.inputs); }
Result<std::vector<Port>> OutputPorts(const runtime::Graph& graph) { return PortsOf(graph, graph.outputs); }

Result<InputArrays> InputArrays::Open(const fs::path& path, std::vector<Port> ports) {
  InputArrays inputs;
  inputs.ports_ = std::move(ports);
  EF_RETURN_IF_ERROR(inputs.OpenStreams(path));
  bool counted = false;
  for (std::size_t i = 0; i < inputs.ports_.size(); ++i) {
    EF_RETURN_IF_ERROR(inputs.Check(i));
    if (!inputs.ports_[i].batched) continue;
    const std::int64_t examples = inputs.streams_[i]->info().shape[0];
    if (counted && examples != inputs.examples_) {
      return BadInput("array '" + inputs.ports_[i].name + "' has " + std::to_string(examples) + " examples, others have " +
                      std::to_string(inputs.examples_) + "; give all arrays the same number");
    }
    inputs.examples_ = examples;
    counted = true;
  }
  return inputs;
}

Status InputArrays::OpenStreams(const fs::path& path) {
  EF_ASSIGN_OR_RETURN(file_, MappedFile::Open(path));
  if (IsNpy(file_->bytes())) {
    if (ports_.size() != 1) {
      return BadInput(path.string() + " is one array without a name, but the model has inputs " + NamesOf(ports_) +
                      "; give an .npz with arrays of these names");
    }
    EF_ASSIGN_OR_RETURN(const auto file, arrays::NpyFile::Open(path));
    streams_.push_back(file.Stream());
    return OkStatus();
  }
  auto archive = arrays::NpzReader::Open(file_->bytes(), {.bytes_max = kInputBytesMax});
  if (!archive) return std::move(archive).error().Annotate(path.string());
  archive_ = *std::move(archive);
  for (const Port& port : ports_) {
    if (!archive_->arrays().contains(port.name)) {
      std::string names;
      for (const auto& [name, info] : archive_->arrays())
        names += (names.empty() ? "'" : ", '") + name + "' " + info.ToString();
      return BadInput("there is no array '" + port.name + "', " + port.ToString() + ", for the model's input of that name; " +
                      path.string() + " has " + names);
    }
    EF_ASSIGN_OR_RETURN(streams_.emplace_back(), archive_->Stream(port.name));
  }
  for (const auto& [name, info] : archive_->arrays()) {
    if (std::ranges::find(ports_, name, &Port::name) == ports_.end()) ignored_.push_back(name);
  }
  return OkStatus();
}

Status InputArrays::Check(std::size_t index) {
  const Port& port = ports_[index];
  const arrays::ArrayInfo& info = streams_[index]->info();
  const std::size_t first = port.batched ? 1 : 0;
  const bool fits = info.shape.size() == port.shape.size() &&
                    std::equal(info.shape.begin() + static_cast<std::ptrdiff_t>(first), info.shape.end(),
                               port.shape.begin() + static_cast<std::ptrdiff_t>(first));
  if (info.type != port.type || !fits) {
    std::string advice;
    if (fits) advice = std::string("; save it with .astype('") + arrays::NameOf(port.type) + "')";
    return BadInput("array '" + port.name + "' is " + info.ToString() + ", the model takes " + port.ToString() + advice);
  }
  if (port.batched && info.shape[0] == 0) return BadInput("array '" + port.name + "' has no examples");
  return OkStatus();
}

Status InputArrays::Read(std::int64_t count, std::vector<Bytes>& buffers) {
  buffers.resize(ports_.size());
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const Port& port = ports_[i];
    if (!port.batched && done_ > 0) continue;  // the same for all
    arrays::ArrayInfo info{port.type, port.shape};
    if (port.batched) info.shape[0] = count;
    EF_ASSIGN_OR_RETURN(const std::uint64_t size, arrays::ByteCount(info));
    buffers[i].resize(size);
    EF_RETURN_IF_ERROR(streams_[i]->Read(buffers[i]));
    EF_RETURN_IF_ERROR(CheckNan(port, buffers[i], done_, count));
  }
  done_ += count;
  return OkStatus();
}

Status CheckWritable(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return InvalidArgument("NOT_A_FILE", path.string() + " is a folder");
  if (fs::exists(folder, ignored) && !fs::is_directory(folder, ignored)) {
    return InvalidArgument("NOT_A_FOLDER", folder.string() + " is no folder");
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) return FileError("write into", folder, errno);
  return OkStatus();
}

Status WriteArrays(const fs::path& path, const arrays::Archive& archive) {
  Bytes bytes;
  if (path.extension() == ".npy" && archive.size() == 1) {
    EF_ASSIGN_OR_RETURN(bytes, arrays::WriteNpy(archive.begin()->second));
  } else {
    EF_ASSIGN_OR_RETURN(bytes, arrays::WriteNpz(archive, arrays::Packing::kStored));
  }
  return WriteFileAtomic(path, bytes);
}

}  // namespace edgefleet::cli
