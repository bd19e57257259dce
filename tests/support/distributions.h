// Distributions on the integers, computed in floating point from their definitions, and how well draws fit one.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace edgefleet::testing {

// Outcomes in at most 4,096 classes: class c holds those in (last[c - 1], last[c]], the final one all further ones.
struct Distribution {
  std::vector<std::int64_t> last;
  std::vector<long double> probability;  // of the classes
  std::array<long double, 9> moments{};  // moments[r] = E[(x - center)^r / scale^r], of the distribution itself
  long double center = 0;
  long double scale = 1;
};

// Probabilities to about 1e-15; for deviations above 2^12 the normal distribution's between half-integers, which differs by
// less than exp(-2 pi^2 sigma^2).
Distribution DiscreteGaussianDistribution(double variance);
Distribution PoissonDistribution(double mean);
// variance: twice the mean of the two parts.
Distribution SkellamDistribution(double variance);

// Collects draws and compares. The p-values are (bounds of) the probability that true draws fit as badly.
class Fit {
 public:
  explicit Fit(const Distribution& distribution);
  void Add(std::int64_t draw);

  // Pearson's test; neighbouring classes with fewer than 50 expected draws are taken together.
  double ChiSquareP() const;
  // Kolmogorov and Smirnov's statistic at the ends of classes, with Massart's bound 2 exp(-2 n D^2), which holds for any
  // distribution.
  double KolmogorovSmirnovP() const;
  // Of the r-th power, in standard errors: 1 <= r <= 4.
  double MomentZ(int r) const;

 private:
  const Distribution& distribution_;
  std::vector<std::uint64_t> counts_;
  std::array<long double, 5> powers_{};
  std::uint64_t draws_ = 0;
};

}  // namespace edgefleet::testing
