// NumPy's .npz archives of .npy arrays (NEP 1 and numpy.lib.format, versions 1.0 and 2.0), read with bounds.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::compiler {

enum class NpyType : std::uint8_t { kFloat32, kUint8, kInt32, kInt64 };  // '<f4', '|u1', '<i4', '<i8'

std::size_t SizeOf(NpyType type);
const char* NpyDescr(NpyType type);

template <typename T>
constexpr NpyType NpyTypeOf();
template <>
constexpr NpyType NpyTypeOf<float>() {
  return NpyType::kFloat32;
}
template <>
constexpr NpyType NpyTypeOf<std::uint8_t>() {
  return NpyType::kUint8;
}
template <>
constexpr NpyType NpyTypeOf<std::int32_t>() {
  return NpyType::kInt32;
}
template <>
constexpr NpyType NpyTypeOf<std::int64_t>() {
  return NpyType::kInt64;
}

// Little-endian, C order. `data` holds exactly the product of `shape` elements.
struct NpyArray {
  NpyType type = NpyType::kFloat32;
  std::vector<std::int64_t> shape;
  Bytes data;

  // The elements; T must be the array's type.
  template <typename T>
  std::span<const T> values() const {
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }
};

template <typename T>
NpyArray MakeNpyArray(std::vector<std::int64_t> shape, std::span<const T> values) {
  return {NpyTypeOf<T>(), std::move(shape), ToBytes(std::as_bytes(values))};
}

// By array name, without the ".npy" of the member.
using NpzArchive = std::map<std::string, NpyArray>;

struct NpzLimits {
  std::size_t entries_max = 64;
  std::uint64_t bytes_max = std::uint64_t{2} << 30;  // of all arrays, unpacked
  // Unpacked to packed bytes of one member above 1 MiB; deflate's own limit is about 1030.
  std::uint64_t ratio_max = 200;
};

// INVALID_ARGUMENT [BAD_NPZ] for whatever is not such an archive (also: other types, byte orders, Fortran order, encryption,
// duplicate or foreign members), [TOO_LARGE] beyond the limits. Nothing larger than the limits is ever allocated.
Result<NpzArchive> ReadNpz(ByteView archive, const NpzLimits& limits = {});

// Deflated, in order of the names, with a fixed time stamp: the same arrays always give the same bytes.
Result<Bytes> WriteNpz(const NpzArchive& archive);

}  // namespace edgefleet::compiler
