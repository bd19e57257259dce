// Stratified random sampling of a cohort: proportional quotas, exact after rounding, reproducible from a seed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edgefleet::selection {

// One device that may be drawn. The views must outlive the call.
struct Candidate {
  std::string_view id;       // unique among the candidates
  std::string_view stratum;  // label of its stratum
};

struct SampleSpec {
  std::uint64_t size = 0;         // devices to draw, over-provisioning included; a larger number than there are draws all
  std::uint32_t stratum_min = 0;  // strata of fewer candidates are merged into one, "rest"
  std::uint32_t quota_min = 0;    // least devices from every stratum (all of it where it is smaller); 0: proportional only
  std::uint64_t seed = 0;
};

struct StratumQuota {
  std::string stratum;
  std::uint64_t population = 0;
  std::uint64_t quota = 0;  // at most `population`
  bool operator==(const StratumQuota&) const = default;
};

struct Sample {
  struct Pick {
    std::size_t candidate;  // index into the candidates
    std::size_t stratum;    // index into `strata`
  };
  std::vector<StratumQuota> strata;  // by name, "rest" last
  std::vector<Pick> picks;           // by stratum; as many of each as its quota
};

inline constexpr std::string_view kRestStratum = "rest";
inline constexpr std::size_t kStrataMax = 1000;
inline constexpr std::size_t kCandidatesMax = 16'000'000;

// ceil(cohort_size * factor): how many devices to draw so that `cohort_size` remain when a share 1 - 1/factor drops out.
std::uint64_t OverProvisioned(std::uint32_t cohort_size, double factor);

// Splits `size` over strata in proportion to their populations by the method of largest remainders (Hamilton 1792; Balinski and
// Young, "Fair Representation", 2nd ed., appendix A): each gets the whole part of size * population / total, and what is left
// goes one by one to the largest fractions, ties to the lower index. Integer arithmetic, so the sum is exactly min(size,
// total), every quota is within one of its exact share and none exceeds its population. Where `quota_min` asks more than a
// stratum's share, that stratum gets min(quota_min, population) and the others share the rest by the same method, repeatedly
// until all are served; a `quota_min` that `size` cannot serve everywhere is lowered to size / strata. Populations sum to at
// most kCandidatesMax.
std::vector<std::uint64_t> ProportionalQuotas(std::span<const std::uint64_t> populations, std::uint64_t size,
                                              std::uint32_t quota_min = 0);

// Draws a sample. Within a stratum every subset of the quota's size is equally likely over seeds: the candidates are put in an
// order that depends on their ids alone, then a seeded partial Fisher-Yates shuffle (Knuth, TAOCP vol. 2, 3.4.2, algorithm P)
// takes the first ones. So the same candidates and seed give the same sample, in whatever order they come. Strata below
// stratum_min form "rest"; a rest still below it takes in the next smallest strata until it is large enough. More than
// kStrataMax strata are reduced the same way. O(n log n) time, 24 bytes a candidate.
// INVALID_ARGUMENT [DUPLICATE_DEVICE] for one that is twice in a stratum, RESOURCE_EXHAUSTED [POOL_TOO_LARGE].
Result<Sample> DrawSample(std::span<const Candidate> candidates, const SampleSpec& spec);

}  // namespace edgefleet::selection
