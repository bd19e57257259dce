// Integer noise: draws a second on one core, and whether 10^7 of them fit their distribution. Keys are fresh, so each bar is
// missed by a correct sampler with probability at most 1e-7, and any of them in a run with less than 1e-5.
#include <cmath>
#include <cstdio>

#include "base/crypto/crypto.h"
#include "load_tests/secagg/section.h"
#include "secagg/noise/discrete_gaussian.h"
#include "secagg/noise/skellam.h"
#include "tests/support/distributions.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;
using secagg::DiscreteGaussian;
using secagg::NoiseStream;
using secagg::Skellam;
using secagg::Variance;

constexpr double kLeastP = 1e-7;
constexpr double kMostZ = 5.33;  // exceeded by a normal deviate with probability 1e-7

template <typename Sampler>
void AddRows(const BenchSize& size, const std::string& name, const Result<Sampler>& sampler,
             const testing::Distribution& distribution, json& rows) {
  if (!sampler) throw std::runtime_error(sampler.error().ToString());
  crypto::SecureRandom random;
  NoiseStream stream(random);
  testing::Fit fit(distribution);
  std::vector<std::int64_t> draws(50'000);
  double seconds = 0;
  const int chunks = size.small ? 1 : 200;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    std::ranges::fill(draws, 0);
    seconds += BestSeconds(size, 1, {[&] { AddNoise(*sampler, std::span(draws), stream); }})[0];
    for (const std::int64_t draw : draws) fit.Add(draw);
  }
  const auto count = static_cast<double>(draws.size()) * chunks;
  rows.push_back(Row(name + "_rate", count / seconds / 1e6, "million/s per core"));
  rows.push_back(RowAtLeast(size, name + "_chi_square_p", fit.ChiSquareP(), "", kLeastP));
  rows.push_back(RowAtLeast(size, name + "_kolmogorov_smirnov_p", fit.KolmogorovSmirnovP(), "", kLeastP));
  double worst = 0;
  for (int r = 1; r <= 4; ++r) worst = std::max(worst, std::abs(fit.MomentZ(r)));
  rows.push_back(RowAtMost(size, name + "_moments_1_to_4_most_z", worst, "standard errors", kMostZ));
}

std::string NameOf(const char* kind, Variance variance) {
  std::string name = std::string(kind) + "_" + std::to_string(variance.numerator);
  if (variance.denominator > 1) name += "/" + std::to_string(variance.denominator);
  return name;
}

double ValueOf(Variance variance) {
  return static_cast<double>(variance.numerator) / static_cast<double>(variance.denominator);
}

}  // namespace

json NoiseSection(const BenchSize& size) {
  json rows = json::array();
  for (const Variance variance : {Variance{1, 4}, {22, 7}, {10'007, 10}, {1 << 20, 1}, {1ULL << 40, 1}}) {
    AddRows(size, NameOf("discrete_gaussian", variance), DiscreteGaussian::Make(variance),
            testing::DiscreteGaussianDistribution(ValueOf(variance)), rows);
  }
  for (const Variance variance : {Variance{1, 4}, {22, 7}, {10'007, 10}, {1 << 21, 1}, {1 << 30, 1}}) {
    AddRows(size, NameOf("skellam", variance), Skellam::Make(variance), testing::SkellamDistribution(ValueOf(variance)), rows);
  }
  return rows;
}

}  // namespace edgefleet::load_tests
