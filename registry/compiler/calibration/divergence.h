// Entropy calibration's search; see CalibrationMethod::kEntropy.
#pragma once

#include "registry/compiler/calibration/range.h"
#include "registry/compiler/calibration/statistics.h"

namespace edgefleet::compiler {

// KL(P || Q), in nats, of int8 whose range spans `below` bins below zero and `above` bins from zero on; both within the
// histogram, below + above at least 1. P: the counts, those outside added to the range's outermost bins. Q: each level's inner
// counts spread evenly over its bins that are not empty; mixed with 0.01 % of a uniform distribution, so that outliers in a bin
// that was empty cost something finite.
double Divergence(const Histogram& histogram, std::size_t below, std::size_t above);

// The range within `all` of the smallest divergence, at least 256 bins wide (`all` itself if it is narrower). `all` holds 0 and
// is not of zero width; the histogram is that of its values.
ActivationRange LeastDivergentRange(const Histogram& histogram, ActivationRange all);

}  // namespace edgefleet::compiler
