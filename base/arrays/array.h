// Arrays of numbers as they travel between programs: an element type, a shape, little-endian elements in row-major (C) order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::arrays {

// NumPy's element types that have one meaning on every machine.
enum class ElementType : std::uint8_t {
  kBool,  // one byte, 0 or 1
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kFloat16,  // IEEE 754 binary16
  kFloat32,
  kFloat64,
};

std::size_t SizeOf(ElementType type);
const char* NameOf(ElementType type);  // as NumPy says it: "float32"

enum class Half : std::uint16_t {};  // the bits of a binary16

template <typename T>
struct ElementTypeOf;
// clang-format off
template <> struct ElementTypeOf<bool> { static constexpr ElementType value = ElementType::kBool; };
template <> struct ElementTypeOf<std::int8_t> { static constexpr ElementType value = ElementType::kInt8; };
template <> struct ElementTypeOf<std::int16_t> { static constexpr ElementType value = ElementType::kInt16; };
template <> struct ElementTypeOf<std::int32_t> { static constexpr ElementType value = ElementType::kInt32; };
template <> struct ElementTypeOf<std::int64_t> { static constexpr ElementType value = ElementType::kInt64; };
template <> struct ElementTypeOf<std::uint8_t> { static constexpr ElementType value = ElementType::kUint8; };
template <> struct ElementTypeOf<std::uint16_t> { static constexpr ElementType value = ElementType::kUint16; };
template <> struct ElementTypeOf<std::uint32_t> { static constexpr ElementType value = ElementType::kUint32; };
template <> struct ElementTypeOf<std::uint64_t> { static constexpr ElementType value = ElementType::kUint64; };
template <> struct ElementTypeOf<Half> { static constexpr ElementType value = ElementType::kFloat16; };
template <> struct ElementTypeOf<float> { static constexpr ElementType value = ElementType::kFloat32; };
template <> struct ElementTypeOf<double> { static constexpr ElementType value = ElementType::kFloat64; };
// clang-format on

inline constexpr std::size_t kRankMax = 8;

struct ArrayInfo {
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;  // no dimension is negative; none at all: a scalar

  bool operator==(const ArrayInfo&) const = default;
  std::string ToString() const;  // "float32 [2, 3]"
};

// Bytes of all elements. INVALID_ARGUMENT [BAD_SHAPE] if a dimension is negative, if there are more than kRankMax of them, or
// if the product, zeros left out, does not fit 62 bits: no later product of its dimensions overflows.
Result<std::uint64_t> ByteCount(const ArrayInfo& info);

// `data` holds exactly ByteCount() bytes.
struct Array {
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;
  Bytes data;

  ArrayInfo info() const { return {type, shape}; }
  // The elements; T must be the array's type.
  template <typename T>
  std::span<const T> values() const {
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }
};

template <typename T>
Array MakeArray(std::vector<std::int64_t> shape, std::span<const T> values) {
  return {ElementTypeOf<T>::value, std::move(shape), ToBytes(std::as_bytes(values))};
}

// INVALID_ARGUMENT [BAD_NPY] if a bool is neither 0 nor 1; every other byte is a valid element.
Status CheckElements(ElementType type, ByteView elements);

// The elements of one array in row-major order, from a file that is never whole in memory. One thread at a time.
class ArrayStream {
 public:
  explicit ArrayStream(ArrayInfo info) : info_(std::move(info)) {}
  virtual ~ArrayStream() = default;
  ArrayStream(const ArrayStream&) = delete;
  ArrayStream& operator=(const ArrayStream&) = delete;

  const ArrayInfo& info() const { return info_; }
  // Fills `out`, a whole number of elements, with the next ones. INVALID_ARGUMENT [BAD_NPY, BAD_NPZ] if the file is damaged,
  // which is only known for sure when the last byte is read, or if fewer are left.
  Status Read(std::span<std::byte> out);

 private:
  virtual Status Fill(std::span<std::byte> out) = 0;

  const ArrayInfo info_;
};

}  // namespace edgefleet::arrays
