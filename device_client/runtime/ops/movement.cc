#include "device_client/runtime/ops/movement.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime {
namespace {

constexpr std::int64_t kSizeMax = std::numeric_limits<std::int32_t>::max();

std::vector<TypedShape> Same(const Operand& x, Shape shape) { return {{x.type(), std::move(shape)}}; }

std::int64_t Product(const Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t product = 1;
  for (std::size_t d = begin; d < end; ++d) product *= shape[d];
  return product;
}

Status CopyAll(const RunCall& call) {
  const auto bytes = static_cast<std::size_t>(call.out().count()) * SizeOf(call.out().type());
  std::copy_n(call.in(0).data, bytes, call.out().data);
  return OkStatus();
}

// Which of `rank` dimensions `axes` name.
Result<std::vector<bool>> Named(const std::vector<std::int64_t>& axes, std::size_t rank) {
  std::vector<bool> named(rank, false);
  for (const std::int64_t axis : axes) {
    EF_ASSIGN_OR_RETURN(const std::size_t d, Axis(axis, rank));
    if (named[d]) return BadAttribute("it names axis " + std::to_string(axis) + " twice");
    named[d] = true;
  }
  return named;
}

// `target` with what stands for other sizes replaced.
Result<Shape> Reshaped(const Reshape& op, const Shape& from, const std::vector<std::int64_t>& target) {
  const auto refused = [&] { return BadShape(ToText(from) + " cannot be reshaped to " + ToText(target)); };
  Shape shape = target;
  std::optional<std::size_t> open;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && !op.allow_zero) {
      if (d >= from.size()) return refused();
      shape[d] = from[d];
    } else if (shape[d] == -1) {
      if (open) return refused();
      open = d;
      shape[d] = 1;
    }
  }
  EF_ASSIGN_OR_RETURN(const std::int64_t count, CheckedCount(shape));
  const std::int64_t all = ElementCount(from);
  if (open) {
    if (count == 0 || all % count != 0) return refused();
    shape[*open] = all / count;
  } else if (count != all) {
    return refused();
  }
  return shape;
}

struct AxisSlice {
  std::int64_t start = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;
};

// `start` and `end` as ONNX has them: negative ones from the end, then clamped.
AxisSlice SliceOf(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) {
  if (size == 0) return {};
  const auto place = [&](std::int64_t value, std::int64_t low, std::int64_t high) {
    return std::clamp(value < 0 ? value + size : value, low, high);
  };
  if (step > 0) {
    const std::int64_t from = place(start, 0, size);
    const std::int64_t to = place(end, 0, size);
    return {from, step, to > from ? (to - from - 1) / step + 1 : 0};
  }
  const std::int64_t from = place(start, 0, size - 1);
  const std::int64_t to = place(end, -1, size - 1);
  const std::int64_t down = -std::max(step, -kSizeMax);
  return {from, -down, from > to ? (from - to - 1) / down + 1 : 0};
}

// Of every dimension of input 0.
Result<std::vector<AxisSlice>> Slices(const InferCall& call) {
  const Shape& shape = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const auto starts, call.Integers(1));
  EF_ASSIGN_OR_RETURN(const auto ends, call.Integers(2));
  std::vector<std::int64_t> axes(starts.size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<std::int64_t>(i);
  std::vector<std::int64_t> steps(starts.size(), 1);
  if (call.has(3)) {
    EF_ASSIGN_OR_RETURN(axes, call.Integers(3));
  }
  if (call.has(4)) {
    EF_ASSIGN_OR_RETURN(steps, call.Integers(4));
  }
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size()) {
    return BadShape("its starts, ends, axes and steps are not equally many");
  }
  EF_ASSIGN_OR_RETURN([[maybe_unused]] const auto named, Named(axes, shape.size()));
  std::vector<AxisSlice> slices;
  for (const std::int64_t size : shape) slices.push_back({0, 1, size});
  for (std::size_t i = 0; i < axes.size(); ++i) {
    EF_ASSIGN_OR_RETURN(const std::size_t d, Axis(axes[i], shape.size()));
    if (steps[i] == 0) return BadAttribute("a step is 0");
    slices[d] = SliceOf(shape[d], starts[i], ends[i], steps[i]);
  }
  return slices;
}

// The size along the axis of each output.
Result<std::vector<std::int64_t>> Parts(const Split& op, std::int64_t size, std::size_t outputs) {
  if (!op.sizes.empty()) {
    if (op.sizes.size() != outputs) return BadAttribute("it has " + std::to_string(outputs) + " outputs and not as many sizes");
    std::int64_t left = size;
    for (const std::int64_t part : op.sizes) {
      if (part < 0 || part > left)
        return BadShape("parts of sizes " + ToText(op.sizes) + " do not make " + std::to_string(size));
      left -= part;
    }
    if (left != 0) return BadShape("parts of sizes " + ToText(op.sizes) + " do not make " + std::to_string(size));
    return op.sizes;
  }
  const auto count = static_cast<std::int64_t>(outputs);
  const std::int64_t part = (size + count - 1) / count;
  if (part * (count - 1) > size) {
    return BadShape(std::to_string(size) + " elements are too few for " + std::to_string(outputs) + " parts");
  }
  std::vector<std::int64_t> parts(outputs, part);
  parts.back() = size - part * (count - 1);
  return parts;
}

Status CheckImage(const Operand& x, std::int32_t block) {
  if (x.shape().size() != 4) return BadShape("its input must have 4 dimensions, not " + ToText(x.shape()));
  if (block < 1) return BadAttribute("its block must be at least 1");
  return OkStatus();
}

// Where an array whose element [i0, i1, ...] goes to (or comes from) lies.
std::byte* At(const Destination& y, std::int64_t offset) {
  return y.data + offset * static_cast<std::int64_t>(SizeOf(y.type()));
}
const std::byte* At(const Operand& x, std::int64_t offset) {
  return x.data + offset * static_cast<std::int64_t>(SizeOf(x.type()));
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Reshape& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_ASSIGN_OR_RETURN(const auto target, call.Integers(1));
  EF_ASSIGN_OR_RETURN(Shape shape, Reshaped(op, call.at(0).shape(), target));
  return Same(call.at(0), std::move(shape));
}
Status Run(const Reshape&, const RunCall& call) { return CopyAll(call); }

Result<std::vector<TypedShape>> Infer(const Flatten& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& shape = call.at(0).shape();
  const std::size_t rank = shape.size();
  std::size_t split = rank;
  if (op.axis != static_cast<std::int32_t>(rank)) {
    EF_ASSIGN_OR_RETURN(split, Axis(op.axis, rank));
  }
  return Same(call.at(0), {Product(shape, 0, split), Product(shape, split, rank)});
}
Status Run(const Flatten&, const RunCall& call) { return CopyAll(call); }

Result<std::vector<TypedShape>> Infer(const Squeeze& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& from = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const auto named, Named(op.axes, from.size()));
  Shape shape;
  for (std::size_t d = 0; d < from.size(); ++d) {
    if (named[d] && from[d] != 1) return BadShape("dimension " + std::to_string(d) + " of " + ToText(from) + " is not 1");
    if (!(named[d] || (op.axes.empty() && from[d] == 1))) shape.push_back(from[d]);
  }
  return Same(call.at(0), std::move(shape));
}
Status Run(const Squeeze&, const RunCall& call) { return CopyAll(call); }

Result<std::vector<TypedShape>> Infer(const Unsqueeze& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& from = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const auto named, Named(op.axes, from.size() + op.axes.size()));
  Shape shape;
  auto next = from.begin();
  for (const bool added : named) shape.push_back(added ? 1 : *next++);
  return Same(call.at(0), std::move(shape));
}
Status Run(const Unsqueeze&, const RunCall& call) { return CopyAll(call); }

Result<std::vector<TypedShape>> Infer(const Transpose& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& from = call.at(0).shape();
  Shape shape(from.rbegin(), from.rend());
  if (op.permutation.empty()) return Same(call.at(0), std::move(shape));
  const std::string text = ToText(op.permutation) + " is not a permutation of " + std::to_string(from.size()) + " dimensions";
  if (op.permutation.size() != from.size()) return BadAttribute(text);
  std::vector<bool> used(from.size(), false);
  for (std::size_t d = 0; d < from.size(); ++d) {
    const std::int64_t source = op.permutation[d];
    if (source < 0 || source >= static_cast<std::int64_t>(from.size())) return BadAttribute(text);
    const auto s = static_cast<std::size_t>(source);
    if (used[s]) return BadAttribute(text);
    used[s] = true;
    shape[d] = from[s];
  }
  return Same(call.at(0), std::move(shape));
}
Status Run(const Transpose& op, const RunCall& call) {
  const Shape dense = DenseStrides(call.in(0).shape());
  Shape from(dense.rbegin(), dense.rend());
  for (std::size_t d = 0; d < op.permutation.size(); ++d) from[d] = dense[static_cast<std::size_t>(op.permutation[d])];
  const Destination& y = call.out();
  CopyStrided(SizeOf(y.type()), y.shape(), call.in(0).data, from, y.data, DenseStrides(y.shape()));
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Concat& op, const InferCall& call) {
  const std::size_t count = std::max<std::size_t>(call.inputs.size(), 1);
  EF_RETURN_IF_ERROR(call.CheckArity(count, count));
  Shape shape = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, shape.size()));
  shape[axis] = 0;
  for (const Operand& input : call.inputs) {
    EF_RETURN_IF_ERROR(CheckMovable(*input.tensor));
    if (input.type() != call.at(0).type()) {
      return BadType("it joins " + TypeText(*call.at(0).tensor) + " and " + TypeText(*input.tensor));
    }
    Shape other = input.shape();
    if (other.size() == shape.size()) other[axis] = shape[axis];
    if (other != shape) {
      return BadShape(ToText(call.at(0).shape()) + " and " + ToText(input.shape()) + " cannot be joined along axis " +
                      std::to_string(axis));
    }
    shape[axis] += input.shape()[axis];
    if (shape[axis] > kSizeMax) return BadShape("its output is too large");
  }
  return Same(call.at(0), std::move(shape));
}
Status Run(const Concat& op, const RunCall& call) {
  const Destination& y = call.out();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, y.shape().size()));
  const Shape to = DenseStrides(y.shape());
  std::int64_t done = 0;
  for (const Operand& x : call.inputs) {
    CopyStrided(SizeOf(y.type()), x.shape(), x.data, DenseStrides(x.shape()), At(y, done * to[axis]), to);
    done += x.shape()[axis];
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Split& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1, std::max<std::size_t>(call.outputs, 1)));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& from = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, from.size()));
  EF_ASSIGN_OR_RETURN(const auto parts, Parts(op, from[axis], call.outputs));
  std::vector<TypedShape> outputs(call.outputs, {call.at(0).type(), from});
  for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].shape[axis] = parts[i];
  return outputs;
}
Status Run(const Split& op, const RunCall& call) {
  const Operand& x = call.in(0);
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, x.shape().size()));
  EF_ASSIGN_OR_RETURN(const auto parts, Parts(op, x.shape()[axis], call.outputs.size()));
  const Shape from = DenseStrides(x.shape());
  std::int64_t done = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (call.wants(i)) {
      const Destination& y = call.out(i);
      CopyStrided(SizeOf(y.type()), y.shape(), At(x, done * from[axis]), from, y.data, DenseStrides(y.shape()));
    }
    done += parts[i];
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Slice&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(3, 5));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_ASSIGN_OR_RETURN(const auto slices, Slices(call));
  Shape shape;
  for (const AxisSlice& slice : slices) shape.push_back(slice.count);
  return Same(call.at(0), std::move(shape));
}
Status Run(const Slice&, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const auto slices, Slices({call.inputs, 1}));
  const Destination& y = call.out();
  if (y.count() == 0) return OkStatus();
  Shape from = DenseStrides(call.in(0).shape());
  std::int64_t first = 0;
  for (std::size_t d = 0; d < from.size(); ++d) {
    first += slices[d].start * from[d];
    from[d] *= slices[d].count == 1 ? 0 : slices[d].step;  // a step that is never taken may be of any size
  }
  CopyStrided(SizeOf(y.type()), y.shape(), At(call.in(0), first), from, y.data, DenseStrides(y.shape()));
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Expand&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_ASSIGN_OR_RETURN(const Shape target, call.Integers(1));
  EF_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t count, CheckedCount(target));
  EF_ASSIGN_OR_RETURN(Shape shape, Broadcast(call.at(0).shape(), target));
  return Same(call.at(0), std::move(shape));
}
Status Run(const Expand&, const RunCall& call) {
  const Destination& y = call.out();
  const Shape from = BroadcastStrides(call.in(0).shape(), y.shape());
  CopyStrided(SizeOf(y.type()), y.shape(), call.in(0).data, from, y.data, DenseStrides(y.shape()));
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Tile&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_ASSIGN_OR_RETURN(const auto repeats, call.Integers(1));
  Shape shape = call.at(0).shape();
  if (repeats.size() != shape.size()) {
    return BadShape("it has " + std::to_string(repeats.size()) + " repeats of " + std::to_string(shape.size()) + " dimensions");
  }
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (repeats[d] < 0) return BadShape("a repeat in " + ToText(repeats) + " is negative");
    if (shape[d] != 0 && repeats[d] > kSizeMax / shape[d]) return BadShape("its output is too large");
    shape[d] = shape[d] == 0 ? 0 : shape[d] * repeats[d];
  }
  return Same(call.at(0), std::move(shape));
}
Status Run(const Tile&, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  if (y.count() == 0) return OkStatus();
  // Each dimension as two: which repeat, and where in it.
  const Shape dense = DenseStrides(x.shape());
  const Shape target = DenseStrides(y.shape());
  Shape shape;
  Shape from;
  Shape to;
  for (std::size_t d = 0; d < dense.size(); ++d) {
    const std::int64_t size = x.shape()[d];
    shape.insert(shape.end(), {y.shape()[d] / size, size});
    from.insert(from.end(), {0, dense[d]});
    to.insert(to.end(), {size * target[d], target[d]});
  }
  CopyStrided(SizeOf(y.type()), shape, x.data, from, y.data, to);
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const DepthToSpace& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_RETURN_IF_ERROR(CheckImage(call.at(0), op.block));
  const Shape& x = call.at(0).shape();
  const std::int64_t area = std::int64_t{op.block} * op.block;
  if (x[1] % area != 0) return BadShape(std::to_string(x[1]) + " channels are not a multiple of the block's area");
  return Same(call.at(0), {x[0], x[1] / area, x[2] * op.block, x[3] * op.block});
}
Status Run(const DepthToSpace& op, const RunCall& call) {
  const Destination& y = call.out();
  const Shape& x = call.in(0).shape();
  const std::int64_t b = op.block;
  const std::int64_t depth = y.shape()[1];
  const Shape from = DenseStrides(x);
  const Shape to = DenseStrides(y.shape());
  // [n, row in block, column in block, c, h, w]; CRD has c before the two.
  const std::int64_t step = op.column_row_depth ? 1 : depth;
  const std::int64_t channel = op.column_row_depth ? b * b : 1;
  CopyStrided(SizeOf(y.type()), {x[0], b, b, depth, x[2], x[3]}, call.in(0).data,
              {from[0], b * step * from[1], step * from[1], channel * from[1], from[2], from[3]}, y.data,
              {to[0], to[2], to[3], to[1], b * to[2], b * to[3]});
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const SpaceToDepth& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_RETURN_IF_ERROR(CheckImage(call.at(0), op.block));
  const Shape& x = call.at(0).shape();
  const std::int64_t b = op.block;
  if (x[2] % b != 0 || x[3] % b != 0) return BadShape(ToText(x) + " is not a multiple of the block");
  if (x[1] != 0 && b * b > kSizeMax / x[1]) return BadShape("its output is too large");
  return Same(call.at(0), {x[0], x[1] * b * b, x[2] / b, x[3] / b});
}
Status Run(const SpaceToDepth& op, const RunCall& call) {
  const Destination& y = call.out();
  const Shape& x = call.in(0).shape();
  const std::int64_t b = op.block;
  const Shape from = DenseStrides(x);
  const Shape to = DenseStrides(y.shape());
  // [n, row in block, column in block, c, h, w]
  CopyStrided(SizeOf(y.type()), {x[0], b, b, x[1], y.shape()[2], y.shape()[3]}, call.in(0).data,
              {from[0], from[2], from[3], from[1], b * from[2], b * from[3]}, y.data,
              {to[0], b * x[1] * to[1], x[1] * to[1], to[1], to[2], to[3]});
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Trilu&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& x = call.at(0).shape();
  if (x.size() < 2) return BadShape("its input must have 2 dimensions or more, not " + ToText(x));
  if (call.has(1) && (call.at(1).type() != DataType::kInt64 || call.at(1).count() != 1)) {
    return BadType("its k must be one int64, not " + TypeText(*call.at(1).tensor) + " " + ToText(call.at(1).shape()));
  }
  return Same(call.at(0), x);
}
Status Run(const Trilu& op, const RunCall& call) {
  const Destination& y = call.out();
  const std::size_t element = SizeOf(y.type());
  const std::int64_t rows = y.shape()[y.shape().size() - 2];
  const std::int64_t columns = y.shape().back();
  const std::int64_t k = call.has(1) ? std::clamp(*call.in(1).as<std::int64_t>(), -rows, columns) : 0;
  const std::array<std::byte, 8> zero = ZeroOf(*call.in(0).tensor);
  for (std::int64_t first = 0; first < y.count(); first += columns) {
    const std::int64_t row = first / columns % rows;
    const std::int64_t begin = op.upper ? std::clamp<std::int64_t>(row + k, 0, columns) : 0;
    const std::int64_t end = op.upper ? columns : std::clamp<std::int64_t>(row + k + 1, 0, columns);
    FillElements(element, zero.data(), begin, At(y, first));
    std::copy_n(At(call.in(0), first + begin), static_cast<std::size_t>(end - begin) * element, At(y, first + begin));
    FillElements(element, zero.data(), columns - end, At(y, first + end));
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const ReverseSequence& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  const Shape& x = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t batch, Axis(op.batch_axis, x.size()));
  EF_ASSIGN_OR_RETURN(const std::size_t time, Axis(op.time_axis, x.size()));
  if (batch == time) return BadAttribute("its batch axis is its time axis");
  if (call.at(1).type() != DataType::kInt64) return BadType("its lengths must be int64, not " + TypeText(*call.at(1).tensor));
  if (call.at(1).shape() != Shape{x[batch]}) {
    return BadShape("lengths of shape " + ToText(call.at(1).shape()) + " do not fit " + ToText(x));
  }
  return Same(call.at(0), x);
}
Status Run(const ReverseSequence& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  EF_ASSIGN_OR_RETURN(const std::size_t batch, Axis(op.batch_axis, x.shape().size()));
  EF_ASSIGN_OR_RETURN(const std::size_t time, Axis(op.time_axis, x.shape().size()));
  const std::int64_t times = x.shape()[time];
  const Shape dense = DenseStrides(x.shape());
  Shape backward = dense;
  backward[time] = -dense[time];
  Shape part = x.shape();
  part[batch] = 1;
  for (std::int64_t b = 0; b < x.shape()[batch]; ++b) {
    const std::int64_t length = call.in(1).as<std::int64_t>()[b];
    if (length < 0 || length > times) {
      return InvalidArgument("BAD_INDEX",
                             "a length of " + std::to_string(length) + " is outside 0 to " + std::to_string(times) + " times");
    }
    const std::int64_t first = b * dense[batch];
    part[time] = length;
    if (length > 0) {
      CopyStrided(SizeOf(y.type()), part, At(x, first + (length - 1) * dense[time]), backward, At(y, first), dense);
    }
    part[time] = times - length;
    if (length < times) {
      const std::int64_t rest = first + length * dense[time];
      CopyStrided(SizeOf(y.type()), part, At(x, rest), dense, At(y, rest), dense);
    }
  }
  return OkStatus();
}

}  // namespace edgefleet::runtime
