#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/movement.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime {
namespace {

constexpr std::int64_t kPadMax = std::numeric_limits<std::int32_t>::max();

// One dimension: the input's elements [first, first + kept) follow `before` others and precede `after` others.
struct Padding {
  std::int64_t before = 0;
  std::int64_t after = 0;
  std::int64_t first = 0;
  std::int64_t kept = 0;

  std::int64_t size() const { return before + kept + after; }
  // The input's element at the output's element `at`; -1 for the constant.
  std::int64_t Source(Pad::Mode mode, std::int64_t at) const {
    const std::int64_t place = at - before;
    if (place >= 0 && place < kept) return first + place;
    const auto wrapped = [place](std::int64_t period) { return (place % period + period) % period; };
    switch (mode) {
      case Pad::Mode::kConstant:
        return -1;
      case Pad::Mode::kEdge:
        return first + std::clamp<std::int64_t>(place, 0, kept - 1);
      case Pad::Mode::kWrap:
        return first + wrapped(kept);
      case Pad::Mode::kReflect:
        break;
    }
    if (kept == 1) return first;
    const std::int64_t swing = wrapped(2 * (kept - 1));  // there and back again
    return first + std::min(swing, 2 * (kept - 1) - swing);
  }
};

Result<Padding> PaddingOf(std::int64_t size, std::int64_t before, std::int64_t after, Pad::Mode mode) {
  if (std::max(before, after) > kPadMax || std::min(before, after) < -kPadMax) return BadShape("a pad is too large");
  Padding padding{std::max<std::int64_t>(before, 0), std::max<std::int64_t>(after, 0), std::max<std::int64_t>(-before, 0), 0};
  padding.kept = size - padding.first - std::max<std::int64_t>(-after, 0);
  if (padding.kept < 0) return BadShape("it takes more away than the " + std::to_string(size) + " elements that there are");
  if (padding.kept == 0 && mode != Pad::Mode::kConstant && padding.size() > 0) return BadShape("there is nothing to repeat");
  return padding;
}

// Of every dimension of input 0.
Result<std::vector<Padding>> Paddings(const Pad& op, const InferCall& call) {
  const Shape& shape = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const auto pads, call.Integers(1));
  std::vector<std::int64_t> axes(shape.size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<std::int64_t>(i);
  if (call.has(3)) {
    EF_ASSIGN_OR_RETURN(axes, call.Integers(3));
  }
  if (pads.size() != 2 * axes.size()) {
    return BadShape("it has " + std::to_string(pads.size()) + " pads of " + std::to_string(axes.size()) + " dimensions");
  }
  std::vector<Padding> paddings;
  for (const std::int64_t size : shape) paddings.push_back({.kept = size});
  std::vector<bool> used(shape.size(), false);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    EF_ASSIGN_OR_RETURN(const std::size_t d, Axis(axes[i], shape.size()));
    if (used[d]) return BadAttribute("it names axis " + std::to_string(axes[i]) + " twice");
    used[d] = true;
    EF_ASSIGN_OR_RETURN(paddings[d], PaddingOf(shape[d], pads[i], pads[i + axes.size()], op.mode));
  }
  return paddings;
}

std::array<std::byte, 8> ValueOf(const RunCall& call) {
  const Tensor& x = *call.in(0).tensor;
  if (!call.has(2)) return ZeroOf(x);
  std::array<std::byte, 8> value{};
  if (call.in(2).type() == x.type) {
    std::memcpy(value.data(), call.in(2).data, SizeOf(x.type));
  } else {
    const double real = *call.in(2).as<float>();
    StoreReals(x, value.data(), 0, 1, &real);
  }
  return value;
}

// Writes the output row by row: units of elements that lie together, along the innermost dimension that is padded.
class Padder {
 public:
  Padder(const Pad& op, const RunCall& call, std::vector<Padding> paddings)
      : mode_(op.mode), paddings_(std::move(paddings)), element_(SizeOf(call.out().type())), value_(ValueOf(call)) {
    const Shape& shape = call.in(0).shape();
    strides_ = DenseStrides(shape);
    while (paddings_.size() > 1 && IsWhole(paddings_.back(), shape[paddings_.size() - 1])) {
      unit_ *= paddings_.back().kept;
      paddings_.pop_back(), strides_.pop_back();
    }
    if (paddings_.empty()) paddings_.push_back({.kept = 1}), strides_.push_back(1);
  }

  void Run(const std::byte* from, std::byte* to) const {
    std::vector<std::int64_t> index(paddings_.size() - 1, 0);
    const std::int64_t row_bytes = paddings_.back().size() * Bytes(unit_);
    while (true) {
      Row(RowOffset(index), from, to);
      to += row_bytes;
      std::size_t d = index.size();
      while (d > 0 && ++index[d - 1] == paddings_[d - 1].size()) index[--d] = 0;
      if (d == 0) return;
    }
  }

 private:
  static bool IsWhole(const Padding& p, std::int64_t size) { return p.kept == size && p.size() == size; }
  std::int64_t Bytes(std::int64_t elements) const { return elements * static_cast<std::int64_t>(element_); }

  // Where the input's row for this row of the output begins; -1 for a row of the constant.
  std::int64_t RowOffset(const std::vector<std::int64_t>& index) const {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < index.size(); ++d) {
      const std::int64_t source = paddings_[d].Source(mode_, index[d]);
      if (source < 0) return -1;
      offset += source * strides_[d];
    }
    return offset;
  }
  void Row(std::int64_t offset, const std::byte* from, std::byte* to) const {
    const Padding& row = paddings_.back();
    if (offset < 0) return FillElements(element_, value_.data(), row.size() * unit_, to);
    from += Bytes(offset);
    Repeat(from, 0, row.before, to);
    std::copy_n(from + row.first * Bytes(unit_), row.kept * Bytes(unit_), to + row.before * Bytes(unit_));
    Repeat(from, row.before + row.kept, row.after, to);
  }
  void Repeat(const std::byte* from, std::int64_t at, std::int64_t count, std::byte* to) const {
    to += at * Bytes(unit_);
    if (mode_ == Pad::Mode::kConstant) return FillElements(element_, value_.data(), count * unit_, to);
    for (std::int64_t i = at; i < at + count; ++i, to += Bytes(unit_)) {
      std::copy_n(from + paddings_.back().Source(mode_, i) * Bytes(unit_), Bytes(unit_), to);
    }
  }

  Pad::Mode mode_;
  std::vector<Padding> paddings_;
  Shape strides_;
  std::size_t element_;
  std::int64_t unit_ = 1;
  std::array<std::byte, 8> value_;
};

}  // namespace

Result<std::vector<TypedShape>> Infer(const Pad& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 4));
  const Tensor& x = *call.at(0).tensor;
  EF_RETURN_IF_ERROR(CheckMovable(x));
  if (static_cast<int>(op.mode) >= kEnumerators<Pad::Mode>) return BadAttribute("its mode is not known");
  if (call.has(2)) {
    const Operand& value = call.at(2);
    const bool real = IsQuantized(x) && IsReal(x) && value.type() == DataType::kFloat32;
    if (value.type() != x.type && !real) return BadType("it pads " + TypeText(x) + " with " + TypeText(*value.tensor));
    if (value.count() != 1) return BadShape("its value must be one element, not " + ToText(value.shape()));
  }
  EF_ASSIGN_OR_RETURN(const auto paddings, Paddings(op, call));
  Shape shape;
  for (const Padding& padding : paddings) shape.push_back(padding.size());
  return std::vector<TypedShape>{{x.type, std::move(shape)}};
}

Status Run(const Pad& op, const RunCall& call) {
  if (call.out().count() == 0) return OkStatus();
  EF_ASSIGN_OR_RETURN(auto paddings, Paddings(op, {call.inputs, 1}));
  Padder(op, call, std::move(paddings)).Run(call.in(0).data, call.out().data);
  return OkStatus();
}

}  // namespace edgefleet::runtime
