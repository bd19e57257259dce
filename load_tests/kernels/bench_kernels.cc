// The int8 kernels, layer by layer: every distinct convolution of MobileNetV2 (Sandler et al. 2018, table 2) at 224x224 beside
// oneDNN's primitive, and a matrix product, each as a share of what the vector unit can do at most.
#include <dnnl.hpp>
#include <numeric>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/kernels/int8_conv.h"
#include "device_client/runtime/onednn/program.h"
#include "load_tests/bench/bench.h"
#include "load_tests/runtime/peaks.h"

namespace edgefleet::load_tests {
namespace {

namespace kernels = runtime::kernels;
using nlohmann::json;
using runtime::AlignedBuffer;

struct Layer {
  std::string name;
  kernels::Convolution shape;
  int times = 1;  // how often the network has it
};

Layer MakeLayer(std::int64_t channels, std::int64_t outputs, std::int64_t size, std::int64_t kernel, std::int64_t stride,
                bool depthwise, int times) {
  kernels::Convolution s;
  s.channels = channels;
  s.outputs = outputs;
  s.height = s.width = size;
  s.kernel_height = s.kernel_width = kernel;
  s.stride_y = s.stride_x = stride;
  s.pad_top = s.pad_left = kernel / 2;
  s.out_height = s.out_width = (size - 1) / stride + 1;
  s.groups = depthwise ? channels : 1;
  const std::string kind = depthwise ? "depthwise" : kernel == 1 ? "pointwise" : "conv";
  const std::string sizes = std::to_string(channels) + ">" + std::to_string(outputs) + " " + std::to_string(size) + "^2";
  return {kind + " " + sizes + (stride > 1 ? " /2" : ""), s, times};
}

std::vector<Layer> MobileNetV2() {
  std::vector<Layer> layers{MakeLayer(3, 32, 224, 3, 2, false, 1), MakeLayer(32, 32, 112, 3, 1, true, 1),
                            MakeLayer(32, 16, 112, 1, 1, false, 1)};
  struct Stage {
    std::int64_t outputs;
    int blocks;
    std::int64_t stride;
  };
  std::int64_t channels = 16;
  std::int64_t size = 112;
  for (const Stage& stage :
       {Stage{24, 2, 2}, Stage{32, 3, 2}, Stage{64, 4, 2}, Stage{96, 3, 1}, Stage{160, 3, 2}, Stage{320, 1, 1}}) {
    for (int block = 0; block < stage.blocks; ++block) {
      const std::int64_t stride = block == 0 ? stage.stride : 1;
      layers.push_back(MakeLayer(channels, channels * 6, size, 1, 1, false, 1));
      layers.push_back(MakeLayer(channels * 6, channels * 6, size, 3, stride, true, 1));
      size /= stride;
      layers.push_back(MakeLayer(channels * 6, stage.outputs, size, 1, 1, false, 1));
      channels = stage.outputs;
    }
  }
  layers.push_back(MakeLayer(320, 1280, 7, 1, 1, false, 1));
  layers.push_back(MakeLayer(1280, 1000, 1, 1, 1, false, 1));
  std::vector<Layer> distinct;
  for (Layer& layer : layers) {
    const auto known =
        std::find_if(distinct.begin(), distinct.end(), [&](const Layer& other) { return other.name == layer.name; });
    known == distinct.end() ? distinct.push_back(std::move(layer)) : static_cast<void>(++known->times);
  }
  return distinct;
}

double Macs(const kernels::Convolution& s) {
  return static_cast<double>(s.out_height * s.out_width * s.outputs * (s.channels / s.groups) * s.kernel_height *
                             s.kernel_width);
}

std::vector<std::int8_t> Weights(const kernels::Convolution& s) {
  std::vector<std::int8_t> weights(
      static_cast<std::size_t>(s.outputs * (s.channels / s.groups) * s.kernel_height * s.kernel_width));
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
  return weights;
}

class Ours {
 public:
  Ours(const kernels::Convolution& s, std::int64_t batch) : shape_(s), batch_(batch) {
    const auto weights = Weights(s);
    const std::vector<double> multipliers(static_cast<std::size_t>(s.outputs), 0.001);
    packed_ = Must(AlignedBuffer::Allocate(kernels::PackedConvolutionBytes(s)));
    scratch_ = Must(AlignedBuffer::Allocate(kernels::ConvolutionScratchBytes(s)));
    source_ = Must(
        AlignedBuffer::Allocate(static_cast<std::size_t>(batch * s.height * s.width * s.channels) + kernels::kReadSlackBytes));
    target_ = Must(AlignedBuffer::Allocate(static_cast<std::size_t>(batch * s.out_height * s.out_width * s.outputs)));
    Must(kernels::PackConvolution(s, {weights, {}, multipliers, 3, -5, -128, 127}, {packed_.data(), packed_.size()}));
  }
  void operator()() const {
    kernels::RunConvolution(shape_, packed_.data(), batch_, reinterpret_cast<const std::uint8_t*>(source_.data()),
                            reinterpret_cast<std::uint8_t*>(target_.data()), scratch_.data());
  }

 private:
  kernels::Convolution shape_;
  std::int64_t batch_;
  AlignedBuffer packed_;
  AlignedBuffer scratch_;
  AlignedBuffer source_;
  AlignedBuffer target_;
};

class OneDnn {
 public:
  OneDnn(const kernels::Convolution& s, std::int64_t batch) : stream_(runtime::onednn::Engine()) {
    using Type = dnnl::memory::data_type;
    using runtime::onednn::AnyLayout;
    const auto weights =
        s.groups > 1
            ? AnyLayout({s.groups, s.outputs / s.groups, s.channels / s.groups, s.kernel_height, s.kernel_width}, Type::s8)
            : AnyLayout({s.outputs, s.channels, s.kernel_height, s.kernel_width}, Type::s8);
    const auto after = [](std::int64_t size, std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
      return (out - 1) * stride + kernel - size - pad;
    };
    dnnl::primitive_attr attributes;
    attributes.set_output_scales(1 << 1, std::vector<float>(static_cast<std::size_t>(s.outputs), 0.001F));
    attributes.set_zero_points(DNNL_ARG_SRC, 0, {3});
    attributes.set_zero_points(DNNL_ARG_DST, 0, {-5});
    const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
                                               AnyLayout({batch, s.channels, s.height, s.width}, Type::s8), weights,
                                               AnyLayout({batch, s.outputs, s.out_height, s.out_width}, Type::s8),
                                               {s.stride_y, s.stride_x}, {s.pad_top, s.pad_left},
                                               {after(s.height, s.out_height, s.kernel_height, s.stride_y, s.pad_top),
                                                after(s.width, s.out_width, s.kernel_width, s.stride_x, s.pad_left)});
    const dnnl::convolution_forward::primitive_desc pd(desc, attributes, runtime::onednn::Engine());
    primitive_ = dnnl::convolution_forward(pd);
    arguments_ = {{DNNL_ARG_SRC, dnnl::memory(pd.src_desc(), runtime::onednn::Engine())},
                  {DNNL_ARG_WEIGHTS, dnnl::memory(pd.weights_desc(), runtime::onednn::Engine())},
                  {DNNL_ARG_DST, dnnl::memory(pd.dst_desc(), runtime::onednn::Engine())}};
  }
  void operator()() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// Seconds of one run, the best of many turns; `peak` is what the vector unit could do meanwhile, in MAC/s.
struct Times {
  double ours = 0;
  double onednn = 0;
  double peak = 0;
};

Times Measure(const BenchSize& size, const kernels::Convolution& s, std::int64_t batch) {
  const Ours ours(s, batch);
  OneDnn onednn(s, batch);
  constexpr int kBurst = 333'000;  // about as long as the product below, so that both see the same clock
  const int repeats = size.small ? 1 : static_cast<int>(std::clamp(1e7 / (Macs(s) * static_cast<double>(batch)), 1.0, 100.0));
  const auto best = BestSeconds(size, 100,
                                {[&] {
                                   for (int i = 0; i < repeats; ++i) ours();
                                 },
                                 [&] {
                                   for (int i = 0; i < repeats; ++i) onednn();
                                 },
                                 [] { Burst(Unit::kVnni, kBurst); }});
  return {best[0] / repeats, best[1] / repeats, Burst(Unit::kVnni, kBurst) / best[2]};
}

json Convolutions(const BenchSize& size) {
  if (*kernels::PackingName() == '\0') return json::array({Note("MobileNetV2", "this processor has no int8 kernels")});
  const runtime::onednn::ThreadScope one_thread(1);
  json rows = json::array();
  Times sum;
  double least = 0;
  for (const Layer& layer : MobileNetV2()) {
    const Times times = Measure(size, layer.shape, 1);
    json row = Row(layer.name + " x" + std::to_string(layer.times), times.ours * 1e6, "us");
    row.update({{"onednn_us", times.onednn * 1e6}, {"share_of_peak", Macs(layer.shape) / times.ours / times.peak}});
    rows.push_back(std::move(row));
    sum.ours += times.ours * layer.times;
    sum.onednn += times.onednn * layer.times;
    least += Macs(layer.shape) / times.peak * layer.times;
  }
  rows.push_back(Row("MobileNetV2, sum of the layers", sum.ours * 1e3, "ms"));
  rows.push_back(Row("MobileNetV2, share of the VNNI peak", least / sum.ours, ""));
  rows.push_back(Row("MobileNetV2, of oneDNN's primitives", sum.ours / sum.onednn, "x"));
  return rows;
}

json Products(const BenchSize& size) {
  if (*kernels::PackingName() == '\0') return json::array({Note("256x1024x1024", "this processor has no int8 kernels")});
  const runtime::onednn::ThreadScope one_thread(1);
  kernels::Convolution s;
  s.channels = s.outputs = 1024;
  const Times times = Measure(size, s, 256);
  const double macs = 256.0 * Macs(s);
  return json::array({Row("vpdpbusd on registers", times.peak * 1e-9, "GMAC/s"),
                      RowAtLeast(size, "256x1024x1024, share of the VNNI peak", macs / times.ours / times.peak, "", 0.95)});
}

}  // namespace
}  // namespace edgefleet::load_tests

int main(int argc, char** argv) {
  using namespace edgefleet::load_tests;
  return BenchMain("kernels", "The int8 kernels, layer by layer", {{"products", Products}, {"convolutions", Convolutions}},
                   argc, argv);
}
