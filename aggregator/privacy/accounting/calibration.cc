#include <boost/math/tools/toms748_solve.hpp>
#include <cmath>

#include "aggregator/privacy/accounting/account.h"

namespace edgefleet::privacy {
namespace {

constexpr double kNoiseMin = 1e-3;
constexpr double kNoiseMax = 1e6;
constexpr double kTolerance = 5e-7;  // of the noise's logarithm
constexpr double kInfinityStandIn = 1e300;

// Epsilon as a function of the noise's logarithm; remembers the first error.
class Search {
 public:
  Search(const Mechanism& mechanism, Accountant accountant, std::span<const double> orders, double delta, double epsilon)
      : mechanism_(mechanism), accountant_(accountant), orders_(orders), delta_(delta), epsilon_(epsilon) {}

  Result<Spent> SpentAt(double log_noise) {
    mechanism_.noise_multiplier = std::exp(log_noise);
    return SpentEpsilon({&mechanism_, 1}, accountant_, orders_, delta_);
  }
  // How much too much is spent.
  double Excess(double log_noise) {
    if (!error_.ok()) return 0;
    const auto spent = SpentAt(log_noise);
    if (!spent) {
      error_ = spent.error();
      return 0;
    }
    return std::min(spent->value.upper, kInfinityStandIn) - epsilon_;
  }
  const Status& error() const { return error_; }

 private:
  Mechanism mechanism_;
  const Accountant accountant_;
  const std::span<const double> orders_;
  const double delta_;
  const double epsilon_;
  Status error_;
};

}  // namespace

Result<Calibration> CalibrateNoise(const Mechanism& mechanism, Accountant accountant, std::span<const double> orders,
                                   double delta, double epsilon) {
  if (!(epsilon > 0 && std::isfinite(epsilon))) return InvalidArgument("BAD_EPSILON", "the target epsilon is a number above 0");
  Search search(mechanism, accountant, orders, delta, epsilon);
  double high = 0;
  double at_high = search.Excess(high);
  double low = high;
  double at_low = at_high;
  while (at_high > 0 && high < std::log(kNoiseMax)) {
    low = high;
    at_low = at_high;
    high += 1;
    at_high = search.Excess(high);
  }
  while (at_low <= 0 && low > std::log(kNoiseMin) && search.error().ok()) {
    high = low;
    at_high = at_low;
    low -= 1;
    at_low = search.Excess(low);
  }
  EF_RETURN_IF_ERROR(search.error());
  if (at_high > 0) {
    return FailedPrecondition("NO_NOISE_SUFFICES",
                              "even a noise multiplier of 1e6 spends more than the target; take fewer steps, " +
                                  std::string("a larger delta or, for integer vectors, another scale"));
  }
  if (at_low > 0) {
    boost::uintmax_t evaluations = 60;
    const auto close = [](double a, double b) { return std::fabs(a - b) < kTolerance; };
    high = boost::math::tools::toms748_solve([&](double x) { return search.Excess(x); }, low, high, at_low, at_high, close,
                                             evaluations)
               .second;
    EF_RETURN_IF_ERROR(search.error());
  }
  EF_ASSIGN_OR_RETURN(const Spent spent, search.SpentAt(high));
  return Calibration{.noise_multiplier = std::exp(high), .spent = spent};
}

}  // namespace edgefleet::privacy
