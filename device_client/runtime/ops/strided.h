// Arrays of one shape whose elements lie at strides of their own: broadcasting, moving and reducing are loops over them.
// Strides and offsets are in elements. Internal to ops/ and its callers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// Of a row-major array.
Shape DenseStrides(const Shape& shape);
// Of a row-major array of shape `from` repeated to shape `to`, to which it broadcasts.
Shape BroadcastStrides(const Shape& from, const Shape& to);

// `n` arrays of one shape, walked in row-major order. Dimensions that lie alike in all of them are merged.
template <std::size_t n>
class Strided {
 public:
  using Offsets = std::array<std::int64_t, n>;
  static constexpr std::size_t kRankMax = 16;  // of all shapes: each of a tensor's dimensions may be taken apart in two

  Strided(const Shape& shape, const std::array<Shape, n>& strides) {
    for (std::size_t d = shape.size(); d-- > 0;) {
      Offsets apart;
      for (std::size_t k = 0; k < n; ++k) apart[k] = strides[k][d];
      Prepend(shape[d], apart);
    }
    if (sizes_.empty()) Prepend(1, {}, true);
  }

  // Dimensions after merging, the innermost first; at least one.
  std::size_t rank() const { return sizes_.size(); }
  std::int64_t size(std::size_t d) const { return sizes_[d]; }
  const Offsets& strides(std::size_t d) const { return strides_[d]; }
  // Calls visit(offsets) for each run of the dimensions from the `inner` innermost ones on: offsets of its first elements.
  template <typename Visit>
  void ForEach(std::size_t inner, Visit&& visit) const {
    if (std::find(sizes_.begin(), sizes_.end(), 0) != sizes_.end()) return;
    std::array<std::int64_t, kRankMax> index{};
    Offsets offsets{};
    while (true) {
      visit(std::as_const(offsets));
      std::size_t d = inner;
      for (; d < sizes_.size(); ++d) {
        for (std::size_t k = 0; k < n; ++k) offsets[k] += strides_[d][k];
        if (++index[d] < sizes_[d]) break;
        for (std::size_t k = 0; k < n; ++k) offsets[k] -= strides_[d][k] * sizes_[d];
        index[d] = 0;
      }
      if (d == sizes_.size()) return;
    }
  }
  // Moves dimension `d` to the place `to`.
  void Move(std::size_t d, std::size_t to) {
    const auto move = [&](auto& values) {
      const auto at = [&](std::size_t i) { return values.begin() + static_cast<std::ptrdiff_t>(i); };
      d < to ? std::rotate(at(d), at(d + 1), at(to + 1)) : std::rotate(at(to), at(d), at(d + 1));
    };
    move(sizes_), move(strides_);
  }

 private:
  void Prepend(std::int64_t size, const Offsets& apart, bool always = false) {
    if (size == 1 && !always) return;
    bool merges = !sizes_.empty();
    for (std::size_t k = 0; merges && k < n; ++k) merges = apart[k] == strides_.back()[k] * sizes_.back();
    if (merges) {
      sizes_.back() *= size;
    } else {
      sizes_.push_back(size), strides_.push_back(apart);
    }
  }

  Shape sizes_;
  std::vector<Offsets> strides_;
};

// Copies an array of elements of `element` bytes (1, 2, 4 or 8), which may begin anywhere in its buffer and may have negative
// strides. No element is written twice.
void CopyStrided(std::size_t element, const Shape& shape, const std::byte* from, const Shape& from_strides, std::byte* to,
                 const Shape& to_strides);

// Writes `count` times the element at `value`.
void FillElements(std::size_t element, const std::byte* value, std::int64_t count, std::byte* to);

}  // namespace edgefleet::runtime
