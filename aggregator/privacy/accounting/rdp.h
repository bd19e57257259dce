// Renyi differential privacy (Mironov 2017): the divergence of order alpha > 1 between the outputs with and without a device,
// for the worst two cohorts. Divergences of composed releases add up; what they mean in (epsilon, delta) is read off the best
// order.
//
// All values are upper bounds, rounded up by 1e-11 of themselves. Noise is in units of the L2 sensitivity under the adjacency
// that is meant: for replacing a device that is twice the clip norm. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edgefleet::privacy {

inline constexpr double kOrderMax = 4096;

// Orders at which an accountant of others looks, so that values can be compared: "opacus" (1.1 to 10.9 in tenths, 12 to 63),
// "tf" (TensorFlow Privacy before 0.9: 1.25 to 512), "dpa" (dp_accounting: 1.1 to 10.9 in tenths, 11 to 63, 128 to 1024),
// "integer" (2 to 128, 256: the distributed mechanisms' papers); or a list of numbers and ranges of whole numbers, as
// "2..32,64,2.5". INVALID_ARGUMENT [BAD_ORDERS].
Result<std::vector<double>> ParseOrders(std::string_view text);

// One release of the Gaussian mechanism: order / (2 sigma^2).
double GaussianRdp(double sigma, double order);

// Behind Poisson sampling at `rate`, adding or removing a device, both directions (Mironov, Talwar and Zhang 2019): the
// binomial sum of section 3.3 at whole orders; at others the integral itself by the trapezoidal rule, whose error on this
// analytic integrand is below 1e-15 of it.
double PoissonGaussianRdp(double sigma, double rate, double order);

// A uniform sample of fixed size without replacement, `rate` of the population, replacing a device (Wang, Balle and
// Kasiviswanathan 2019, theorem 27; between whole orders corollary 10).
std::vector<double> SubsetGaussianRdp(double sigma, double rate, std::span<const double> orders);

// Any mechanism of divergence `rdp` at whole orders behind Poisson sampling at `rate`, adding or removing a device, at a whole
// order (Zhu and Wang 2019, theorem 5); never more than without sampling.
double PoissonRdp(double rate, int order, const std::function<double(int)>& rdp);

// Over integer vectors: `scale` integers to one unit of the clip norm, `dimension` coordinates. Without rounding the
// sensitivities are scale in L2 and scale * sqrt(dimension) in L1. With conditional stochastic rounding at `rounding_beta`
// (Kairouz, Liu and Steinke 2021, theorem 1; 0 rounds unconditionally) the L2 bound grows accordingly and the L1 norm is at
// most the square of L2.
struct IntegerVectors {
  double scale = 0;
  std::uint64_t dimension = 1;
  double rounding_beta = -1;  // negative: not rounded
};
struct Sensitivities {
  double l1 = 0;
  double l2 = 0;
};
Sensitivities SensitivitiesOf(const IntegerVectors& vectors);

// Skellam noise whose sum over all devices has deviation sigma * scale in each coordinate, at a whole order (Agarwal, Kairouz
// and Liu 2021, theorem 3.5).
double SkellamRdp(const IntegerVectors& vectors, double sigma, double order);

// The sum of discrete Gaussians of `clients` devices, of deviation sigma * scale together (Kairouz, Liu and Steinke 2021,
// proposition 14 and theorem 1). One client: the discrete Gaussian itself (Canonne, Kamath and Steinke 2020).
double DistributedDiscreteGaussianRdp(const IntegerVectors& vectors, double sigma, std::uint64_t clients, double order);

// Of divergences `rdp` at `orders` (same size): the least epsilon at `delta`, and delta at `epsilon` (Canonne, Kamath and
// Steinke 2020, proposition 12; for divergences near 0, delta^2 <= 1 - exp(-KL) of Bretagnolle and Huber 1979). `order` is the
// best one.
struct RdpAnswer {
  double value = 0;
  double order = 0;
};
RdpAnswer RdpEpsilon(std::span<const double> orders, std::span<const double> rdp, double delta);
RdpAnswer RdpDelta(std::span<const double> orders, std::span<const double> rdp, double epsilon);

}  // namespace edgefleet::privacy
