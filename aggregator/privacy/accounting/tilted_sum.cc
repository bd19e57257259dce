#include "aggregator/privacy/accounting/tilted_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "aggregator/privacy/accounting/fft.h"

namespace edgefleet::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLogOutside = 26;           // exp(-26) = 5e-12 of the tilted sum is outside of the window, on either side
constexpr double kOutside = 1.1e-11;         // both sides
constexpr double kMassSlack = 1e-12;         // relative, a step: rounding of discretized and tilted probabilities
constexpr double kExponentSlack = 1e-15;     // of tilt * loss, a step: rounding of the tilt's exponents
constexpr double kLossSlack = 4e-16;         // of a step's loss: rounding of the grid
constexpr double kPowerSlack = 1e-15;        // relative, a step: rounding of the power of a coefficient
constexpr std::size_t kSearchMax = 1 << 17;  // points up to which the tilt is searched anew

std::size_t PointsOf(std::span<const DiscreteLoss> losses) {
  std::size_t points = 0;
  for (const DiscreteLoss& loss : losses) points += loss.above.size();
  return points;
}

std::vector<double> Logarithms(const std::vector<double>& masses) {
  std::vector<double> logs(masses.size());
  std::ranges::transform(masses, logs.begin(), [](double mass) { return std::log(mass); });
  return logs;
}

// Calls `visit(point, loss, tilted mass / exp(reference))` for each point that matters; returns the reference, so that nothing
// overflows.
template <typename F>
double ForEachTilted(const DiscreteLoss& loss, const std::vector<double>& logs, double lambda, F visit) {
  double reference = -kInfinity;
  for (std::size_t k = 0; k < logs.size(); ++k) reference = std::max(reference, logs[k] + lambda * loss.LossAt(k));
  for (std::size_t k = 0; k < logs.size(); ++k) {
    const double at = loss.LossAt(k);
    const double exponent = logs[k] + lambda * at - reference;
    if (exponent > -700) visit(k, at, std::exp(exponent));
  }
  return reference;
}

double Norm(const std::vector<std::complex<double>>& values) {
  double sum = 0;
  for (const std::complex<double>& value : values) sum += std::norm(value);
  return std::sqrt(sum);
}

std::complex<double> Power(std::complex<double> value, double exponent) {
  const double log_size = 0.5 * exponent * std::log(std::norm(value));
  if (!(log_size > -120)) return 0;
  return std::polar(std::exp(log_size), exponent * std::arg(value));
}

// The transforms of the real and the imaginary part, from that of both together.
struct Spectra {
  std::complex<double> above;
  std::complex<double> below;
};
Spectra Separate(std::complex<double> at, std::complex<double> mirrored) {
  const std::complex<double> conjugate = std::conj(mirrored);
  const std::complex<double> twice_below = at - conjugate;
  return {.above = 0.5 * (at + conjugate), .below = {0.5 * twice_below.imag(), -0.5 * twice_below.real()}};
}

}  // namespace

TiltedSum::TiltedSum(std::span<const DiscreteLoss> losses, std::span<const double> counts, const TailQuery& query,
                     std::optional<Tilt> tilt, std::size_t points_max)
    : losses_(losses), counts_(counts), query_(query), width_(losses[0].grid.width) {
  for (std::size_t i = 0; i < losses.size(); ++i) {
    origin_ += losses[i].grid.origin * counts[i];
    steps_ += counts[i];
    largest_ = std::max({largest_, std::fabs(losses[i].LossAt(0)), std::fabs(losses[i].LossAt(losses[i].above.size()))});
    logs_[0].push_back(Logarithms(losses[i].above));
    logs_[1].push_back(Logarithms(losses[i].below));
    empty_below_ = empty_below_ || std::ranges::all_of(losses[i].below, [](double mass) { return mass == 0; });
  }
  tilt_ = tilt && PointsOf(losses) > kSearchMax ? *tilt : FindTilt();
  if (PlaceWindow(points_max)) Convolve();
}

TiltedSum::Cumulant TiltedSum::CumulantAt(double lambda, Side side) const {
  Cumulant sum;
  for (std::size_t i = 0; i < losses_.size(); ++i) {
    double total = 0;
    double first = 0;
    double second = 0;
    const double reference =
        ForEachTilted(losses_[i], logs_[static_cast<int>(side)][i], lambda, [&](std::size_t, double loss, double mass) {
          total += mass;
          first += mass * loss;
          second += mass * loss * loss;
        });
    const double mean = first / total;
    sum.value += counts_[i] * (reference + std::log(total));
    sum.slope += counts_[i] * mean;
    sum.curvature += counts_[i] * std::max(0.0, second / total - mean * mean);
  }
  return sum;
}

// The lambda with the query's delta in Chernoff's bound, K(lambda) - lambda K'(lambda) = log delta, or its epsilon, K'(lambda)
// = epsilon. Any other would be valid too, and less accurate.
double TiltedSum::FindLambda() const {
  const auto beyond = [&](double lambda) {
    const Cumulant at = CumulantAt(lambda, Side::kAbove);
    return query_.kind == TailQuery::Kind::kEpsilonAtDelta ? at.value - lambda * at.slope < std::log(query_.value)
                                                           : at.slope > query_.value;
  };
  double low = 1e-6;
  double high = 1e-3;
  while (high < 1e8 && !beyond(high)) {
    low = high;
    high *= 8;
  }
  if (beyond(low)) return low;
  while (high > low * 1.01) {
    const double middle = std::sqrt(low * high);
    (beyond(middle) ? high : low) = middle;
  }
  return low;
}

Tilt TiltedSum::FindTilt() const {
  Tilt tilt{.lambda = FindLambda()};
  const Cumulant here = CumulantAt(tilt.lambda, Side::kAbove);
  const double start = std::sqrt(2 * kLogOutside / std::max(here.curvature, width_ * width_));
  // The nearest ends of the window that Chernoff's bound allows.
  double nearest[2] = {kInfinity, kInfinity};
  for (int step = -10; step <= 4; ++step) {
    const double move = start * std::exp2(0.5 * step);
    const double right = (CumulantAt(tilt.lambda + move, Side::kAbove).value - here.value + kLogOutside) / move;
    const double left = (CumulantAt(tilt.lambda - move, Side::kAbove).value - here.value + kLogOutside) / move;
    if (right < nearest[0]) nearest[0] = right, tilt.right = move;
    if (left < nearest[1]) nearest[1] = left, tilt.left = move;
  }
  return tilt;
}

bool TiltedSum::PlaceWindow(std::size_t points_max) {
  double low = kInfinity;
  double high = -kInfinity;
  for (const Side side : {Side::kAbove, Side::kBelow}) {
    if (side == Side::kBelow && empty_below_) continue;
    const double total = CumulantAt(tilt_.lambda, side).value;
    high = std::max(high, (CumulantAt(tilt_.lambda + tilt_.right, side).value - total + kLogOutside) / tilt_.right);
    low = std::min(low, (total - CumulantAt(tilt_.lambda - tilt_.left, side).value - kLogOutside) / tilt_.left);
  }
  window_ = high - low;
  if (!(window_ / width_ + 4 < static_cast<double>(points_max))) return false;
  first_ = static_cast<std::int64_t>(std::floor((low - origin_) / width_)) - 1;
  sums_.resize(FftSize(static_cast<std::size_t>(window_ / width_) + 4));
  return true;
}

// Probabilities at their indices modulo the transform's size.
std::vector<std::complex<double>> TiltedSum::TiltedMasses(std::size_t term) {
  const DiscreteLoss& loss = losses_[term];
  std::vector<double> parts[2] = {std::vector<double>(sums_.size()), std::vector<double>(sums_.size())};
  const auto size = static_cast<std::int64_t>(sums_.size());
  double total[2] = {0, 0};
  for (const int side : {0, 1}) {
    if (side == 1 && empty_below_) continue;
    const double reference = ForEachTilted(loss, logs_[side][term], tilt_.lambda, [&](std::size_t point, double, double mass) {
      const std::int64_t index = (loss.first + static_cast<std::int64_t>(point)) % size;
      parts[side][static_cast<std::size_t>(index < 0 ? index + size : index)] += mass;
      total[side] += mass;
    });
    log_total_[side] += counts_[term] * (reference + std::log(total[side]));
  }
  std::vector<std::complex<double>> result(sums_.size());
  for (std::size_t k = 0; k < result.size(); ++k) {
    result[k] = {parts[0][k] / total[0], total[1] > 0 ? parts[1][k] / total[1] : 0};
  }
  return result;
}

void TiltedSum::Convolve() {
  const std::size_t size = sums_.size();
  const std::size_t half = size / 2;
  std::vector<Spectra> product(half + 1, {1, 1});
  for (std::size_t term = 0; term < losses_.size(); ++term) {
    std::vector<std::complex<double>> values = TiltedMasses(term);
    rounding_ += 2 * counts_[term] * FftError(size) * Norm(values);  // twice, as each half of the spectrum is used for both
    Transform(values, FftDirection::kForward);
    for (std::size_t k = 0; k <= half; ++k) {
      const Spectra spectra = Separate(values[k], values[(size - k) % size]);
      product[k].above *= Power(spectra.above, counts_[term]);
      product[k].below *= Power(spectra.below, counts_[term]);
    }
  }
  const std::complex<double> i(0, 1);
  for (std::size_t k = 0; k <= half; ++k) {
    sums_[k] = product[k].above + i * product[k].below;
    if (k > 0 && k < half) sums_[size - k] = std::conj(product[k].above) + i * std::conj(product[k].below);
  }
  Transform(sums_, FftDirection::kInverse);
  rounding_ += (FftError(size) + steps_ * kPowerSlack) * (Norm(sums_) + rounding_);
  // The sum's indices are taken modulo the size; the window's first one comes first.
  std::int64_t shift = first_ % static_cast<std::int64_t>(size);
  if (shift < 0) shift += static_cast<std::int64_t>(size);
  std::rotate(sums_.begin(), sums_.begin() + shift, sums_.end());
}

// delta at the window's points, going down from its end.
struct TiltedSum::Tail {
  double lambda = 0;
  double width = 0;
  double log_total = 0;
  double error = 0;     // of the scaled delta, outwards
  double constant = 0;  // infinite losses
  double factor = 1;    // rounding of probabilities

  double loss = 0;    // of the present point
  double scaled = 0;  // sum over the points above of mass * exp(-lambda * distance) * (1 - exp(-distance))
  double other = 0;   // sum from this point on of mass * exp(-(lambda + 1) * distance)

  double Delta() const {
    return std::clamp((std::exp(log_total - lambda * loss) * std::max(0.0, scaled + error) + constant) * factor, 0.0, 1.0);
  }
  void Down(double mass) {
    const double decay = std::exp(-lambda * width);
    scaled = decay * (scaled - std::expm1(-width) * other);
    other = decay * std::exp(-width) * other + std::max(0.0, mass);
    loss -= width;
  }
};

TiltedSum::Tail TiltedSum::TailOf(Side side) const {
  const double sign = side == Side::kAbove ? 1 : -1;
  Tail tail{.lambda = tilt_.lambda, .width = width_, .log_total = log_total_[static_cast<int>(side)]};
  double weights = 0;  // squares of exp(-lambda d) (1 - exp(-d)), summed over the distances d
  for (std::size_t k = 1; k < sums_.size(); ++k) {
    const double distance = static_cast<double>(k) * width_;
    const double weight = std::exp(-tilt_.lambda * distance) * -std::expm1(-distance);
    weights += weight * weight;
    if (tilt_.lambda * distance > 50) break;
  }
  // What is outside, or where it wraps around to, has at most the largest weight there is.
  tail.error = sign * (rounding_ * std::sqrt(weights) + kOutside / (1 + tilt_.lambda));
  for (std::size_t i = 0; side == Side::kAbove && i < losses_.size(); ++i) tail.constant += counts_[i] * losses_[i].infinite;
  tail.factor = 1 + sign * std::min(0.5, steps_ * (kMassSlack + kExponentSlack * tilt_.lambda * largest_));
  tail.loss = origin_ + static_cast<double>(first_ + static_cast<std::int64_t>(sums_.size())) * width_;
  return tail;
}

double MassAt(std::complex<double> sum, bool above) { return above ? sum.real() : sum.imag(); }

double TiltedSum::EpsilonAt(double delta, Side side, double least) const {
  const bool above = side == Side::kAbove;
  Tail tail = TailOf(side);
  if (tail.Delta() > delta) return above ? kInfinity : tail.loss;
  for (std::size_t k = sums_.size(); k-- > 0;) {
    if (tail.loss <= least) return least;
    const double right = tail.Delta();
    tail.Down(MassAt(sums_[k], above));
    const double left = tail.Delta();
    if (left <= delta) continue;
    // Linear in exp(epsilon) between grid points.
    return std::max(least, tail.loss + std::log1p(std::expm1(width_) * (left - delta) / (left - right)));
  }
  return above ? std::max(least, tail.loss) : least;
}

double TiltedSum::DeltaAt(double epsilon, Side side) const {
  const bool above = side == Side::kAbove;
  Tail tail = TailOf(side);
  if (tail.loss <= epsilon) return above ? tail.Delta() : 0;
  for (std::size_t k = sums_.size(); k-- > 0;) {
    const double right = tail.Delta();
    tail.Down(MassAt(sums_[k], above));
    if (tail.loss > epsilon) continue;
    const double left = tail.Delta();
    return left + (right - left) * std::expm1(epsilon - tail.loss) / std::expm1(width_);
  }
  return above ? 1 : tail.Delta();
}

Bracket TiltedSum::Answer() const {
  const bool for_epsilon = query_.kind == TailQuery::Kind::kEpsilonAtDelta;
  if (sums_.empty()) return {0, for_epsilon ? kInfinity : 1};
  // Losses are at most that much off, all together.
  const double shift = steps_ * (kPositionSlack / width_ + kLossSlack * largest_);
  Bracket answer;
  if (for_epsilon) {
    answer.upper = EpsilonAt(query_.value, Side::kAbove, -shift) + shift;
    if (!empty_below_) answer.lower = std::max(0.0, EpsilonAt(query_.value, Side::kBelow, 0) - shift);
  } else {
    answer.upper = DeltaAt(query_.value - shift, Side::kAbove);
    if (!empty_below_) answer.lower = DeltaAt(query_.value + shift, Side::kBelow);
  }
  return answer;
}

}  // namespace edgefleet::privacy
