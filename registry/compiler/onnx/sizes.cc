#include "registry/compiler/onnx/sizes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

namespace edgefleet::compiler {
namespace {

constexpr std::int64_t kSizeMax = std::int64_t{1} << 31;

Error BadShape(const std::string& what) { return InvalidArgument("BAD_SHAPE", what); }

using Dim = onnx::TensorShapeProto::Dimension;

const onnx::TensorShapeProto* ShapeOf(const onnx::ValueInfoProto& input) {
  return input.type().has_tensor_type() && input.type().tensor_type().has_shape() ? &input.type().tensor_type().shape()
                                                                                  : nullptr;
}

// Some exporters write 0 or -1 for sizes they do not know.
bool IsFixed(const Dim& dim) { return dim.has_dim_value() && dim.dim_value() > 0; }

// A symbolic dimension 0 is the batch unless its name says that it is something else.
bool IsBatch(const std::string& symbol, int rank) {
  std::string lower;
  for (const char c : symbol) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower.find("batch") != std::string::npos) return true;
  if (rank < 2) return false;
  constexpr std::array<std::string_view, 12> kOthers{"seq",    "time",  "len",   "height", "width", "frame",
                                                     "sample", "token", "point", "num_",   "node",  "edge"};
  return std::ranges::none_of(kOthers, [&](std::string_view other) { return lower.find(other) != std::string::npos; });
}

std::optional<std::int64_t> Number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "1x3x224x32..960": sizes for an input of these dimensions.
std::string Example(const onnx::TensorShapeProto* dims) {
  if (dims == nullptr) return "1x3x224x224";
  std::string text;
  for (int axis = 0; axis < dims->dim_size(); ++axis) {
    text += axis == 0 ? "" : "x";
    text += IsFixed(dims->dim(axis)) ? std::to_string(dims->dim(axis).dim_value()) : axis == 0 ? "1" : "32..960";
  }
  return text;
}

}  // namespace

Result<InputShape> ParseInputShape(std::string_view text) {
  const auto wrong = [&] {
    return InvalidArgument("BAD_OPTIONS",
                           "the shape '" + std::string(text.substr(0, 240)) +
                               "' must look like name=1,3,224,224; a dimension may also be bounds like 32..960, or * " +
                               "for what the model says");
  };
  const std::size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0) return wrong();
  InputShape shape{std::string(text.substr(0, equals)), {}};
  std::string_view rest = text.substr(equals + 1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view word = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (word == "*") {
      shape.dimensions.push_back({});
      continue;
    }
    const std::size_t dots = word.find("..");
    const auto min = Number(word.substr(0, dots));
    const auto max = dots == std::string_view::npos ? min : Number(word.substr(dots + 2));
    if (!min || !max || *min < 1 || *max < *min || *max >= kSizeMax) return wrong();
    shape.dimensions.push_back({*min, *max});
  }
  return shape;
}

Result<InputSizes> InputSizes::Read(const std::vector<const onnx::ValueInfoProto*>& inputs,
                                    const std::vector<InputShape>& given, bool fixed_batch, std::int64_t open_default) {
  InputSizes sizes;
  sizes.open_default_ = open_default;
  sizes.given_ = given;
  sizes.fixed_batch_ = fixed_batch;
  for (const InputShape& shape : given) {
    const auto input = std::ranges::find_if(inputs, [&](const auto* each) { return each->name() == shape.name; });
    if (input == inputs.end()) return BadShape("a shape is given for '" + shape.name + "', but the model has no such input");
    const onnx::TensorShapeProto* dims = ShapeOf(**input);
    if (dims == nullptr) continue;
    if (!std::cmp_equal(dims->dim_size(), shape.dimensions.size())) {
      return BadShape("input '" + shape.name + "' has " + std::to_string(dims->dim_size()) + " dimensions, but " +
                      std::to_string(shape.dimensions.size()) + " are given");
    }
    for (int axis = 0; axis < dims->dim_size(); ++axis) {
      const InputShape::Dimension& wanted = shape.dimensions[static_cast<std::size_t>(axis)];
      if (wanted.min == 0) continue;
      const Dim& dim = dims->dim(axis);
      if (IsFixed(dim) && (wanted.min != dim.dim_value() || wanted.max != dim.dim_value())) {
        return BadShape("dimension " + std::to_string(axis) + " of input '" + shape.name + "' is fixed at " +
                        std::to_string(dim.dim_value()) + " in the model; export it with a dynamic one to choose another");
      }
      if (!IsFixed(dim) && !dim.dim_param().empty()) sizes.by_symbol_[dim.dim_param()] = wanted;
    }
  }
  for (const auto* input : inputs) {
    const onnx::TensorShapeProto* dims = ShapeOf(*input);
    if (dims == nullptr || dims->dim_size() == 0 || IsFixed(dims->dim(0)) || dims->dim(0).dim_param().empty()) continue;
    if (IsBatch(dims->dim(0).dim_param(), dims->dim_size())) sizes.batch_symbols_.insert(dims->dim(0).dim_param());
  }
  return sizes;
}

const InputShape* InputSizes::Given(const std::string& name) const {
  const auto found = std::ranges::find(given_, name, &InputShape::name);
  return found == given_.end() ? nullptr : &*found;
}

Result<InputSizes::Size> InputSizes::SizeOf(const onnx::ValueInfoProto& input, int axis, int rank) const {
  const onnx::TensorShapeProto* dims = ShapeOf(input);
  const Dim dim = dims == nullptr ? Dim() : dims->dim(axis);
  if (IsFixed(dim)) return Size{dim.dim_value(), dim.dim_value(), dim.dim_value(), ""};
  const std::string& name = dim.dim_param();
  const bool batch = name.empty() ? axis == 0 && IsBatch(name, rank) : batch_symbols_.contains(name);
  InputShape::Dimension wanted;
  if (const InputShape* given = Given(input.name())) wanted = given->dimensions[static_cast<std::size_t>(axis)];
  if (const auto found = by_symbol_.find(name); wanted.min == 0 && found != by_symbol_.end()) wanted = found->second;
  if (wanted.min == 0 && batch) wanted = {1, fixed_batch_ ? 1 : runtime::kBatchMax};
  const std::string symbol = name.empty() ? input.name() + "." + std::to_string(axis) : name;
  if (wanted.min == 0 && open_default_ > 0 && !dim.has_dim_value()) return Size{open_default_, 1, kOpenMax, symbol};
  if (wanted.min == 0) {
    return InvalidArgument("SIZE_MISSING", "dimension " + std::to_string(axis) +
                                               (name.empty() ? "" : " ('" + name.substr(0, 64) + "')") + " of input '" +
                                               input.name() + "' is not fixed in the model; give its size or bounds, as in " +
                                               "--shape '" + input.name() + "=" + Example(dims) + "'");
  }
  if (wanted.min == wanted.max) return Size{wanted.min, wanted.min, wanted.max, ""};
  if (batch) return Size{wanted.min, wanted.min, wanted.max, std::string(runtime::kBatchSymbol)};
  return Size{wanted.max, wanted.min, wanted.max, symbol};
}

Result<std::vector<InputSizes::Size>> InputSizes::Of(const onnx::ValueInfoProto& input) const {
  const onnx::TensorShapeProto* dims = ShapeOf(input);
  const InputShape* given = Given(input.name());
  if (dims == nullptr && given == nullptr) {
    return BadShape("the model does not say how many dimensions input '" + input.name() +
                    "' has; give its shape, as in --shape '" + input.name() + "=" + Example(dims) + "'");
  }
  const int rank = dims != nullptr ? dims->dim_size() : static_cast<int>(given->dimensions.size());
  std::vector<Size> sizes;
  for (int axis = 0; axis < rank; ++axis) {
    EF_ASSIGN_OR_RETURN(Size size, SizeOf(input, axis, rank));
    sizes.push_back(std::move(size));
  }
  return sizes;
}

}  // namespace edgefleet::compiler
