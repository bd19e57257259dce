// Tails of the normal distribution in extended precision. Pure functions, thread-safe.
#pragma once

namespace edgefleet::privacy {

// Phi(x). Relative error at most kNormalSlack wherever it is above 1e-4900.
long double NormalCdf(long double x);
inline constexpr long double kNormalSlack = 1e-18L;

// A lower and an upper bound of log Phi(x) for x < 0; at most 1e-4 apart, and equal but for rounding above -100.
long double LogNormalCdfBelow(long double x);
long double LogNormalCdfAbove(long double x);

}  // namespace edgefleet::privacy
