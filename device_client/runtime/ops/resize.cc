#include "device_client/runtime/ops/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime {
namespace {

enum Input : std::size_t { kX, kRoi, kScales, kSizes };

using Coordinates = Resize::Coordinates;

// One dimension: from `in` to `out` elements by `scale`; of `begin` to `end` (of 1) where it crops.
struct Dimension {
  std::int64_t in = 1;
  std::int64_t out = 1;
  double scale = 1;
  double begin = 0;
  double end = 1;

  double width() const { return scale * static_cast<double>(in); }
};

// An optional input of `count` real numbers; nothing if it is absent or empty.
Result<std::vector<float>> NumbersOf(const InferCall& call, std::size_t i, std::size_t count) {
  if (!call.has(i)) return std::vector<float>();
  const std::int64_t own = call.at(i).count();
  if (own == 0) return std::vector<float>();
  if (own != static_cast<std::int64_t>(count)) {
    return BadShape("its input " + std::to_string(i) + " has " + std::to_string(own) + " values; " + std::to_string(count) +
                    " are wanted");
  }
  EF_RETURN_IF_ERROR(CheckParameter(call.at(i), call.at(i).shape(), "its input " + std::to_string(i)));
  if (!call.known(i)) {
    return Unimplemented("SHAPE_DEPENDS_ON_DATA", "its input " + std::to_string(i) + " is computed from data");
  }
  EF_ASSIGN_OR_RETURN(const Reals reals, Reals::Of(call.at(i)));
  std::vector<float> values(reals.data(), reals + own);
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    return BadAttribute("its input " + std::to_string(i) + " has a value that is not finite");
  }
  return values;
}

Result<std::vector<std::size_t>> AxesOf(const Resize& op, std::size_t rank) {
  std::vector<std::size_t> axes;
  if (op.axes.size() > rank) return BadAttribute("it has more axes than its input");
  for (const std::int64_t axis : op.axes) {
    EF_ASSIGN_OR_RETURN(axes.emplace_back(), Axis(axis, rank));
    if (std::count(axes.begin(), axes.end(), axes.back()) > 1) return BadAttribute("it has an axis twice");
  }
  for (std::size_t i = 0; i < rank && op.axes.empty(); ++i) axes.push_back(i);
  return axes;
}

// The dimensions as its sizes and its aspect ratio policy say.
Status FitSizes(const Resize& op, const std::vector<std::int64_t>& sizes, const std::vector<std::size_t>& axes,
                std::vector<Dimension>& dimensions) {
  if (sizes.size() != axes.size())
    return BadShape("it has " + std::to_string(sizes.size()) + " sizes and " + std::to_string(axes.size()) + " axes");
  std::vector<double> scales;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (sizes[i] < 1) return BadShape("its sizes must be at least 1");
    scales.push_back(static_cast<double>(sizes[i]) / static_cast<double>(dimensions[axes[i]].in));
  }
  const bool stretch = op.aspect_ratio == Resize::AspectRatio::kStretch || axes.empty();
  const double common = stretch                                              ? 1
                        : op.aspect_ratio == Resize::AspectRatio::kNotLarger ? *std::ranges::min_element(scales)
                                                                             : *std::ranges::max_element(scales);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    Dimension& dimension = dimensions[axes[i]];
    dimension.scale = stretch ? scales[i] : common;
    dimension.out = stretch ? sizes[i] : static_cast<std::int64_t>(std::min(dimension.width() + 0.5, 0x1p32));
  }
  return OkStatus();
}

Status FitScales(const std::vector<float>& scales, const std::vector<std::size_t>& axes, std::vector<Dimension>& dimensions) {
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (scales[i] <= 0) return BadAttribute("its scales must be positive");
    Dimension& dimension = dimensions[axes[i]];
    dimension.scale = scales[i];
    dimension.out = static_cast<std::int64_t>(std::min(std::floor(static_cast<float>(dimension.in) * scales[i]), 0x1p32F));
  }
  return OkStatus();
}

Result<std::vector<Dimension>> DimensionsOf(const Resize& op, const InferCall& call) {
  const Shape& x = call.at(kX).shape();
  std::vector<Dimension> dimensions;
  for (const std::int64_t size : x) dimensions.push_back({size, size});
  EF_ASSIGN_OR_RETURN(const std::vector<std::size_t> axes, AxesOf(op, x.size()));
  EF_ASSIGN_OR_RETURN(const std::vector<float> scales, NumbersOf(call, kScales, axes.size()));
  if (call.has(kSizes) && call.at(kSizes).count() > 0) {
    if (!scales.empty()) return BadAttribute("it has both scales and sizes");
    EF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> sizes, call.Integers(kSizes));
    EF_RETURN_IF_ERROR(FitSizes(op, sizes, axes, dimensions));
  } else {
    if (scales.empty() && !axes.empty()) return BadAttribute("it has neither scales nor sizes");
    EF_RETURN_IF_ERROR(FitScales(scales, axes, dimensions));
  }
  if (op.coordinates == Coordinates::kCropAndResize) {
    EF_ASSIGN_OR_RETURN(const std::vector<float> roi, NumbersOf(call, kRoi, 2 * axes.size()));
    if (roi.empty() && !axes.empty()) return BadAttribute("it crops without a region");
    for (std::size_t i = 0; i < axes.size(); ++i) {
      dimensions[axes[i]].begin = roi[i];
      dimensions[axes[i]].end = roi[axes.size() + i];
    }
  }
  return dimensions;
}

// Where element `i` of the result lies in the input.
double Original(Coordinates coordinates, const Dimension& d, std::int64_t i) {
  const auto x = static_cast<double>(i);
  const auto last = static_cast<double>(d.in - 1);
  switch (coordinates) {
    case Coordinates::kAlignCorners:
      return d.width() == 1 ? 0 : x * last / (d.width() - 1);
    case Coordinates::kAsymmetric:
      return x / d.scale;
    case Coordinates::kCropAndResize:
      if (d.width() == 1) return (d.begin + d.end) * last / 2;
      return d.begin * last + x * (d.end - d.begin) * last / (d.width() - 1);
    case Coordinates::kPytorchHalfPixel:
      return d.width() == 1 ? 0 : (x + 0.5) / d.scale - 0.5;
    case Coordinates::kHalfPixelSymmetric:
      return static_cast<double>(d.in) / 2 * (1 - static_cast<double>(d.out) / d.width()) + (x + 0.5) / d.scale - 0.5;
    default:
      return (x + 0.5) / d.scale - 0.5;
  }
}

// Neighbours of the point base + ratio, 0 < ratio <= 1, from base + first on, with their weights.
struct Neighbours {
  std::int64_t first = 0;
  std::vector<double> weights;
};

double Linear(double distance) { return std::max(1 - std::abs(distance), 0.0); }

// Keys 1981, "Cubic convolution interpolation for digital image processing", with coefficient `a`.
double Cubic(double distance, double a) {
  const double x = std::abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

Neighbours Weigh(const Resize& op, double scale, double ratio) {
  if (op.mode == Resize::Mode::kNearest) {
    const bool upper = ratio == 1 || op.nearest == Resize::Nearest::kCeil ||
                       (op.nearest == Resize::Nearest::kRoundPreferFloor && ratio > 0.5) ||
                       (op.nearest == Resize::Nearest::kRoundPreferCeil && ratio >= 0.5);
    return {upper ? 1 : 0, {1}};
  }
  const bool cubic = op.mode == Resize::Mode::kCubic;
  // Antialiasing widens the kernel when the result is smaller.
  const double stretch = op.antialias ? std::min(scale, 1.0) : 1;
  Neighbours neighbours{static_cast<std::int64_t>(std::floor((cubic ? -2 : -1) / stretch)) + 1, {}};
  for (std::int64_t i = neighbours.first; i <= 1 - neighbours.first; ++i) {
    const double distance = (static_cast<double>(i) - ratio) * stretch;
    neighbours.weights.push_back(cubic ? Cubic(distance, op.cubic_a) : Linear(distance));
  }
  return neighbours;
}

// Scales weights to a sum of 1.
void Normalize(std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  if (sum == 0) return;
  for (double& weight : weights) weight /= sum;
}

struct Sample {
  std::vector<std::int64_t> indices;  // inside the input
  std::vector<double> weights;
  bool outside = false;  // of what kCropAndResize reads
};

Sample SampleOf(const Resize& op, const Dimension& d, std::int64_t i) {
  const double x = std::clamp(Original(op.coordinates, d, i), -0x1p50, 0x1p50);
  const double base = std::ceil(x) - 1;
  Neighbours neighbours = Weigh(op, d.scale, x - base);
  Sample sample;
  sample.outside = op.coordinates == Coordinates::kCropAndResize && (x < 0 || x > static_cast<double>(d.in - 1));
  for (std::size_t j = 0; j < neighbours.weights.size(); ++j) {
    const std::int64_t at = static_cast<std::int64_t>(base) + neighbours.first + static_cast<std::int64_t>(j);
    sample.indices.push_back(std::clamp<std::int64_t>(at, 0, d.in - 1));
    if (op.exclude_outside && op.mode != Resize::Mode::kNearest && at != sample.indices.back()) neighbours.weights[j] = 0;
  }
  if (op.exclude_outside || op.antialias) Normalize(neighbours.weights);
  sample.weights = std::move(neighbours.weights);
  return sample;
}

bool IsIdentity(const Resize& op, const Dimension& d) {
  return d.in == d.out && d.scale == 1 && (op.coordinates != Coordinates::kCropAndResize || (d.begin == 0 && d.end == 1));
}

// A tensor around one dimension: [outer, in, inner] becomes [outer, out, inner].
struct Pass {
  Dimension dimension;
  std::int64_t outer = 1;
  std::int64_t inner = 1;
};

// The passes that are no identity, one after another: those that shrink first, so that no result on the way is larger than both
// ends.
std::vector<Pass> PassesOf(const Resize& op, const std::vector<Dimension>& dimensions) {
  std::vector<std::int64_t> sizes;
  for (const Dimension& dimension : dimensions) sizes.push_back(dimension.in);
  std::vector<Pass> passes;
  for (const bool shrinking : {true, false}) {
    for (std::size_t i = 0; i < dimensions.size(); ++i) {
      if (IsIdentity(op, dimensions[i]) || (dimensions[i].out < dimensions[i].in) != shrinking) continue;
      Pass pass{dimensions[i]};
      for (std::size_t j = 0; j < sizes.size(); ++j) (j < i ? pass.outer : pass.inner) *= j == i ? 1 : sizes[j];
      sizes[i] = dimensions[i].out;
      passes.push_back(pass);
    }
  }
  return passes;
}

Status MoveNearest(const Resize& op, const std::vector<Dimension>& dimensions, const RunCall& call) {
  const auto element = static_cast<std::int64_t>(SizeOf(call.in(kX).type()));
  EF_ASSIGN_OR_RETURN(std::vector<std::byte> values, Allocate<std::byte>(call.in(kX).count() * element));
  std::copy_n(call.in(kX).data, values.size(), values.begin());
  for (const Pass& pass : PassesOf(op, dimensions)) {
    const Dimension& d = pass.dimension;
    const std::int64_t run = pass.inner * element;
    EF_ASSIGN_OR_RETURN(std::vector<std::byte> next, Allocate<std::byte>(pass.outer * d.out * run));
    for (std::int64_t i = 0; i < d.out; ++i) {
      const std::int64_t from = SampleOf(op, d, i).indices[0];
      for (std::int64_t outer = 0; outer < pass.outer; ++outer) {
        std::memcpy(next.data() + (outer * d.out + i) * run, values.data() + (outer * d.in + from) * run,
                    static_cast<std::size_t>(run));
      }
    }
    values = std::move(next);
  }
  std::ranges::copy(values, call.out().data);
  return OkStatus();
}

void Interpolate(const Pass& pass, std::int64_t i, const Sample& sample, const std::vector<double>& from,
                 std::vector<double>& to) {
  for (std::int64_t outer = 0; outer < pass.outer; ++outer) {
    double* row = to.data() + (outer * pass.dimension.out + i) * pass.inner;
    for (std::size_t tap = 0; tap < sample.indices.size(); ++tap) {
      const double weight = sample.weights[tap];
      if (weight == 0) continue;
      const double* source = from.data() + (outer * pass.dimension.in + sample.indices[tap]) * pass.inner;
      for (std::int64_t k = 0; k < pass.inner; ++k) row[k] += weight * source[k];
    }
  }
}

Status InterpolateAll(const Resize& op, const std::vector<Dimension>& dimensions, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(kX)));
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  EF_ASSIGN_OR_RETURN(std::vector<double> values, Allocate<double>(call.in(kX).count()));
  std::copy_n(x.data(), values.size(), values.begin());
  for (const Pass& pass : PassesOf(op, dimensions)) {
    EF_ASSIGN_OR_RETURN(std::vector<double> next, Allocate<double>(pass.outer * pass.dimension.out * pass.inner));
    for (std::int64_t i = 0; i < pass.dimension.out; ++i) Interpolate(pass, i, SampleOf(op, pass.dimension, i), values, next);
    values = std::move(next);
  }
  float* out = y.data();
  std::ranges::transform(values, out, [](double value) { return static_cast<float>(value); });
  // What any dimension reads from outside.
  std::int64_t inner = call.out().count();
  std::int64_t outer = 1;
  for (const Dimension& d : dimensions) {
    inner /= d.out;
    for (std::int64_t i = 0; i < d.out && op.coordinates == Coordinates::kCropAndResize; ++i) {
      if (!SampleOf(op, d, i).outside) continue;
      for (std::int64_t o = 0; o < outer; ++o) std::fill_n(out + (o * d.out + i) * inner, inner, op.extrapolation);
    }
    outer *= d.out;
  }
  return y.Store();
}

bool MovesElements(const Resize& op) {
  return op.mode == Resize::Mode::kNearest && op.coordinates != Coordinates::kCropAndResize;
}

Status CheckAttributes(const Resize& op) {
  if (op.mode > Resize::Mode::kCubic || op.coordinates > Coordinates::kHalfPixelSymmetric ||
      op.nearest > Resize::Nearest::kCeil || op.aspect_ratio > Resize::AspectRatio::kNotSmaller) {
    return BadAttribute("its mode, coordinates, rounding or aspect ratio policy is unknown");
  }
  if (!std::isfinite(op.cubic_a)) return BadAttribute("its cubic coefficient is not finite");
  return OkStatus();
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Resize& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 4));
  EF_RETURN_IF_ERROR(CheckAttributes(op));
  if (!MovesElements(op)) {
    EF_RETURN_IF_ERROR(CheckReal(call.at(kX), "its input"));
  } else if (SizeOf(call.at(kX).type()) == 0) {
    return BadType("it cannot resize int4");
  }
  EF_ASSIGN_OR_RETURN(const std::vector<Dimension> dimensions, DimensionsOf(op, call));
  Shape y;
  for (const Dimension& dimension : dimensions) {
    if (dimension.out < 1) return BadShape("its scales leave nothing of " + ToText(call.at(kX).shape()));
    y.push_back(dimension.out);
  }
  return std::vector<TypedShape>{{call.at(kX).type(), std::move(y)}};
}

Status Run(const Resize& op, const RunCall& call) {
  try {
    EF_ASSIGN_OR_RETURN(const std::vector<Dimension> dimensions, DimensionsOf(op, {call.inputs, 1}));
    return MovesElements(op) ? MoveNearest(op, dimensions, call) : InterpolateAll(op, dimensions, call);
  } catch (const std::bad_alloc&) {  // weights of wide kernels
    return ResourceExhausted("OUT_OF_MEMORY", "no memory for the weights of a resize");
  }
}

}  // namespace edgefleet::runtime
