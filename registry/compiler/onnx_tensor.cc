#include "registry/compiler/onnx_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace edgefleet::compiler {
namespace {

using onnx::TensorProto;

Error BadTensor(const TensorProto& tensor, const std::string& what) {
  return InvalidArgument("BAD_ONNX", "tensor '" + tensor.name() + "': " + what);
}

// Elements, or nothing for a dimension below 1 or a product above the limit.
std::optional<std::int64_t> CountElements(const TensorProto& tensor, std::int64_t elements_max) {
  std::int64_t count = 1;
  for (const std::int64_t dim : tensor.dims()) {
    if (dim < 1 || dim > elements_max / count) return std::nullopt;
    count *= dim;
  }
  return count;
}

// Bytes of an element in raw_data; 0 for types that are not read.
std::size_t RawSize(int type) {
  switch (type) {
    case TensorProto::FLOAT:
    case TensorProto::INT32:
      return 4;
    case TensorProto::INT64:
      return 8;
    case TensorProto::BOOL:
      return 1;
    default:
      return 0;
  }
}

int TypedCount(const TensorProto& tensor) {
  if (tensor.data_type() == TensorProto::FLOAT) return tensor.float_data_size();
  return tensor.data_type() == TensorProto::INT64 ? tensor.int64_data_size() : tensor.int32_data_size();
}

template <typename T>
std::vector<std::int64_t> Widen(const std::string& raw) {
  std::vector<T> narrow(raw.size() / sizeof(T));
  std::memcpy(narrow.data(), raw.data(), narrow.size() * sizeof(T));
  return {narrow.begin(), narrow.end()};
}

}  // namespace

Status CheckTensor(const TensorProto& tensor, const OnnxLimits& limits) {
  if (tensor.data_location() == TensorProto::EXTERNAL || tensor.external_data_size() > 0) {
    return BadTensor(tensor, "its data is in another file; save the model with all tensors inside");
  }
  if (tensor.has_segment()) return BadTensor(tensor, "segmented tensors are not supported; save it in one piece");
  if (tensor.dims_size() > 6) return BadTensor(tensor, "more than 6 dimensions");
  const auto count = CountElements(tensor, limits.elements_max);
  if (!count) {
    return BadTensor(tensor,
                     "its dimensions must be positive and hold at most " + std::to_string(limits.elements_max) + " elements");
  }
  const std::size_t raw_size = RawSize(tensor.data_type());
  if (raw_size == 0) return OkStatus();  // refused by name where a node uses it
  const bool fits = tensor.has_raw_data() ? tensor.raw_data().size() == static_cast<std::size_t>(*count) * raw_size
                                          : TypedCount(tensor) == *count;
  if (!fits)
    return BadTensor(tensor, "its data does not have the " + std::to_string(*count) + " elements that its shape asks for");
  return OkStatus();
}

Result<OnnxConstant> ReadTensor(const TensorProto& tensor) {
  OnnxConstant constant{{tensor.dims().begin(), tensor.dims().end()}, {}, {}};
  const std::string& raw = tensor.raw_data();
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      if (tensor.has_raw_data()) {
        constant.floats.resize(raw.size() / sizeof(float));
        std::memcpy(constant.floats.data(), raw.data(), constant.floats.size() * sizeof(float));
      } else {
        constant.floats.assign(tensor.float_data().begin(), tensor.float_data().end());
      }
      if (!std::ranges::all_of(constant.floats, [](float x) { return std::isfinite(x); })) {
        return BadTensor(tensor, "it holds NaN or infinity; train or export the network again");
      }
      return constant;
    case TensorProto::INT64:
      constant.integers = tensor.has_raw_data()
                              ? Widen<std::int64_t>(raw)
                              : std::vector<std::int64_t>(tensor.int64_data().begin(), tensor.int64_data().end());
      return constant;
    case TensorProto::INT32:
    case TensorProto::BOOL:
      if (!tensor.has_raw_data()) {
        constant.integers.assign(tensor.int32_data().begin(), tensor.int32_data().end());
      } else {
        constant.integers = tensor.data_type() == TensorProto::INT32 ? Widen<std::int32_t>(raw) : Widen<std::uint8_t>(raw);
      }
      return constant;
    default:
      return BadTensor(tensor,
                       "data type " + std::to_string(tensor.data_type()) + " is not supported; export the network in float32");
  }
}

}  // namespace edgefleet::compiler
