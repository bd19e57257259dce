#include "device_client/runtime/ops/matmul.h"

#include "device_client/runtime/ops/weighted.h"
#include "device_client/runtime/ops/widen.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

// Four sums, so that additions do not wait for one another.
double Dot(const float* a, const float* b, std::int64_t count) {
  double sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::int64_t j = 0; j < 4; ++j) sums[j] += static_cast<double>(a[i + j]) * b[i + j];
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(a[i]) * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Cannot overflow: kInt8ReductionMax.
std::int32_t Dot(const std::int8_t* a, std::int32_t zero_point, const std::int8_t* b, std::int64_t count) {
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += (a[i] - zero_point) * b[i];
  return sum;
}

Status ConnectInt8(const FullyConnected& op, const RunCall& call, std::int64_t rows, std::int64_t inputs,
                   std::int64_t outputs) {
  EF_RETURN_IF_ERROR(CheckQuantized(call.out()));
  const auto* x = call.in(0).as<std::int8_t>();
  const std::int32_t zero_point = ZeroPoint(*call.in(0).tensor);
  auto* y = call.out().as<std::int8_t>();
  for (std::int64_t o = 0; o < outputs; ++o) {
    const std::int8_t* weights = call.in(1).as<std::int8_t>() + o * inputs;
    const Int8Finish finish = FinishOf(call, op.activation, o, o);
    for (std::int64_t n = 0; n < rows; ++n) y[n * outputs + o] = finish(Dot(x + n * inputs, zero_point, weights, inputs));
  }
  return OkStatus();
}

Status ConnectReal(const FullyConnected& op, const RunCall& call, std::int64_t rows, std::int64_t inputs,
                   std::int64_t outputs) {
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(std::vector<float> weights, Allocate<float>(inputs));
  Reals bias;
  if (call.has(2)) {
    EF_ASSIGN_OR_RETURN(bias, Reals::Of(call.in(2)));
  }
  EF_ASSIGN_OR_RETURN(RealOutput out, RealOutput::For(call.out()));
  float* y = out.data();
  for (std::int64_t o = 0; o < outputs; ++o) {
    WidenRows(*call.in(1).tensor, call.in(1).data, o, o + 1, weights.data());
    const RealFinish finish{op.activation, call.has(2) ? bias[o] : 0.0F};
    for (std::int64_t n = 0; n < rows; ++n) y[n * outputs + o] = finish(Dot(x + n * inputs, weights.data(), inputs));
  }
  return out.Store();
}

// The operands of numpy.matmul as [batch..., M, K] and [batch..., K, N].
struct Product {
  Shape a;
  Shape b;
  Shape batch;
  Shape y;  // as numpy gives it

  std::int64_t rows() const { return a[a.size() - 2]; }
  std::int64_t inner() const { return a.back(); }
  std::int64_t columns() const { return b.back(); }
};

Result<Product> ProductOf(const Shape& a, const Shape& b) {
  if (a.empty() || b.empty()) return BadShape("its operands must not be scalars");
  Product product{a, b, {}, {}};
  if (a.size() == 1) product.a = {1, a[0]};
  if (b.size() == 1) product.b = {b[0], 1};
  if (product.inner() != product.b[product.b.size() - 2]) {
    return BadShape("its operands " + ToText(a) + " and " + ToText(b) + " cannot be multiplied");
  }
  EF_ASSIGN_OR_RETURN(product.batch,
                      Broadcast(Shape(product.a.begin(), product.a.end() - 2), Shape(product.b.begin(), product.b.end() - 2)));
  product.y = product.batch;
  if (a.size() > 1) product.y.push_back(product.rows());
  if (b.size() > 1) product.y.push_back(product.columns());
  return product;
}

// The index of the matrix of an operand that goes with matrix `index` of the result.
std::int64_t MatrixOf(const Shape& operand, const Shape& batch, std::int64_t index) {
  std::int64_t matrix = 0;
  std::int64_t stride = 1;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const std::int64_t size = batch[batch.size() - 1 - i];
    if (i + 2 < operand.size()) {
      const std::int64_t own = operand[operand.size() - 3 - i];
      if (own != 1) matrix += index % size * stride;
      stride *= own;
    }
    index /= size;
  }
  return matrix;
}

// y = a * b, matrix by matrix and row by row, summing in Sum; `finish(sum, column)` makes a result.
template <typename Sum, typename T, typename Out>
Status Multiply(const Product& product, const T* a, const T* b, Sum zero_a, auto zero_b, auto finish, Out* y) {
  const std::int64_t rows = product.rows();
  const std::int64_t inner = product.inner();
  const std::int64_t columns = product.columns();
  EF_ASSIGN_OR_RETURN(std::vector<Sum> sums, Allocate<Sum>(columns));
  const std::int64_t matrices = ElementCount(product.batch);
  for (std::int64_t matrix = 0; matrix < matrices; ++matrix) {
    const T* left = a + MatrixOf(product.a, product.batch, matrix) * rows * inner;
    const T* right = b + MatrixOf(product.b, product.batch, matrix) * inner * columns;
    for (std::int64_t row = 0; row < rows; ++row) {
      std::ranges::fill(sums, 0);
      for (std::int64_t k = 0; k < inner; ++k) {
        const Sum value = static_cast<Sum>(left[row * inner + k]) - zero_a;
        const T* line = right + k * columns;
        for (std::int64_t j = 0; j < columns; ++j) sums[j] += value * (static_cast<Sum>(line[j]) - static_cast<Sum>(zero_b(j)));
      }
      for (std::int64_t j = 0; j < columns; ++j) *y++ = finish(sums[j], j);
    }
  }
  return OkStatus();
}

template <typename Unsigned>
Status MultiplyIntegers(const Product& product, const RunCall& call) {
  return Multiply<Unsigned>(
      product, call.in(0).as<Unsigned>(), call.in(1).as<Unsigned>(), 0, [](std::int64_t) { return 0; },
      [](Unsigned sum, std::int64_t) { return sum; }, call.out().as<Unsigned>());
}

Status MultiplyInt8(const Product& product, const RunCall& call) {
  EF_RETURN_IF_ERROR(CheckQuantized(call.out()));
  const Tensor& b = *call.in(1).tensor;
  const auto finish = [&](std::int32_t sum, std::int64_t column) { return FinishOf(call, {}, column, column)(sum); };
  return Multiply<std::int32_t>(
      product, call.in(0).as<std::int8_t>(), call.in(1).as<std::int8_t>(), ZeroPoint(*call.in(0).tensor),
      [&](std::int64_t column) { return ZeroPointOf(b, column); }, finish, call.out().as<std::int8_t>());
}

Status MultiplyReals(const Product& product, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const Reals a, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(const Reals b, Reals::Of(call.in(1)));
  EF_ASSIGN_OR_RETURN(RealOutput out, RealOutput::For(call.out()));
  EF_RETURN_IF_ERROR(Multiply<double>(
      product, a.data(), b.data(), 0, [](std::int64_t) { return 0; },
      [](double sum, std::int64_t) { return static_cast<float>(sum); }, out.data()));
  return out.Store();
}

Status CheckInt8Product(const InferCall& call, const Product& product) {
  for (std::size_t i = 0; i < 2; ++i) {
    if (!CanWiden(*call.at(i).tensor)) return BadType("its int8 operands must be quantized");
    const int axis = call.at(i).tensor->quantization->axis;
    const bool columns = i == 1 && call.known(1) && axis == static_cast<int>(call.at(1).shape().size()) - 1 && axis > 0;
    if (axis >= 0 && !columns) {
      return BadType("its int8 operands must be quantized as a whole, or a constant second one along its last dimension");
    }
  }
  if (product.inner() > kInt8ReductionMax) {
    return BadShape("it sums " + std::to_string(product.inner()) + " int8 products; an int32 holds " +
                    std::to_string(kInt8ReductionMax));
  }
  return OkStatus();
}

// The type of the product.
Result<DataType> CheckTypes(const InferCall& call) {
  const DataType types[] = {call.at(0).type(), call.at(1).type()};
  const auto is_float = [](DataType type) { return type == DataType::kFloat32 || type == DataType::kBFloat16; };
  if (types[0] == types[1]) {
    if (is_float(types[0]) || types[0] == DataType::kInt8 || types[0] == DataType::kInt32 || types[0] == DataType::kInt64) {
      return types[0];
    }
    return BadType("it cannot multiply operands of type " + std::string(DataTypeName(types[0])));
  }
  for (std::size_t i = 0; i < 2; ++i) {
    if (is_float(types[i]) && call.known(1 - i) && CanWiden(*call.at(1 - i).tensor)) return types[i];
  }
  return BadType(
      "its operands must be of one type, or one a constant that holds real numbers and the other float32 or bfloat16");
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const FullyConnected& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 3));
  const Shape& x = call.at(0).shape();
  const Shape& w = call.at(1).shape();
  if (x.size() < 2 || w.size() != 2 || w[1] != x.back() || w[0] < 1) {
    return BadShape("its input " + ToText(x) + " and its weights " + ToText(w) + " must be [..., K] and [M, K]");
  }
  if (!call.known(1) && call.at(1).type() != DataType::kFloat32) {
    return BadType("its weights must be constant unless they are float32");
  }
  EF_RETURN_IF_ERROR(CheckWeighted(call, op.activation, w[0], 0, w[1]));
  Shape y = x;
  y.back() = w[0];
  return std::vector<TypedShape>{{call.at(0).type(), std::move(y)}};
}

Status Run(const FullyConnected& op, const RunCall& call) {
  const std::int64_t outputs = call.in(1).shape()[0];
  const std::int64_t inputs = call.in(1).shape()[1];
  const std::int64_t rows = call.out().count() / outputs;
  const bool int8 = call.in(0).type() == DataType::kInt8;
  return int8 ? ConnectInt8(op, call, rows, inputs, outputs) : ConnectReal(op, call, rows, inputs, outputs);
}

Result<std::vector<TypedShape>> Infer(const MatMul&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_ASSIGN_OR_RETURN(Product product, ProductOf(call.at(0).shape(), call.at(1).shape()));
  EF_ASSIGN_OR_RETURN(const DataType type, CheckTypes(call));
  if (type == DataType::kInt8) {
    EF_RETURN_IF_ERROR(CheckInt8Product(call, product));
  }
  return std::vector<TypedShape>{{type, std::move(product.y)}};
}

Status Run(const MatMul&, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const Product product, ProductOf(call.in(0).shape(), call.in(1).shape()));
  switch (call.out().type()) {
    case DataType::kInt32:
      return MultiplyIntegers<std::uint32_t>(product, call);
    case DataType::kInt64:
      return MultiplyIntegers<std::uint64_t>(product, call);
    case DataType::kInt8:
      return MultiplyInt8(product, call);
    default:
      return MultiplyReals(product, call);
  }
}

}  // namespace edgefleet::runtime
