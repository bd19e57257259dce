#include "device_client/runtime/ops/strided.h"

#include <cstring>

namespace edgefleet::runtime {
namespace {

// Elements of both arrays that a tile touches stay in the first cache.
constexpr std::int64_t kTile = 16;

template <typename Visit>
void WithElement(std::size_t bytes, Visit&& visit) {
  switch (bytes) {
    case 1:
      return visit(std::uint8_t{});
    case 2:
      return visit(std::uint16_t{});
    case 4:
      return visit(std::uint32_t{});
    default:
      return visit(std::uint64_t{});
  }
}

// `from` and `to` point at elements of any type of T's size.
template <typename T>
void CopyOne(const std::byte* from, std::byte* to) {
  std::memcpy(to, from, sizeof(T));
}

template <typename T>
void CopyRow(const std::byte* from, std::int64_t from_stride, std::byte* to, std::int64_t to_stride, std::int64_t count) {
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(T));
  if (from_stride == 1 && to_stride == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) CopyOne<T>(from + i * from_stride * kBytes, to + i * to_stride * kBytes);
}

// Rows lie along dimension 0, one below another along dimension 1. In tiles: rows are not contiguous in `from`, columns are.
template <typename T>
void CopyTransposed(const Strided<2>& arrays, const std::byte* from, std::byte* to) {
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(T));
  const auto [from_apart, to_apart] = arrays.strides(1);
  for (std::int64_t i = 0; i < arrays.size(1); i += kTile) {
    const std::int64_t rows = std::min(kTile, arrays.size(1) - i);
    for (std::int64_t j = 0; j < arrays.size(0); j += kTile) {
      const std::int64_t columns = std::min(kTile, arrays.size(0) - j);
      for (std::int64_t row = i; row < i + rows; ++row) {
        CopyRow<T>(from + (row * from_apart + j * arrays.strides(0)[0]) * kBytes, arrays.strides(0)[0],
                   to + (row * to_apart + j * arrays.strides(0)[1]) * kBytes, arrays.strides(0)[1], columns);
      }
    }
  }
}

}  // namespace

Shape DenseStrides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

Shape BroadcastStrides(const Shape& from, const Shape& to) {
  const Shape dense = DenseStrides(from);
  Shape strides(to.size(), 0);
  const std::size_t lead = to.size() - from.size();
  for (std::size_t d = 0; d < from.size(); ++d) strides[lead + d] = from[d] == 1 ? 0 : dense[d];
  return strides;
}

void CopyStrided(std::size_t element, const Shape& shape, const std::byte* from, const Shape& from_strides, std::byte* to,
                 const Shape& to_strides) {
  Strided<2> arrays(shape, {from_strides, to_strides});
  std::size_t contiguous = 0;
  while (contiguous < arrays.rank() && arrays.strides(contiguous)[0] != 1) ++contiguous;
  const bool transposed = contiguous != 0 && contiguous < arrays.rank();
  if (transposed) arrays.Move(contiguous, 1);
  const auto bytes = static_cast<std::int64_t>(element);
  WithElement(element, [&]<typename T>(T) {
    arrays.ForEach(transposed ? 2 : 1, [&](const auto& offsets) {
      const std::byte* source = from + offsets[0] * bytes;
      std::byte* target = to + offsets[1] * bytes;
      if (transposed) {
        CopyTransposed<T>(arrays, source, target);
      } else {
        CopyRow<T>(source, arrays.strides(0)[0], target, arrays.strides(0)[1], arrays.size(0));
      }
    });
  });
}

void FillElements(std::size_t element, const std::byte* value, std::int64_t count, std::byte* to) {
  WithElement(element, [&]<typename T>(T) {
    for (std::int64_t i = 0; i < count; ++i) CopyOne<T>(value, to + i * static_cast<std::int64_t>(sizeof(T)));
  });
}

}  // namespace edgefleet::runtime
