#include "secagg/noise/poisson.h"

#include <algorithm>
#include <string>

namespace edgefleet::secagg {
namespace {

// The largest k with k (k + 1) <= value < 2^30.
std::uint32_t SlopeOf(std::uint64_t value) {
  std::uint64_t k = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 15; bit > 0; bit >>= 1) {
    if ((k | bit) * ((k | bit) + 1) <= value) k |= bit;
  }
  return static_cast<std::uint32_t>(k);
}

std::uint32_t DrawMeanOne(NoiseStream& stream) {
  for (;;) {
    std::uint32_t n = 0;
    while (stream.Bit()) ++n;
    bool keep = n > 0 || stream.Bit();
    for (std::uint32_t m = 3; keep && m <= n; ++m) keep = Bernoulli(2, m, stream);
    if (keep) return n;
  }
}

// What is between the rational bounds y and y / (1 - y) of -ln(1 - y), and the slope h = k / M outside of them, all times M r
// with r the other of the two sides' factors: M + i on the right, M - i on the left.
struct Term {
  std::uint64_t i;
  std::uint64_t y_denominator;
  std::uint64_t near;  // distance of h from the nearer bound: surely a part of the term
  std::uint64_t far;   // from the farther one
  std::uint64_t unit;  // M r
};

// h <= y <= y / (1 - y).
Term TermAbove(std::uint64_t i, std::uint64_t whole, std::uint64_t slope, std::uint64_t factor) {
  const std::uint64_t larger = std::max(whole, factor);
  return {i, larger, i * std::min(whole, factor) - slope * factor, i * larger - slope * factor, whole * factor};
}

// True with probability count / parts times the term.
template <typename LastCoin>
bool TermCoin(const Term& term, std::uint64_t count, std::uint64_t parts, const LastCoin& last, NoiseStream& stream) {
  if (!Bernoulli(Wide{term.far} * count, Wide{term.unit} * parts, stream)) return false;
  if (Bernoulli(term.near, term.far, stream)) return true;
  std::uint64_t n = 2;
  while (Bernoulli(term.i, term.y_denominator, stream)) ++n;
  return last(n);
}

}  // namespace

Result<Poisson> Poisson::Make(Variance mean) {
  const auto [numerator, denominator] = mean;
  if (numerator == 0 || denominator == 0 || numerator > kVarianceTermMax || denominator > 2 * kVarianceTermMax) {
    return InvalidArgument("BAD_NOISE", "numerator and denominator of a Poisson mean are 1 to 2^46 and 1 to 2^47, not " +
                                            std::to_string(numerator) + " and " + std::to_string(denominator));
  }
  const std::uint64_t whole = numerator / denominator;
  const std::uint64_t rest = numerator % denominator;
  if (whole > kPoissonMeanMax || (whole == kPoissonMeanMax && rest > 0)) {
    return InvalidArgument("BAD_NOISE",
                           "a Poisson mean is at most 2^29, not " + std::to_string(whole) + ": use a smaller scale");
  }
  return Poisson(static_cast<std::uint32_t>(whole), SlopeOf(whole), {rest, denominator});
}

std::uint32_t Poisson::Draw(NoiseStream& stream) const {
  std::uint32_t value = 0;
  if (whole_ == 1) value = DrawMeanOne(stream);
  if (whole_ > 1) value = DrawWhole(stream);
  if (rest_.numerator > 0) {
    for (std::uint32_t n = DrawMeanOne(stream); n > 0; --n) {
      if (Bernoulli(rest_.numerator, rest_.denominator, stream)) ++value;
    }
  }
  return value;
}

// j < 64 M / k <= 64 (sqrt(M) + 2), so with M <= 2^29 no product of two of i, j, k, M and M + i reaches 2^60.
std::uint32_t Poisson::DrawWhole(NoiseStream& stream) const {
  for (;;) {
    const Side side = stream.Bit() ? Side::kRight : Side::kLeft;
    const std::uint64_t j = GeometricExp(whole_, stream) / slope_;
    if (side == Side::kLeft && j >= whole_) continue;  // below 0
    if (j <= slope_ ? !KeepInside(j, stream) : !KeepOutside(side, j, stream)) continue;
    if (side == Side::kRight) return static_cast<std::uint32_t>(whole_ + j);
    if (KeepLeft(std::min<std::uint64_t>(j, slope_), stream)) return static_cast<std::uint32_t>(whole_ - 1 - j);
  }
}

// exp(-sum_{i=j+1}^{k} (h - r_i)). A term is less than h = k / M and there are at most k of them: the sum is below 1.
bool Poisson::KeepInside(std::uint64_t j, NoiseStream& stream) const {
  if (j == slope_) return true;
  const std::uint64_t count = slope_ - j;
  const auto coin = [&] {
    const std::uint64_t i = j + 1 + stream.Below(static_cast<std::uint32_t>(count));
    const std::uint64_t factor = whole_ + i;
    const std::uint64_t h = slope_ * factor;
    const Term term{i, factor, h - i * factor, h - i * whole_, whole_ * factor};  // y <= y / (1 - y) <= h
    return TermCoin(
        term, count, 1, [&](std::uint64_t n) { return Bernoulli(n - 1, n, stream); }, stream);
  };
  return BernoulliExpMinusCoin(coin, stream);
}

// exp(-sum_{i=k+1}^{j} (r_i - h)), on the left with l_i. In as many equal parts as make each of them at most 1: the last term
// is the largest.
bool Poisson::KeepOutside(Side side, std::uint64_t j, NoiseStream& stream) const {
  const std::uint64_t count = j - slope_;
  const auto factor = [&](std::uint64_t i) { return side == Side::kRight ? whole_ + i : whole_ - i; };
  const Term largest = TermAbove(j, whole_, slope_, factor(j));
  const auto parts = static_cast<std::uint64_t>((Wide{largest.far} * count + largest.unit - 1) / largest.unit);
  const auto coin = [&] {
    const std::uint64_t i = slope_ + 1 + stream.Below(static_cast<std::uint32_t>(count));
    const Term term = TermAbove(i, whole_, slope_, factor(i));
    return TermCoin(
        term, count, parts, [&](std::uint64_t n) { return Bernoulli(1, n, stream); }, stream);
  };
  for (std::uint64_t part = 0; part < parts; ++part) {
    if (!BernoulliExpMinusCoin(coin, stream)) return false;
  }
  return true;
}

// exp(-sum_{i=1}^{terms} -ln(1 - y)), y = i^2 / M^2, terms <= k. -ln(1 - y) = y / (1 - y) E[1/N], N = 1 + Geometric(y), and the
// sum of the first factors is at most k^3 / (M^2 - k^2) < 1.
bool Poisson::KeepLeft(std::uint64_t terms, NoiseStream& stream) const {
  if (terms == 0) return true;
  const std::uint64_t square = std::uint64_t{whole_} * whole_;
  const auto coin = [&] {
    const std::uint64_t i = 1 + stream.Below(static_cast<std::uint32_t>(terms));
    if (!Bernoulli(Wide{terms} * i * i, square - i * i, stream)) return false;
    std::uint64_t n = 1;
    while (Bernoulli(i, whole_, stream) && Bernoulli(i, whole_, stream)) ++n;
    return Bernoulli(1, n, stream);
  };
  return BernoulliExpMinusCoin(coin, stream);
}

}  // namespace edgefleet::secagg
