#include "base/arrays/array.h"

#include <algorithm>

namespace edgefleet::arrays {

std::size_t SizeOf(ElementType type) {
  switch (type) {
    case ElementType::kBool:
    case ElementType::kInt8:
    case ElementType::kUint8:
      return 1;
    case ElementType::kInt16:
    case ElementType::kUint16:
    case ElementType::kFloat16:
      return 2;
    case ElementType::kInt32:
    case ElementType::kUint32:
    case ElementType::kFloat32:
      return 4;
    case ElementType::kInt64:
    case ElementType::kUint64:
    case ElementType::kFloat64:
      break;
  }
  return 8;
}

const char* NameOf(ElementType type) {
  static constexpr const char* kNames[] = {"bool",   "int8",   "int16",  "int32",   "int64",   "uint8",
                                           "uint16", "uint32", "uint64", "float16", "float32", "float64"};
  return kNames[static_cast<std::size_t>(type)];
}

std::string ArrayInfo::ToString() const {
  std::string text = std::string(NameOf(type)) + " [";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Result<std::uint64_t> ByteCount(const ArrayInfo& info) {
  if (info.shape.size() > kRankMax) {
    return InvalidArgument("BAD_SHAPE", "the shape has more than " + std::to_string(kRankMax) + " dimensions");
  }
  std::uint64_t size = SizeOf(info.type);
  bool empty = false;
  for (const std::int64_t dimension : info.shape) {
    empty = empty || dimension == 0;
    if (dimension == 0) continue;
    if (dimension < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(dimension), &size) || (size >> 62) != 0) {
      return InvalidArgument("BAD_SHAPE", "the shape of " + info.ToString() + " is absurd");
    }
  }
  return empty ? 0 : size;
}

Status CheckElements(ElementType type, ByteView elements) {
  if (type != ElementType::kBool || std::ranges::all_of(elements, [](std::byte b) { return b <= std::byte{1}; }))
    return OkStatus();
  return InvalidArgument("BAD_NPY", "a bool is neither 0 nor 1; save x.astype(bool)");
}

Status ArrayStream::Read(std::span<std::byte> out) {
  EF_RETURN_IF_ERROR(Fill(out));
  return CheckElements(info_.type, out);
}

}  // namespace edgefleet::arrays
