#include "registry/compiler/onnx/tensor.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "device_client/runtime/validate.h"

namespace edgefleet::compiler {
namespace {

using onnx::TensorProto;
using runtime::DataType;

std::string NameOf(const TensorProto& tensor) { return "tensor '" + tensor.name().substr(0, 240) + "': "; }

Error BadTensor(const TensorProto& tensor, const std::string& what) {
  return InvalidArgument("BAD_ONNX", NameOf(tensor) + what);
}
Error BadExternal(const TensorProto& tensor, const std::string& what) {
  return InvalidArgument("EXTERNAL_DATA", NameOf(tensor) + what);
}

float HalfToFloat(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fU;
  const std::uint32_t fraction = half & 0x3ffU;
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -value : value;
  }
  const std::uint32_t bits = exponent == 31 ? 0xffU : exponent + 112;
  return std::bit_cast<float>(sign | bits << 23 | fraction << 13);
}

float BFloatToFloat(std::uint16_t value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

// Bytes of an element in raw_data; 0 for types that are not read.
std::size_t RawSize(int type) {
  switch (type) {
    case TensorProto::INT8:
    case TensorProto::UINT8:
    case TensorProto::BOOL:
      return 1;
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::INT16:
    case TensorProto::UINT16:
      return 2;
    case TensorProto::FLOAT:
    case TensorProto::INT32:
    case TensorProto::UINT32:
      return 4;
    case TensorProto::DOUBLE:
    case TensorProto::INT64:
    case TensorProto::UINT64:
      return 8;
    default:
      return 0;
  }
}

// Elements, or nothing for a negative dimension or a product above the limit. Empty tensors are allowed.
std::optional<std::int64_t> CountElements(const TensorProto& tensor, std::int64_t elements_max) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t dim : tensor.dims()) {
    if (dim < 0 || (dim > 0 && dim > elements_max / count)) return std::nullopt;
    empty = empty || dim == 0;
    count *= std::max<std::int64_t>(dim, 1);
  }
  return empty ? 0 : count;
}

// Appends `values` converted; false if one does not fit.
template <typename To, typename Values, typename Convert>
bool Append(const Values& values, Bytes& out, Convert convert) {
  out.resize(static_cast<std::size_t>(std::size(values)) * sizeof(To));
  std::byte* at = out.data();
  for (const auto value : values) {
    const std::optional<To> converted = convert(value);
    if (!converted) return false;
    std::memcpy(at, &*converted, sizeof(To));
    at += sizeof(To);
  }
  return true;
}

template <typename To>
std::optional<To> Integer(auto value) {
  if (!std::in_range<To>(value)) return std::nullopt;
  return static_cast<To>(value);
}

std::optional<float> Narrow(double value) {
  if (std::isfinite(value) && std::abs(value) > std::numeric_limits<float>::max()) return std::nullopt;
  return static_cast<float>(value);
}

// `values` hold ONNX's `type` in whatever field carries it.
template <typename Values>
bool Convert(int type, const Values& values, Bytes& out) {
  using Value = std::remove_cvref_t<decltype(*std::begin(values))>;
  if constexpr (std::is_floating_point_v<Value>) {
    return Append<float>(values, out, [](auto v) { return Narrow(v); });
  } else {
    switch (type) {
      case TensorProto::FLOAT16:
        return Append<float>(values, out, [](auto v) { return std::optional(HalfToFloat(static_cast<std::uint16_t>(v))); });
      case TensorProto::BFLOAT16:
        return Append<float>(values, out, [](auto v) { return std::optional(BFloatToFloat(static_cast<std::uint16_t>(v))); });
      case TensorProto::BOOL:
        return Append<std::uint8_t>(values, out, [](auto v) { return std::optional<std::uint8_t>(v != 0 ? 1 : 0); });
      case TensorProto::INT8:
        return Append<std::int8_t>(values, out, [](auto v) { return Integer<std::int8_t>(v); });
      case TensorProto::UINT8:
        return Append<std::uint8_t>(values, out, [](auto v) { return Integer<std::uint8_t>(v); });
      case TensorProto::INT16:
      case TensorProto::UINT16:
      case TensorProto::INT32:
        return Append<std::int32_t>(values, out, [](auto v) { return Integer<std::int32_t>(v); });
      default:
        return Append<std::int64_t>(values, out, [](auto v) { return Integer<std::int64_t>(v); });
    }
  }
}

template <typename T>
bool ConvertRaw(int type, ByteView raw, Bytes& out) {
  std::vector<T> values(raw.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), raw.data(), values.size() * sizeof(T));
  return Convert(type, values, out);
}

bool SameBytes(int type) {
  return type == TensorProto::FLOAT || type == TensorProto::INT8 || type == TensorProto::UINT8 || type == TensorProto::INT32 ||
         type == TensorProto::INT64;
}

bool ReadRaw(int type, ByteView raw, Bytes& out) {
  switch (type) {
    case TensorProto::BOOL:
      return ConvertRaw<std::uint8_t>(type, raw, out);
    case TensorProto::INT16:
      return ConvertRaw<std::int16_t>(type, raw, out);
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::UINT16:
      return ConvertRaw<std::uint16_t>(type, raw, out);
    case TensorProto::UINT32:
      return ConvertRaw<std::uint32_t>(type, raw, out);
    case TensorProto::DOUBLE:
      return ConvertRaw<double>(type, raw, out);
    default:
      return ConvertRaw<std::uint64_t>(type, raw, out);
  }
}

bool ReadTyped(const TensorProto& tensor, Bytes& out) {
  switch (const int type = tensor.data_type()) {
    case TensorProto::FLOAT:
      return Convert(type, tensor.float_data(), out);
    case TensorProto::DOUBLE:
      return Convert(type, tensor.double_data(), out);
    case TensorProto::INT64:
      return Convert(type, tensor.int64_data(), out);
    case TensorProto::UINT32:
    case TensorProto::UINT64:
      return Convert(type, tensor.uint64_data(), out);
    default:
      return Convert(type, tensor.int32_data(), out);
  }
}

std::optional<std::uint64_t> Number(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<DataType> GraphType(int type) {
  switch (type) {
    case TensorProto::FLOAT:
    case TensorProto::DOUBLE:
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
      return DataType::kFloat32;
    case TensorProto::INT8:
      return DataType::kInt8;
    case TensorProto::UINT8:
      return DataType::kUint8;
    case TensorProto::BOOL:
      return DataType::kBool;
    case TensorProto::INT16:
    case TensorProto::UINT16:
    case TensorProto::INT32:
      return DataType::kInt32;
    case TensorProto::UINT32:
    case TensorProto::INT64:
    case TensorProto::UINT64:
      return DataType::kInt64;
    case TensorProto::STRING:
      return InvalidArgument("UNSUPPORTED_OPERATOR", "strings are not supported; leave text processing out of the network");
    default:
      return InvalidArgument("UNSUPPORTED_OPERATOR",
                             "data type " + std::to_string(type) + " is not supported; export the network in float32");
  }
}

Result<ByteView> ExternalData::Find(const TensorProto& tensor, std::size_t bytes, std::shared_ptr<const MappedFile>& file) {
  if (folder_.empty())
    return BadExternal(tensor, "its data is in another file; give the folder, or save all tensors inside the model");
  std::string location;
  std::uint64_t offset = 0;
  std::uint64_t length = bytes;
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() != "offset" && entry.key() != "length") continue;
    const auto number = Number(entry.value());
    if (!number) return BadExternal(tensor, "'" + entry.key() + "' of its data is no number");
    (entry.key() == "offset" ? offset : length) = *number;
  }
  const std::filesystem::path relative(location);
  const bool climbs = std::ranges::any_of(relative, [](const auto& part) { return part == ".."; });
  if (location.empty() || location.size() > 1'024 || location.find('\0') != std::string::npos || relative.is_absolute() ||
      climbs) {
    return BadExternal(tensor, "its data must be in a file of the model's folder, named without '..'");
  }
  std::shared_ptr<const MappedFile>& mapped = files_[location];
  if (mapped == nullptr) {
    std::error_code error;
    const auto folder = std::filesystem::canonical(folder_, error);
    if (error) return BadExternal(tensor, "the folder of its data does not exist");
    const auto path = std::filesystem::canonical(folder / relative, error);
    if (error) return BadExternal(tensor, "its file '" + location + "' does not exist");
    const auto inside = std::ranges::mismatch(folder, path);
    if (inside.in1 != folder.end() || !std::filesystem::is_regular_file(path, error)) {
      return BadExternal(tensor, "its file '" + location + "' is no file inside the model's folder");
    }
    EF_ASSIGN_OR_RETURN(mapped, MappedFile::Open(path));
  }
  const ByteView content = mapped->bytes();
  if (length != bytes || offset > content.size() || bytes > content.size() - offset) {
    return BadExternal(tensor, "its " + std::to_string(bytes) + " bytes are not in '" + location + "' (offset " +
                                   std::to_string(offset) + ", length " + std::to_string(length) + ", file " +
                                   std::to_string(content.size()) + ")");
  }
  file = mapped;
  return content.subspan(offset, bytes);
}

Result<TensorValue> ReadTensor(const TensorProto& tensor, const ImportLimits& limits, ExternalData& external) {
  if (tensor.has_segment()) return BadTensor(tensor, "segmented tensors are not supported; save it in one piece");
  if (std::cmp_greater(tensor.dims_size(), runtime::kDimensionsMax)) return BadTensor(tensor, "it has too many dimensions");
  const auto count = CountElements(tensor, limits.elements_max);
  if (!count) {
    return BadTensor(
        tensor, "its dimensions must not be negative and hold at most " + std::to_string(limits.elements_max) + " elements");
  }
  TensorValue value;
  auto type = GraphType(tensor.data_type());
  if (!type) return MakeError(std::move(type.error()).Annotate("tensor '" + tensor.name().substr(0, 240) + "'"));
  value.type = *type;
  value.shape.assign(tensor.dims().begin(), tensor.dims().end());
  const std::size_t raw_bytes = static_cast<std::size_t>(*count) * RawSize(tensor.data_type());
  ByteView raw;
  bool is_raw = true;
  if (tensor.data_location() == TensorProto::EXTERNAL || tensor.external_data_size() > 0) {
    EF_ASSIGN_OR_RETURN(raw, external.Find(tensor, raw_bytes, value.mapped));
  } else if (tensor.has_raw_data()) {
    raw = AsBytes(tensor.raw_data());
  } else {
    is_raw = false;
  }
  if (is_raw && raw.size() == raw_bytes && SameBytes(tensor.data_type())) {
    value.bytes = raw;
  } else {
    const auto owned = std::make_shared<Bytes>();
    const bool fits = is_raw ? ReadRaw(tensor.data_type(), raw, *owned) : ReadTyped(tensor, *owned);
    if (!fits) return BadTensor(tensor, "it holds values beyond the " + std::string(DataTypeName(value.type)) + " they become");
    value.bytes = *owned;
    value.owned = owned;
  }
  if ((is_raw && raw.size() != raw_bytes) ||
      value.bytes.size() != static_cast<std::size_t>(*count) * runtime::SizeOf(value.type)) {
    return BadTensor(tensor, "its data does not have the " + std::to_string(*count) + " elements that its shape asks for");
  }
  return value;
}

}  // namespace edgefleet::compiler
