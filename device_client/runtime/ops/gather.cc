#include "device_client/runtime/ops/gather.h"

#include <algorithm>

#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime {
namespace {

Status CheckIndexType(const Operand& indices) {
  if (indices.type() == DataType::kInt32 || indices.type() == DataType::kInt64) return OkStatus();
  return BadType("its indices must be int32 or int64, not " + TypeText(*indices.tensor));
}

std::int64_t IndexAt(const Operand& indices, std::int64_t i) {
  return indices.type() == DataType::kInt32 ? indices.as<std::int32_t>()[i] : indices.as<std::int64_t>()[i];
}

// Element i of `indices` as a place in a dimension of this size; it is inside.
std::int64_t PlaceAt(const Operand& indices, std::int64_t i, std::int64_t size) {
  const std::int64_t index = IndexAt(indices, i);
  return index < 0 ? index + size : index;
}

// That index i is inside a dimension of `sizes[i % n]`.
Status CheckIndices(const Operand& indices, std::span<const std::int64_t> sizes) {
  const std::int64_t count = indices.count();
  std::size_t d = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t index = IndexAt(indices, i);
    const std::int64_t size = sizes[d];
    if (index < -size || index >= size) {
      return InvalidArgument("BAD_INDEX",
                             "index " + std::to_string(index) + " is outside a dimension of " + std::to_string(size));
    }
    if (++d == sizes.size()) d = 0;
  }
  return OkStatus();
}

std::int64_t Product(std::span<const std::int64_t> sizes) {
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) product *= size;
  return product;
}

// What GatherElements and ScatterElements ask of indices: the data's rank, and inside it but along the axis.
Status CheckAlike(const Shape& data, const Shape& indices, std::size_t axis) {
  bool fits = indices.size() == data.size();
  for (std::size_t d = 0; fits && d < data.size(); ++d) fits = d == axis || indices[d] <= data[d];
  if (!fits) return BadShape("indices of shape " + ToText(indices) + " do not fit " + ToText(data));
  return OkStatus();
}

// Calls visit(i, place) for each index: its number, and the data's element that it names along the axis.
template <typename Visit>
void ForEachNamed(const Operand& indices, const Shape& data, std::size_t axis, Visit&& visit) {
  Shape strides = DenseStrides(data);
  const std::int64_t along = std::exchange(strides[axis], 0);
  const Strided<1> arrays(indices.shape(), {strides});
  std::int64_t i = 0;
  arrays.ForEach(0, [&](const auto& offsets) {
    visit(i, offsets[0] + PlaceAt(indices, i, data[axis]) * along);
    ++i;
  });
}

// The last dimension of indices as coordinates of places in dimensions [first, first + depth) of data.
struct Tuples {
  std::int64_t count = 0;
  std::size_t depth = 0;
  std::span<const std::int64_t> sizes;  // of those dimensions
  std::int64_t slice = 1;               // elements that a place has

  // The number of the slice that tuple t names.
  std::int64_t Place(const Operand& indices, std::int64_t t) const {
    std::int64_t place = 0;
    const auto n = static_cast<std::int64_t>(depth);
    for (std::int64_t k = 0; k < n; ++k) {
      const std::int64_t size = sizes[static_cast<std::size_t>(k)];
      place = place * size + PlaceAt(indices, t * n + k, size);
    }
    return place;
  }
};

Result<Tuples> TuplesOf(const Shape& data, const Shape& indices, std::size_t first) {
  const auto refused = [&] {
    return BadShape("indices of shape " + ToText(indices) + " do not name places in " + ToText(data));
  };
  if (indices.empty() || data.size() <= first || indices.size() <= first) return refused();
  const std::int64_t depth = indices.back();
  if (depth < 1 || depth > static_cast<std::int64_t>(data.size() - first)) return refused();
  if (!std::equal(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(first), indices.begin())) return refused();
  const std::span<const std::int64_t> all(data);
  Tuples tuples;
  tuples.depth = static_cast<std::size_t>(depth);
  tuples.count = Product(std::span(indices).first(indices.size() - 1));
  tuples.sizes = all.subspan(first, tuples.depth);
  tuples.slice = Product(all.subspan(first + tuples.depth));
  return tuples;
}

Status CheckCombines(ScatterKind kind, const Tensor& data, const Tensor& updates) {
  EF_RETURN_IF_ERROR(CheckMovable(data));
  if (static_cast<int>(kind) >= kEnumerators<ScatterKind>) return BadAttribute("how it combines is not known");
  if (updates.type != data.type) return BadType("it updates " + TypeText(data) + " with " + TypeText(updates));
  const bool orders = kind == ScatterKind::kMax || kind == ScatterKind::kMin;
  const bool numbers = IsInteger(data) || (IsReal(data) && (orders || !IsQuantized(data)));
  if (kind != ScatterKind::kSet && !numbers) return BadType("it cannot compute with " + TypeText(data));
  return OkStatus();
}

template <typename T>
T Combined(ScatterKind kind, T a, T b) {
  switch (kind) {
    case ScatterKind::kSet:
      return b;
    case ScatterKind::kMax:
      return b > a ? b : a;
    case ScatterKind::kMin:
      return b < a ? b : a;
    case ScatterKind::kAdd:
    case ScatterKind::kMul:
      break;
  }
  const bool add = kind == ScatterKind::kAdd;
  if constexpr (std::is_floating_point_v<T>) {
    return add ? a + b : a * b;
  } else {
    return static_cast<T>(add ? WrapAdd(a, b) : WrapMul(a, b));
  }
}

// Combines `count` elements.
template <typename T>
void Combine(ScatterKind kind, const T* from, std::int64_t count, T* to) {
  if (kind == ScatterKind::kSet) {
    std::copy_n(from, count, to);
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<T, Float16>) {
      to[i] = ToFloat16(Combined(kind, ToFloat(to[i]), ToFloat(from[i])));
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      to[i] = ToBFloat16(Combined(kind, ToFloat(to[i]), ToFloat(from[i])));
    } else {
      to[i] = Combined(kind, to[i], from[i]);
    }
  }
}

void CopyData(const RunCall& call) {
  const auto bytes = static_cast<std::size_t>(call.out().count()) * SizeOf(call.out().type());
  std::copy_n(call.in(0).data, bytes, call.out().data);
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Gather& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_RETURN_IF_ERROR(CheckIndexType(call.at(1)));
  const Shape& data = call.at(0).shape();
  const Shape& indices = call.at(1).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, data.size()));
  if (call.known(1)) EF_RETURN_IF_ERROR(CheckIndices(call.at(1), {&data[axis], 1}));
  const auto at = data.begin() + static_cast<std::ptrdiff_t>(axis);
  Shape shape(data.begin(), at);
  shape.insert(shape.end(), indices.begin(), indices.end());
  shape.insert(shape.end(), at + 1, data.end());
  return std::vector<TypedShape>{{call.at(0).type(), std::move(shape)}};
}

Status Run(const Gather& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const Operand& indices = call.in(1);
  const Shape& data = x.shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, data.size()));
  EF_RETURN_IF_ERROR(CheckIndices(indices, {&data[axis], 1}));
  const std::span<const std::int64_t> sizes(data);
  const std::int64_t outer = Product(sizes.first(axis));
  const std::int64_t count = indices.count();
  const std::int64_t slice = Product(sizes.subspan(axis + 1)) * static_cast<std::int64_t>(SizeOf(x.type()));
  std::byte* to = call.out().data;
  for (std::int64_t o = 0; o < outer; ++o) {
    const std::byte* from = x.data + o * data[axis] * slice;
    for (std::int64_t i = 0; i < count; ++i) to = std::copy_n(from + PlaceAt(indices, i, data[axis]) * slice, slice, to);
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const GatherElements& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_RETURN_IF_ERROR(CheckIndexType(call.at(1)));
  const Shape& data = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, data.size()));
  EF_RETURN_IF_ERROR(CheckAlike(data, call.at(1).shape(), axis));
  if (call.known(1)) EF_RETURN_IF_ERROR(CheckIndices(call.at(1), {&data[axis], 1}));
  return std::vector<TypedShape>{{call.at(0).type(), call.at(1).shape()}};
}

Status Run(const GatherElements& op, const RunCall& call) {
  const Shape& data = call.in(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, data.size()));
  EF_RETURN_IF_ERROR(CheckIndices(call.in(1), {&data[axis], 1}));
  WithStored(call.in(0).type(), [&]<typename T>(T) {
    ForEachNamed(call.in(1), data, axis,
                 [&](std::int64_t i, std::int64_t place) { call.out().as<T>()[i] = call.in(0).as<T>()[place]; });
  });
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const GatherNd& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(0).tensor));
  EF_RETURN_IF_ERROR(CheckIndexType(call.at(1)));
  if (op.batch_dims < 0) return BadAttribute("its batch dimensions are negative");
  const Shape& data = call.at(0).shape();
  const Shape& indices = call.at(1).shape();
  const auto batch = static_cast<std::size_t>(op.batch_dims);
  EF_ASSIGN_OR_RETURN(const Tuples tuples, TuplesOf(data, indices, batch));
  if (call.known(1)) EF_RETURN_IF_ERROR(CheckIndices(call.at(1), tuples.sizes));
  Shape shape(indices.begin(), indices.end() - 1);
  shape.insert(shape.end(), data.begin() + static_cast<std::ptrdiff_t>(batch + tuples.depth), data.end());
  return std::vector<TypedShape>{{call.at(0).type(), std::move(shape)}};
}

Status Run(const GatherNd& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const auto first = static_cast<std::size_t>(op.batch_dims);
  EF_ASSIGN_OR_RETURN(const Tuples tuples, TuplesOf(x.shape(), call.in(1).shape(), first));
  EF_RETURN_IF_ERROR(CheckIndices(call.in(1), tuples.sizes));
  const std::int64_t batches = Product(std::span<const std::int64_t>(x.shape()).first(first));
  const std::int64_t bytes = tuples.slice * static_cast<std::int64_t>(SizeOf(x.type()));
  const std::int64_t places = Product(tuples.sizes);
  std::byte* to = call.out().data;
  for (std::int64_t t = 0; t < tuples.count; ++t) {
    const std::int64_t batch = t / (tuples.count / batches);
    to = std::copy_n(x.data + (batch * places + tuples.Place(call.in(1), t)) * bytes, bytes, to);
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const ScatterElements& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(3, 3));
  EF_RETURN_IF_ERROR(CheckCombines(op.kind, *call.at(0).tensor, *call.at(2).tensor));
  EF_RETURN_IF_ERROR(CheckIndexType(call.at(1)));
  const Shape& data = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, data.size()));
  EF_RETURN_IF_ERROR(CheckAlike(data, call.at(1).shape(), axis));
  if (call.at(2).shape() != call.at(1).shape()) {
    return BadShape("updates of shape " + ToText(call.at(2).shape()) + " do not fit indices of " + ToText(call.at(1).shape()));
  }
  if (call.known(1)) EF_RETURN_IF_ERROR(CheckIndices(call.at(1), {&data[axis], 1}));
  return std::vector<TypedShape>{{call.at(0).type(), data}};
}

Status Run(const ScatterElements& op, const RunCall& call) {
  const Shape& data = call.in(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, data.size()));
  EF_RETURN_IF_ERROR(CheckIndices(call.in(1), {&data[axis], 1}));
  CopyData(call);
  WithStored(call.in(0).type(), [&]<typename T>(T) {
    ForEachNamed(call.in(1), data, axis, [&](std::int64_t i, std::int64_t place) {
      Combine(op.kind, call.in(2).as<T>() + i, 1, call.out().as<T>() + place);
    });
  });
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const ScatterNd& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(3, 3));
  EF_RETURN_IF_ERROR(CheckCombines(op.kind, *call.at(0).tensor, *call.at(2).tensor));
  EF_RETURN_IF_ERROR(CheckIndexType(call.at(1)));
  const Shape& data = call.at(0).shape();
  const Shape& indices = call.at(1).shape();
  EF_ASSIGN_OR_RETURN(const Tuples tuples, TuplesOf(data, indices, 0));
  Shape expected(indices.begin(), indices.end() - 1);
  expected.insert(expected.end(), data.begin() + static_cast<std::ptrdiff_t>(tuples.depth), data.end());
  if (call.at(2).shape() != expected) {
    return BadShape("updates must have shape " + ToText(expected) + ", not " + ToText(call.at(2).shape()));
  }
  if (call.known(1)) EF_RETURN_IF_ERROR(CheckIndices(call.at(1), tuples.sizes));
  return std::vector<TypedShape>{{call.at(0).type(), data}};
}

Status Run(const ScatterNd& op, const RunCall& call) {
  const Operand& indices = call.in(1);
  EF_ASSIGN_OR_RETURN(const Tuples tuples, TuplesOf(call.in(0).shape(), indices.shape(), 0));
  EF_RETURN_IF_ERROR(CheckIndices(indices, tuples.sizes));
  CopyData(call);
  WithStored(call.in(0).type(), [&]<typename T>(T) {
    for (std::int64_t t = 0; t < tuples.count; ++t) {
      T* to = call.out().as<T>() + tuples.Place(indices, t) * tuples.slice;
      Combine(op.kind, call.in(2).as<T>() + t * tuples.slice, tuples.slice, to);
    }
  });
  return OkStatus();
}

}  // namespace edgefleet::runtime
