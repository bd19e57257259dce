#include "device_client/runtime/delegates/reference_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace edgefleet::runtime {
namespace {

struct Call {
  const Graph& graph;
  const Node& node;
  std::int64_t batch;
  BufferTable buffers;

  const Tensor& Input(std::size_t i) const { return graph.tensors[static_cast<std::size_t>(node.inputs[i])]; }
  const Tensor& Output() const { return graph.tensors[static_cast<std::size_t>(node.outputs[0])]; }
  template <typename T>
  const T* In(std::size_t i) const {
    const Tensor& tensor = Input(i);
    if (tensor.is_constant()) return reinterpret_cast<const T*>(tensor.data.data());
    return reinterpret_cast<const T*>(buffers[static_cast<std::size_t>(node.inputs[i])]);
  }
  template <typename T>
  T* Out() const {
    return reinterpret_cast<T*>(buffers[static_cast<std::size_t>(node.outputs[0])]);
  }
  bool is_int8() const { return Input(0).type == DataType::kInt8; }
};

double Scale(const Tensor& tensor, std::int64_t slice = 0) {
  const Quantization& q = *tensor.quantization;
  return q.scales[q.axis < 0 ? 0 : static_cast<std::size_t>(slice)];
}

// Turns the sums of a weighted operator into outputs, for one type.
template <typename T>
class Finisher;

template <>
class Finisher<float> {
 public:
  using Sum = double;
  Finisher(const Call& call, Activation activation)
      : bias_(call.node.inputs.size() > 2 ? call.In<float>(2) : nullptr), relu_(activation.kind == UnaryKind::kRelu) {}
  static constexpr std::int32_t input_zero_point() { return 0; }
  float operator()(double sum, std::int64_t channel) const {
    if (bias_ != nullptr) sum += bias_[channel];
    return static_cast<float>(relu_ ? std::max(sum, 0.0) : sum);
  }

 private:
  const float* bias_;
  bool relu_;
};

template <>
class Finisher<std::int8_t> {
 public:
  using Sum = std::int32_t;  // cannot overflow: kInt8ReductionMax
  Finisher(const Call& call, Activation activation)
      : input_(call.Input(0)),
        weights_(call.Input(1)),
        output_(call.Output()),
        bias_(call.node.inputs.size() > 2 ? call.In<std::int32_t>(2) : nullptr),
        low_(activation.kind == UnaryKind::kRelu ? ZeroPoint(output_) : -128) {}
  std::int32_t input_zero_point() const { return ZeroPoint(input_); }
  std::int8_t operator()(std::int32_t sum, std::int64_t channel) const {
    const double multiplier = Scale(input_) * Scale(weights_, channel) / Scale(output_);
    const std::int64_t total = std::int64_t{sum} + (bias_ != nullptr ? bias_[channel] : 0);
    return SaturateToInt8(static_cast<double>(total) * multiplier, ZeroPoint(output_), low_);
  }

 private:
  const Tensor& input_;
  const Tensor& weights_;
  const Tensor& output_;
  const std::int32_t* bias_;
  std::int32_t low_;
};

// The part of a window that lies inside the image, as kernel indices [begin, end).
struct Window {
  std::int64_t origin;
  std::int64_t begin;
  std::int64_t end;
};
Window Clip(std::int64_t position, std::int32_t stride, std::int32_t pad, std::int64_t kernel, std::int32_t dilation,
            std::int64_t size) {
  const std::int64_t origin = position * stride - pad;
  const std::int64_t begin = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
  const std::int64_t end = origin >= size ? 0 : std::min(kernel, (size - origin + dilation - 1) / dilation);
  return {origin, begin, end};
}

template <typename T>
void Convolve(const Conv2d& op, const Call& call) {
  using Sum = typename Finisher<T>::Sum;
  const Finisher<T> finish(call, op.activation);
  const auto& xs = call.Input(0).shape;
  const auto& ws = call.Input(1).shape;
  const auto& ys = call.Output().shape;
  const std::int64_t group_outputs = ws[0] / op.groups;
  const std::int32_t zero_point = finish.input_zero_point();
  const T* weights = call.In<T>(1);
  T* out = call.Out<T>();
  for (std::int64_t n = 0; n < call.batch; ++n) {
    for (std::int64_t o = 0; o < ys[1]; ++o) {
      const T* x = call.In<T>(0) + (n * xs[1] + o / group_outputs * ws[1]) * xs[2] * xs[3];
      for (std::int64_t row = 0; row < ys[2]; ++row) {
        const Window v = Clip(row, op.strides[0], op.pads[0], ws[2], op.dilations[0], xs[2]);
        for (std::int64_t column = 0; column < ys[3]; ++column) {
          const Window h = Clip(column, op.strides[1], op.pads[1], ws[3], op.dilations[1], xs[3]);
          Sum sum = 0;
          for (std::int64_t c = 0; c < ws[1]; ++c) {
            for (std::int64_t i = v.begin; i < v.end; ++i) {
              const T* line = x + (c * xs[2] + v.origin + i * op.dilations[0]) * xs[3];
              const T* taps = weights + ((o * ws[1] + c) * ws[2] + i) * ws[3];
              for (std::int64_t j = h.begin; j < h.end; ++j) {
                sum += static_cast<Sum>(line[h.origin + j * op.dilations[1]] - zero_point) * static_cast<Sum>(taps[j]);
              }
            }
          }
          *out++ = finish(sum, o);
        }
      }
    }
  }
}

template <typename T>
void Connect(const FullyConnected& op, const Call& call) {
  using Sum = typename Finisher<T>::Sum;
  const Finisher<T> finish(call, op.activation);
  const std::int64_t outputs = call.Input(1).shape[0];
  const std::int64_t inputs = call.Input(1).shape[1];
  const std::int32_t zero_point = finish.input_zero_point();
  for (std::int64_t n = 0; n < call.batch; ++n) {
    const T* x = call.In<T>(0) + n * inputs;
    for (std::int64_t o = 0; o < outputs; ++o) {
      const T* weights = call.In<T>(1) + o * inputs;
      Sum sum = 0;
      for (std::int64_t i = 0; i < inputs; ++i) sum += static_cast<Sum>(x[i] - zero_point) * static_cast<Sum>(weights[i]);
      call.Out<T>()[n * outputs + o] = finish(sum, o);
    }
  }
}

template <typename T>
T Maximum(const T* plane, std::int64_t width, const Window& v, const Window& h) {
  T best = std::numeric_limits<T>::lowest();
  for (std::int64_t i = v.begin; i < v.end; ++i) {
    for (std::int64_t j = h.begin; j < h.end; ++j) best = std::max(best, plane[(v.origin + i) * width + h.origin + j]);
  }
  return best;
}

// Sum of what the values stand for, in units of the input's scale.
template <typename T>
double SumOf(const T* plane, std::int64_t width, const Window& v, const Window& h, std::int32_t zero_point) {
  double sum = 0;
  for (std::int64_t i = v.begin; i < v.end; ++i) {
    for (std::int64_t j = h.begin; j < h.end; ++j) sum += static_cast<double>(plane[(v.origin + i) * width + h.origin + j]);
  }
  return sum - static_cast<double>((v.end - v.begin) * (h.end - h.begin)) * zero_point;
}

// A real value, given in units of the input's scale, as an element of the output.
template <typename T>
T Represent(double value, const Call& call) {
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(value);
  } else {
    return SaturateToInt8(value * Scale(call.Input(0)) / Scale(call.Output()), ZeroPoint(call.Output()));
  }
}

template <typename T>
void Pool(const Pool2d& op, const Call& call) {
  const auto& xs = call.Input(0).shape;
  const auto& ys = call.Output().shape;
  T* out = call.Out<T>();
  for (std::int64_t plane = 0; plane < call.batch * xs[1]; ++plane) {
    const T* x = call.In<T>(0) + plane * xs[2] * xs[3];
    for (std::int64_t row = 0; row < ys[2]; ++row) {
      const Window v = Clip(row, op.strides[0], op.pads[0], op.kernel[0], 1, xs[2]);
      for (std::int64_t column = 0; column < ys[3]; ++column) {
        const Window h = Clip(column, op.strides[1], op.pads[1], op.kernel[1], 1, xs[3]);
        if (op.kind == Pool2d::Kind::kMax) {
          *out++ = Maximum(x, xs[3], v, h);
          continue;
        }
        const std::int64_t inside = (v.end - v.begin) * (h.end - h.begin);
        const std::int64_t count = op.count_include_pad ? std::int64_t{op.kernel[0]} * op.kernel[1] : inside;
        *out++ = Represent<T>(SumOf(x, xs[3], v, h, ZeroPoint(call.Input(0))) / static_cast<double>(count), call);
      }
    }
  }
}

template <typename T>
void AverageAll(const Call& call) {
  const auto& xs = call.Input(0).shape;
  for (std::int64_t plane = 0; plane < call.batch * xs[1]; ++plane) {
    const T* x = call.In<T>(0) + plane * xs[2] * xs[3];
    const double sum = SumOf(x, xs[3], {0, 0, xs[2]}, {0, 0, xs[3]}, ZeroPoint(call.Input(0)));
    call.Out<T>()[plane] = Represent<T>(sum / static_cast<double>(xs[2] * xs[3]), call);
  }
}

template <typename T>
void Rectify(const Call& call) {
  const std::int64_t count = call.batch * ElementCount(call.Input(0).shape);
  const std::int32_t zero_point = ZeroPoint(call.Input(0));
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = static_cast<double>(call.In<T>(0)[i]) - zero_point;
    call.Out<T>()[i] = Represent<T>(std::max(value, 0.0), call);
  }
}

void AddFloat(const Add& op, const Call& call) {
  const std::int64_t count = call.batch * ElementCount(call.Output().shape);
  for (std::int64_t i = 0; i < count; ++i) {
    const float sum = call.In<float>(0)[i] + call.In<float>(1)[i];
    call.Out<float>()[i] = op.activation.kind == UnaryKind::kRelu ? std::max(sum, 0.0F) : sum;
  }
}

void AddInt8(const Add& op, const Call& call) {
  const std::int64_t count = call.batch * ElementCount(call.Output().shape);
  const Tensor& a = call.Input(0);
  const Tensor& b = call.Input(1);
  const std::int32_t zero_point = ZeroPoint(call.Output());
  const std::int32_t low = op.activation.kind == UnaryKind::kRelu ? zero_point : -128;
  for (std::int64_t i = 0; i < count; ++i) {
    const double left = Scale(a) * (call.In<std::int8_t>(0)[i] - ZeroPoint(a));
    const double right = Scale(b) * (call.In<std::int8_t>(1)[i] - ZeroPoint(b));
    call.Out<std::int8_t>()[i] = SaturateToInt8((left + right) / Scale(call.Output()), zero_point, low);
  }
}

void Normalize(const Call& call) {
  const auto& shape = call.Input(0).shape;
  const std::int64_t classes = shape.back();
  const std::int64_t rows = call.batch * ElementCount(shape) / classes;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* x = call.In<float>(0) + row * classes;
    float* y = call.Out<float>() + row * classes;
    const float top = *std::max_element(x, x + classes);
    double sum = 0;
    for (std::int64_t i = 0; i < classes; ++i) sum += std::exp(static_cast<double>(x[i]) - top);
    for (std::int64_t i = 0; i < classes; ++i) y[i] = static_cast<float>(std::exp(static_cast<double>(x[i]) - top) / sum);
  }
}

struct Kernel {
  const Call& call;

  void operator()(const Conv2d& op) const { call.is_int8() ? Convolve<std::int8_t>(op, call) : Convolve<float>(op, call); }
  void operator()(const FullyConnected& op) const {
    call.is_int8() ? Connect<std::int8_t>(op, call) : Connect<float>(op, call);
  }
  void operator()(const Pool2d& op) const { call.is_int8() ? Pool<std::int8_t>(op, call) : Pool<float>(op, call); }
  void operator()(const GlobalAveragePool&) const { call.is_int8() ? AverageAll<std::int8_t>(call) : AverageAll<float>(call); }
  void operator()(const Relu&) const { call.is_int8() ? Rectify<std::int8_t>(call) : Rectify<float>(call); }
  void operator()(const Add& op) const { call.is_int8() ? AddInt8(op, call) : AddFloat(op, call); }
  void operator()(const Flatten&) const {
    const auto bytes = static_cast<std::size_t>(call.batch * ElementCount(call.Output().shape)) * SizeOf(call.Output().type);
    std::copy_n(call.In<std::byte>(0), bytes, call.Out<std::byte>());
  }
  void operator()(const Softmax&) const { Normalize(call); }
  void operator()(const auto&) const {}
  void operator()(const Quantize&) const {
    const std::int64_t count = call.batch * ElementCount(call.Output().shape);
    const double scale = Scale(call.Output());
    const std::int32_t zero_point = ZeroPoint(call.Output());
    for (std::int64_t i = 0; i < count; ++i) {
      call.Out<std::int8_t>()[i] = SaturateToInt8(call.In<float>(0)[i] / scale, zero_point);
    }
  }
  void operator()(const Dequantize&) const {
    const std::int64_t count = call.batch * ElementCount(call.Output().shape);
    const float scale = call.Input(0).quantization->scales[0];
    const std::int32_t zero_point = ZeroPoint(call.Input(0));
    for (std::int64_t i = 0; i < count; ++i) {
      call.Out<float>()[i] = scale * static_cast<float>(call.In<std::int8_t>(0)[i] - zero_point);
    }
  }
};

}  // namespace

std::int8_t SaturateToInt8(double multiple, std::int32_t zero_point, std::int32_t low) {
  const double shifted = std::nearbyint(multiple) + zero_point;
  if (!(shifted > low)) return static_cast<std::int8_t>(low);  // NaN too
  return static_cast<std::int8_t>(std::min(shifted, 127.0));
}

void RunReferenceNode(const Graph& graph, const Node& node, std::int64_t batch, BufferTable buffers) {
  const Call call{graph, node, batch, buffers};
  std::visit(Kernel{call}, node.op);
}

}  // namespace edgefleet::runtime
