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

std::string LabelOf(const std::string& symbol) { return symbol == runtime::kBatchSymbol ? "examples" : symbol; }

std::string NamesOf(const std::vector<InputPort>& ports) {
  std::string text;
  for (const InputPort& port : ports) text += (text.empty() ? "'" : ", '") + port.name + "' " + port.ToString();
  return text;
}

bool IsNpy(ByteView file) { return AsText(file).starts_with("\x93NUMPY"); }

// Infinity is a value (masks are full of it), NaN is none.
Status CheckNan(const InputPort& port, bool counted, ByteView data, std::int64_t first_example, std::int64_t examples) {
  if (port.type != arrays::ElementType::kFloat32) return OkStatus();
  const std::span values(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  const auto found = std::ranges::find_if(values, [](float value) { return std::isnan(value); });
  if (found == values.end()) return OkStatus();
  const std::string where =
      counted ? " in example " + std::to_string(first_example + (found - values.begin()) * examples / std::ssize(values)) : "";
  return BadInput("array '" + port.name + "' holds NaN" + where + "; clean the data first");
}

}  // namespace

bool InputPort::batched() const { return !symbols.empty() && symbols[0] == runtime::kBatchSymbol; }

std::string InputPort::ToString() const {
  std::string text = std::string(arrays::NameOf(type)) + " [";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += symbols[i].empty() ? std::to_string(shape[i]) : LabelOf(symbols[i]);
  }
  return text + "]";
}

Result<arrays::ElementType> ElementTypeFor(const runtime::Tensor& tensor) {
  switch (tensor.type) {
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
  return Unimplemented("TYPE_UNSUPPORTED", "'" + tensor.name + "' is " + std::string(runtime::DataTypeName(tensor.type)) +
                                               ", which .npy files do not have");
}

Result<std::vector<InputPort>> InputPorts(const runtime::Graph& graph) {
  std::vector<InputPort> ports;
  for (const runtime::TensorId id : graph.inputs) {
    const runtime::Tensor& tensor = graph.tensor(id);
    EF_ASSIGN_OR_RETURN(const arrays::ElementType type, ElementTypeFor(tensor));
    ports.push_back({tensor.name, type, tensor.shape, std::vector<std::string>(tensor.shape.size())});
  }
  for (const runtime::DynamicDimension& dimension : graph.dynamic) {
    ports[static_cast<std::size_t>(dimension.input)].symbols[static_cast<std::size_t>(dimension.axis)] = dimension.symbol;
  }
  return ports;
}

Result<InputArrays> InputArrays::Open(const fs::path& path, const runtime::Graph& graph) {
  InputArrays inputs;
  EF_ASSIGN_OR_RETURN(inputs.ports_, InputPorts(graph));
  EF_RETURN_IF_ERROR(inputs.OpenStreams(path));
  EF_RETURN_IF_ERROR(inputs.Fit(graph));
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
  for (const InputPort& port : ports_) {
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
    if (std::ranges::find(ports_, name, &InputPort::name) == ports_.end()) ignored_.push_back(name);
  }
  return OkStatus();
}

// Takes the sizes of dynamic dimensions from the array, and holds all else against it.
Status InputArrays::FitArray(std::size_t index, bool may_repeat) {
  const InputPort& port = ports_[index];
  const arrays::ArrayInfo& info = streams_[index]->info();
  std::vector<std::int64_t> wanted = port.shape;
  if (may_repeat && wanted.empty() && info.shape.size() == 1) wanted = {1};
  bool fits = info.shape.size() == wanted.size();
  std::int64_t repeats = 1;
  for (std::size_t i = 0; fits && i < wanted.size(); ++i) {
    if (i < port.symbols.size() && !port.symbols[i].empty()) {
      const auto [known, added] = sizes_.emplace(port.symbols[i], info.shape[i]);
      if (added || known->second == info.shape[i]) continue;
      return BadInput("array '" + port.name + "' is " + info.ToString() + ", but other arrays say " + LabelOf(port.symbols[i]) +
                      " = " + std::to_string(known->second) + "; the model takes " + NamesOf(ports_));
    }
    if (i == 0 && may_repeat && info.shape[i] % wanted[i] == 0) {
      repeats = info.shape[i] / wanted[i];
    } else {
      fits = info.shape[i] == wanted[i];
    }
  }
  if (info.type != port.type || !fits) {
    std::string advice;
    if (fits) advice = std::string("; save it with .astype('") + arrays::NameOf(port.type) + "')";
    return BadInput("array '" + port.name + "' is " + info.ToString() + ", the model takes " + port.ToString() + advice);
  }
  if (repeats == 0) return BadInput("array '" + port.name + "' has no examples");
  if (repeats > 1 && repeated_ && repeats != examples_) {
    return BadInput("array '" + port.name + "' is " + info.ToString() + ", " + std::to_string(repeats) +
                    " examples, but other arrays have " + std::to_string(examples_));
  }
  if (repeats > 1) repeated_ = true, examples_ = repeats;
  rows_[index] = repeats > 1 ? wanted[0] : port.batched() ? 1 : 0;
  return OkStatus();
}

Status InputArrays::Fit(const runtime::Graph& graph) {
  rows_.resize(ports_.size());
  const bool counted = std::ranges::any_of(
      graph.dynamic, [](const runtime::DynamicDimension& dimension) { return dimension.symbol == runtime::kBatchSymbol; });
  for (std::size_t i = 0; i < ports_.size(); ++i) EF_RETURN_IF_ERROR(FitArray(i, !counted));
  for (const runtime::DynamicDimension& dimension : graph.dynamic) {
    const std::string& name = ports_[static_cast<std::size_t>(dimension.input)].name;
    const std::int64_t size = sizes_.at(dimension.symbol);
    const bool counts = dimension.symbol == runtime::kBatchSymbol;
    if (counts && dimension.axis != 0) splittable_ = false;
    if (counts && size == 0) return BadInput("array '" + name + "' has no examples");
    if (!counts && (size < dimension.min || size > dimension.max)) {
      return BadInput("dimension " + std::to_string(dimension.axis) + " of array '" + name + "' is " + std::to_string(size) +
                      "; the model takes " + std::to_string(dimension.min) + " to " + std::to_string(dimension.max));
    }
  }
  if (auto batch = sizes_.extract(std::string(runtime::kBatchSymbol)); !batch.empty()) examples_ = batch.mapped();
  return OkStatus();
}

Status InputArrays::Read(std::int64_t count, std::vector<Bytes>& buffers) {
  buffers.resize(ports_.size());
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const InputPort& port = ports_[i];
    if (rows_[i] == 0 && done_ > 0) continue;
    arrays::ArrayInfo part = streams_[i]->info();
    if (rows_[i] > 0) part.shape[0] = rows_[i] * count;
    EF_ASSIGN_OR_RETURN(const std::uint64_t size, arrays::ByteCount(part));
    buffers[i].resize(size);
    EF_RETURN_IF_ERROR(streams_[i]->Read(buffers[i]));
    EF_RETURN_IF_ERROR(CheckNan(port, rows_[i] > 0, buffers[i], done_, count));
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
