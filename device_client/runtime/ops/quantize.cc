#include "device_client/runtime/ops/quantize.h"

#include "device_client/runtime/ops/affine.h"
#include "device_client/runtime/ops/half.h"

namespace edgefleet::runtime {
namespace {

// Elements of one slice lie in runs of `inner`, slice after slice.
struct Slices {
  std::int64_t count = 1;
  std::int64_t inner = 1;

  explicit Slices(const Tensor& tensor) {
    if (!tensor.quantization || tensor.quantization->axis < 0) return;
    const auto axis = static_cast<std::size_t>(tensor.quantization->axis);
    count = tensor.shape[axis];
    for (std::size_t i = axis + 1; i < tensor.shape.size(); ++i) inner *= tensor.shape[i];
  }
  std::int64_t Of(std::int64_t element) const { return element / inner % count; }
};

template <typename T>
double RealOf(T value) {
  return value;
}
template <>
double RealOf(BFloat16 value) {
  return ToFloat(value);
}

template <typename In, typename Out>
void QuantizeAll(const RunCall& call) {
  const Tensor& x = *call.in(0).tensor;
  const Tensor& y = *call.out().tensor;
  const Slices x_slices(x);
  const Slices y_slices(y);
  const In* in = call.in(0).as<In>();
  Out* out = call.out().as<Out>();
  const std::int64_t count = call.out().count();
  for (std::int64_t i = 0; i < count; ++i) {
    double value = RealOf(in[i]);
    if (x.quantization) {
      const std::int64_t slice = x_slices.Of(i);
      value = (value - ZeroPointOf(x, slice)) * ScaleOf(x, slice);
    }
    const std::int64_t slice = y_slices.Of(i);
    out[i] = SaturateTo<Out>(value / ScaleOf(y, slice), ZeroPointOf(y, slice));
  }
}

template <typename In>
Status QuantizeTo(const Quantize& op, const RunCall& call) {
  op.to == DataType::kInt8 ? QuantizeAll<In, std::int8_t>(call) : QuantizeAll<In, std::uint8_t>(call);
  return OkStatus();
}

// fp32 holds an 8-bit distance exactly, so that only the product is rounded; an int32's needs the wider type for that.
template <typename T, typename Wide>
Status DequantizeAll(const RunCall& call) {
  const Tensor& x = *call.in(0).tensor;
  const Slices slices(x);
  const T* in = call.in(0).as<T>();
  float* out = call.out().as<float>();
  const std::int64_t count = call.out().count();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t slice = slices.Of(i);
    const Wide distance = static_cast<Wide>(in[i]) - static_cast<Wide>(ZeroPointOf(x, slice));
    out[i] = static_cast<float>(static_cast<Wide>(ScaleOf(x, slice)) * distance);
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Quantize& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const Operand& x = call.at(0);
  if (op.to != DataType::kInt8 && op.to != DataType::kUint8) return BadAttribute("it quantizes to int8 or uint8 only");
  switch (x.type()) {
    case DataType::kInt8:
    case DataType::kUint8:
      if (!x.tensor->quantization) return BadType("its input of 8-bit integers has no quantization");
      break;
    case DataType::kFloat32:
    case DataType::kBFloat16:
    case DataType::kInt32:
      break;
    default:
      return BadType("it cannot quantize " + std::string(DataTypeName(x.type())));
  }
  return std::vector<TypedShape>{{op.to, x.shape()}};
}

Status Run(const Quantize& op, const RunCall& call) {
  if (!call.out().tensor->quantization) return BadType("its output has no quantization");
  switch (call.in(0).type()) {
    case DataType::kInt8:
      return QuantizeTo<std::int8_t>(op, call);
    case DataType::kUint8:
      return QuantizeTo<std::uint8_t>(op, call);
    case DataType::kInt32:
      return QuantizeTo<std::int32_t>(op, call);
    case DataType::kBFloat16:
      return QuantizeTo<BFloat16>(op, call);
    default:
      return QuantizeTo<float>(op, call);
  }
}

Result<std::vector<TypedShape>> Infer(const Dequantize&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const Operand& x = call.at(0);
  if (x.type() != DataType::kInt8 && x.type() != DataType::kUint8 && x.type() != DataType::kInt32) {
    return BadType("it cannot dequantize " + std::string(DataTypeName(x.type())));
  }
  if (!x.tensor->quantization) return BadType("its input has no quantization");
  return std::vector<TypedShape>{{DataType::kFloat32, x.shape()}};
}

Status Run(const Dequantize&, const RunCall& call) {
  switch (call.in(0).type()) {
    case DataType::kInt8:
      return DequantizeAll<std::int8_t, float>(call);
    case DataType::kUint8:
      return DequantizeAll<std::uint8_t, float>(call);
    default:
      return DequantizeAll<std::int32_t, double>(call);
  }
}

}  // namespace edgefleet::runtime
