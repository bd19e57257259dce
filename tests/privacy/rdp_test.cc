// Renyi divergences against one another, and the reading of orders.
#include "aggregator/privacy/accounting/rdp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace edgefleet::privacy {
namespace {

TEST(Rdp, TheSumAtWholeOrdersIsTheIntegral) {
  for (const double sigma : {0.1, 0.35, 1.0, 3.0, 20.0}) {
    for (const double rate : {1e-6, 0.001, 0.3, 0.99}) {
      for (const double order : {2.0, 3.0, 17.0, 200.0}) {
        const double whole = PoissonGaussianRdp(sigma, rate, order);
        const double beside = PoissonGaussianRdp(sigma, rate, order * (1 + 1e-13));
        EXPECT_NEAR(beside / whole, 1, 2e-11) << sigma << " " << rate << " " << order;
      }
    }
  }
}

TEST(Rdp, SamplingHelpsAndNothingHelpsMoreThanTheMechanismAllows) {
  const std::vector<double> orders = {1.5, 2, 5.5, 32, 300};
  for (const double sigma : {0.5, 2.0}) {
    const std::vector<double> subset = SubsetGaussianRdp(sigma, 0.01, orders);
    for (std::size_t i = 0; i < orders.size(); ++i) {
      const double poisson = PoissonGaussianRdp(sigma, 0.01, orders[i]);
      EXPECT_LT(poisson, PoissonGaussianRdp(sigma, 0.02, orders[i]));
      EXPECT_LE(PoissonGaussianRdp(sigma, 0.02, orders[i]), GaussianRdp(sigma, orders[i]));
      EXPECT_LE(poisson, subset[i] * (1 + 1e-9)) << sigma << " " << orders[i];
      EXPECT_LE(subset[i], GaussianRdp(sigma, orders[i]));
    }
  }
}

TEST(Rdp, TheGeneralBoundForPoissonSamplesCoversTheGaussian) {
  for (const double sigma : {0.7, 1.0, 4.0}) {
    const auto gaussian = [&](int order) { return GaussianRdp(sigma, order); };
    for (const int order : {2, 3, 10, 64}) {
      const double general = PoissonRdp(0.05, order, gaussian);
      EXPECT_GE(general, PoissonGaussianRdp(sigma, 0.05, order) * (1 - 1e-9)) << sigma << " " << order;
      EXPECT_LE(general, GaussianRdp(sigma, order));
    }
    EXPECT_EQ(PoissonRdp(1, 5, gaussian), gaussian(5));
    EXPECT_EQ(PoissonRdp(0, 5, gaussian), 0);
  }
}

TEST(Rdp, MechanismsOnIntegersNearTheGaussianAsTheScaleGrows) {
  for (const double order : {2.0, 16.0, 128.0}) {
    const double gaussian = GaussianRdp(2.0, order);
    double skellam_before = HUGE_VAL;
    double discrete_before = HUGE_VAL;
    for (const double scale : {10.0, 1e3, 1e6}) {
      const double skellam = SkellamRdp({.scale = scale, .dimension = 1024}, 2.0, order);
      const double discrete = DistributedDiscreteGaussianRdp({.scale = scale, .dimension = 1024}, 2.0, 50, order);
      EXPECT_GE(skellam, gaussian);
      EXPECT_GE(discrete, gaussian);
      EXPECT_LE(skellam, skellam_before);
      EXPECT_LE(discrete, discrete_before);
      skellam_before = skellam;
      discrete_before = discrete;
    }
    EXPECT_NEAR(skellam_before / gaussian, 1, 1e-4);
    EXPECT_NEAR(discrete_before / gaussian, 1, 1e-9);
    EXPECT_NEAR(DistributedDiscreteGaussianRdp({.scale = 3, .dimension = 7}, 2.0, 1, order) / gaussian, 1, 1e-10);
  }
}

TEST(Rdp, RoundingGrowsTheNorms) {
  const Sensitivities plain = SensitivitiesOf({.scale = 100, .dimension = 4096});
  EXPECT_EQ(plain.l2, 100);
  EXPECT_EQ(plain.l1, 6400);
  // Kairouz, Liu and Steinke 2021, theorem 1, by hand: 100^2 + 1024 + sqrt(2 log(1/beta)) (100 + 32) with beta = exp(-1/2).
  const Sensitivities rounded = SensitivitiesOf({.scale = 100, .dimension = 4096, .rounding_beta = std::exp(-0.5)});
  EXPECT_NEAR(rounded.l2, std::sqrt(11156.0), 1e-9);
  EXPECT_NEAR(rounded.l1, rounded.l2 * 64, 1e-9);
  EXPECT_EQ(SensitivitiesOf({.scale = 100, .dimension = 4096, .rounding_beta = 0}).l2, 164);
  const Sensitivities small = SensitivitiesOf({.scale = 2, .dimension = 4096, .rounding_beta = 0.9});
  EXPECT_EQ(small.l1, small.l2 * std::min(64.0, small.l2));
}

TEST(Rdp, ManyClientsAreCountedUpwards) {
  constexpr double kShare = 0.5;  // deviation of one client's noise
  constexpr std::uint64_t kClients = 20'000;
  double tau = 0;
  for (std::uint64_t k = 1; k < kClients; ++k) {
    tau += 10 * std::exp(-2 * std::pow(M_PI * kShare, 2) * static_cast<double>(k) / static_cast<double>(k + 1));
  }
  const double sigma = kShare * std::sqrt(static_cast<double>(kClients));
  const double triangle = std::pow(1 / sigma + tau, 2);  // order 2, one coordinate, sensitivity 1
  const double cross = 1 / (sigma * sigma) + 2 * tau / sigma + tau * tau;
  const double spread = 1 / (sigma * sigma) + tau;
  const double exact = std::min({triangle, cross, spread});
  const double bound = DistributedDiscreteGaussianRdp({.scale = 1, .dimension = 1}, sigma, kClients, 2);
  EXPECT_GE(bound, exact);
  EXPECT_LE(bound, exact * 1.01);
}

TEST(Rdp, EpsilonAndDeltaAreInverse) {
  const std::vector<double> orders = ParseOrders("dpa").value();
  std::vector<double> rdp;
  for (const double order : orders) rdp.push_back(100 * PoissonGaussianRdp(1.1, 0.01, order));
  for (const double delta : {1e-3, 1e-5, 1e-9}) {
    const RdpAnswer epsilon = RdpEpsilon(orders, rdp, delta);
    EXPECT_NEAR(RdpDelta(orders, rdp, epsilon.value).value / delta, 1, 1e-9);
  }
  const std::vector<double> nothing(orders.size(), 1e-14);
  EXPECT_EQ(RdpEpsilon(orders, nothing, 1e-5).value, 0);
  EXPECT_LE(RdpDelta(orders, nothing, 0).value, 1.1e-7);
  EXPECT_EQ(RdpDelta(orders, std::vector<double>(orders.size(), 50.0), 0).value, 1);
}

TEST(Orders, NamedSetsAndLists) {
  const auto size = [](const char* text) { return ParseOrders(text).value().size(); };
  EXPECT_EQ(size("opacus"), 99 + 52);
  EXPECT_EQ(size("tf"), 10 + 59 + 3);
  EXPECT_EQ(size("dpa"), 99 + 53 + 4);
  EXPECT_EQ(size("integer"), 128);
  EXPECT_EQ(ParseOrders("2..4,64,2.5").value(), (std::vector<double>{2, 3, 4, 64, 2.5}));
  for (const char* text : {"", "opakus", "1", "0.5", "2,", ",2", "4..2", "2.5..4", "5000", "2..", "nan", "inf", "2 3"}) {
    const auto orders = ParseOrders(text);
    ASSERT_FALSE(orders) << text;
    EXPECT_EQ(orders.error().reason(), "BAD_ORDERS") << text;
  }
}

}  // namespace
}  // namespace edgefleet::privacy
