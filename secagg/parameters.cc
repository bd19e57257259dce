#include "secagg/parameters.h"

#include <math.h>  // lgamma_r: std::lgamma writes a global

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "secagg/graph.h"

namespace edgefleet::secagg {
namespace {

constexpr std::uint32_t kThresholdMin = 2;
constexpr double kNever = -std::numeric_limits<double>::infinity();
// Products of a fraction and n that are whole in decimal (0.07 * 100) must not be moved by binary rounding.
constexpr double kRoundingSlack = 1e-9;

// n, and what of it is corrupt and drops out.
struct Counts {
  std::int64_t members;
  std::int64_t corrupt;
  std::int64_t dropped;
};

// log2 of what one of two privacy events may have: half of all.
double PrivacyLimit(const Assumptions& assumptions) { return -static_cast<double>(assumptions.security_bits) - 1; }

Counts CountsOf(std::uint64_t members, const Assumptions& assumptions) {
  const auto n = static_cast<double>(members);
  return {.members = static_cast<std::int64_t>(members),
          .corrupt = static_cast<std::int64_t>(std::ceil(assumptions.corrupt_fraction * n - kRoundingSlack)),
          .dropped = static_cast<std::int64_t>(std::floor(assumptions.dropout_fraction * n + kRoundingSlack))};
}

double LogFactorial(std::int64_t n) {
  int sign = 0;
  return ::lgamma_r(static_cast<double>(n) + 1, &sign);
}

double LogBinomial(std::int64_t n, std::int64_t k) { return LogFactorial(n) - LogFactorial(k) - LogFactorial(n - k); }

// log2 P[X >= least] for X ~ Hypergeometric(population, marked, draws); 0, which is a bound, up to the mean. Beyond the mean
// the terms fall, so the first one decides about underflow, and few of them count.
double LogTail(std::int64_t population, std::int64_t marked, std::int64_t draws, std::int64_t least) {
  if (least * population <= marked * draws) return 0;
  const std::int64_t most = std::min(marked, draws);
  if (least > most) return kNever;
  const double first =
      LogBinomial(marked, least) + LogBinomial(population - marked, draws - least) - LogBinomial(population, draws);
  double sum = 0, term = 1;
  for (std::int64_t x = least; x <= most && term > sum * 1e-17; ++x) {
    sum += term;
    term *= static_cast<double>(marked - x) * static_cast<double>(draws - x);
    term /= static_cast<double>(x + 1) * static_cast<double>(population - marked - draws + x + 1);
  }
  return (first + std::log(sum)) / M_LN2;
}

// log2 of a bound for any of `places` things, each of which happens with at most 2^log_one.
double LogAny(std::int64_t places, double log_one) { return std::min(0.0, std::log2(static_cast<double>(places)) + log_one); }

// log2 of the number of pairs of separate runs of k/2 places on a ring of n.
double LogPairsOfRuns(std::int64_t n, std::int64_t degree) {
  return std::log2(static_cast<double>(n)) + std::log2(static_cast<double>(n - degree - 1)) - 1;
}

double Disconnected(const Counts& counts, std::int64_t degree) {
  const std::int64_t n = counts.members;
  const std::int64_t removed = std::min(n, counts.corrupt + counts.dropped);
  if (degree == n - 1 || degree > removed) return kNever;
  return std::min(0.0,
                  LogPairsOfRuns(n, degree) + (LogBinomial(n - degree, removed - degree) - LogBinomial(n, removed)) / M_LN2);
}

// Some member has `least` corrupt neighbours or more, or (active) the committee as many corrupt members: k of all n, of which
// the bound for k of the n - 1 others is one as well.
double AnyCorrupt(const Counts& counts, std::int64_t degree, std::int64_t least, Adversary adversary) {
  const std::int64_t committees = adversary == Adversary::kActive ? 1 : 0;
  return LogAny(counts.members + committees, LogTail(counts.members - 1, counts.corrupt, degree, least));
}

// How many corrupt neighbours give a member away.
std::int64_t ExposingCorrupt(const GraphParameters& parameters, Adversary adversary) {
  const std::int64_t threshold = parameters.threshold;
  return adversary == Adversary::kActive ? 2 * threshold - parameters.degree : threshold;
}

double Exposed(const Counts& counts, const GraphParameters& parameters, Adversary adversary) {
  return AnyCorrupt(counts, parameters.degree, ExposingCorrupt(parameters, adversary), adversary);
}

double Unrecovered(const Counts& counts, const GraphParameters& parameters) {
  const std::int64_t degree = parameters.degree;
  return LogAny(counts.members, LogTail(counts.members - 1, counts.dropped, degree, degree - parameters.threshold + 1));
}

// log2 of a bound for: a part of the honest survivors is cut off by two runs of k/2 places, at most `missing` in each without
// survivors, and unmasked. The runs and `inner` places next to each on the part's side hold so many corrupt members, or the
// runs alone do (docs/specs/secagg-parameters.md, "Cut"); n^2 parts, by their first and last places.
double CutOff(const Counts& counts, const GraphParameters& parameters, std::int64_t missing, std::int64_t inner) {
  const std::int64_t n = counts.members, degree = parameters.degree, half = degree / 2;
  const std::int64_t least = std::min(half - missing - inner, parameters.threshold - half + inner);
  if (least <= 0 || degree + 2 * inner > n) return 0;
  return 2 * std::log2(static_cast<double>(n)) + LogTail(n, counts.corrupt, degree + 2 * inner, 2 * least);
}

// Of the places next to the runs, as many are looked at as make both terms of CutOff alike: there it is least.
std::int64_t RunOf(const Counts& counts, const GraphParameters& parameters, double limit) {
  const std::int64_t degree = parameters.degree, threshold = parameters.threshold;
  std::int64_t missing = degree / 2;
  while (missing >= 0 &&
         CutOff(counts, parameters, missing, std::max(std::int64_t{0}, (degree - threshold - missing) / 2)) > limit) {
    --missing;
  }
  return missing;
}

double Suspected(const Counts& counts, const GraphParameters& parameters, const Assumptions& assumptions) {
  if (assumptions.adversary != Adversary::kActive || parameters.degree == counts.members - 1) return kNever;
  const std::int64_t run = RunOf(counts, parameters, PrivacyLimit(assumptions));
  return LogAny(counts.members, LogTail(counts.members, counts.dropped, parameters.degree / 2, run + 1));
}

// The least threshold that is private when no member has `exposing` corrupt neighbours.
std::uint32_t LeastThreshold(std::int64_t degree, std::int64_t exposing, Adversary adversary) {
  const std::int64_t least = adversary == Adversary::kActive ? (degree + exposing + 1) / 2 : exposing;
  return std::max(kThresholdMin, static_cast<std::uint32_t>(least));
}

Status CheckAssumptions(std::uint64_t members, const Assumptions& assumptions) {
  const auto is_fraction = [](double value) { return value >= 0 && value < 1; };
  if (!is_fraction(assumptions.corrupt_fraction) || !is_fraction(assumptions.dropout_fraction))
    return InvalidArgument("BAD_ASSUMPTIONS", "the corrupt and the dropout fraction must be at least 0 and less than 1");
  if (assumptions.correctness_bits != 20 && assumptions.correctness_bits != 30)
    return InvalidArgument("BAD_ASSUMPTIONS", "correctness is 2^-20 or 2^-30: give 20 or 30 bits");
  if (assumptions.security_bits != 40 && assumptions.security_bits != 80)
    return InvalidArgument("BAD_ASSUMPTIONS", "security is 2^-40 or 2^-80: give 40 or 80 bits");
  if (assumptions.adversary != Adversary::kSemiHonest && assumptions.adversary != Adversary::kActive)
    return InvalidArgument("BAD_ASSUMPTIONS", "the adversary is semi-honest or active");
  if (members > kDerivedMembersMax)
    return InvalidArgument("BAD_ASSUMPTIONS", "a cohort has at most " + std::to_string(kDerivedMembersMax) + " members");
  return OkStatus();
}

std::string Describe(const Counts& counts) {
  return std::to_string(counts.members) + " members, " + std::to_string(counts.corrupt) + " corrupt and " +
         std::to_string(counts.dropped) + " dropped out";
}

// Any graph needs what the complete one needs: there each count is its own mean.
Result<GraphParameters> CompleteGraph(const Counts& counts, Adversary adversary) {
  constexpr char kReason[] = "NO_SAFE_PARAMETERS";
  constexpr char kChange[] = "; lower the corrupt or the dropout fraction, or enlarge the cohort";
  const std::int64_t n = counts.members;
  if (n < 3) return FailedPrecondition(kReason, "secure aggregation needs at least 3 members, not " + std::to_string(n));
  if (n - counts.corrupt - counts.dropped < 2)
    return FailedPrecondition(kReason, "fewer than 2 honest survivors to hide among (" + Describe(counts) + ")" + kChange);
  const std::uint32_t threshold = LeastThreshold(n - 1, counts.corrupt + 1, adversary);
  if (threshold > n - 1 - counts.dropped) {
    return FailedPrecondition(
        kReason, "even if all members are neighbours, privacy needs a threshold of " + std::to_string(threshold) + ", but " +
                     std::to_string(n - 1 - counts.dropped) + " neighbours survive (" + Describe(counts) + ")" +
                     (adversary == Adversary::kActive ? "; against an active adversary corrupt + 2 * dropout must stay below 1"
                                                      : "; corrupt + dropout must stay below 1") +
                     kChange);
  }
  return GraphParameters{.degree = static_cast<std::uint32_t>(n - 1), .threshold = threshold};
}

Status Unsafe(const std::string& why) {
  return FailedPrecondition("UNSAFE_PARAMETERS", why + "; the server must choose a safer degree and threshold");
}

std::string Power(double log2) { return "2^" + std::to_string(static_cast<std::int64_t>(std::ceil(log2))); }

}  // namespace

Result<GraphParameters> DeriveParameters(std::uint64_t members, const Assumptions& assumptions) {
  EF_RETURN_IF_ERROR(CheckAssumptions(members, assumptions));
  const Counts counts = CountsOf(members, assumptions);
  EF_ASSIGN_OR_RETURN(const GraphParameters complete, CompleteGraph(counts, assumptions.adversary));
  std::int64_t exposing = 1;  // the least count of corrupt neighbours that no member has; grows with the degree
  for (std::uint32_t degree = 2; degree < complete.degree; degree += 2) {
    if (Disconnected(counts, degree) > PrivacyLimit(assumptions)) continue;
    while (AnyCorrupt(counts, degree, exposing, assumptions.adversary) > PrivacyLimit(assumptions)) ++exposing;
    const GraphParameters sparse{degree, LeastThreshold(degree, exposing, assumptions.adversary)};
    const double limit = -static_cast<double>(assumptions.correctness_bits);
    if (sparse.threshold <= degree && Unrecovered(counts, sparse) <= limit && Suspected(counts, sparse, assumptions) <= limit)
      return sparse;
  }
  return complete;
}

Status CheckPrivacy(std::uint64_t members, const GraphParameters& parameters, const Assumptions& assumptions) {
  EF_RETURN_IF_ERROR(CheckAssumptions(members, assumptions));
  const Counts counts = CountsOf(members, assumptions);
  const auto [degree, threshold] = parameters;
  const double limit = PrivacyLimit(assumptions);
  if (members < 3 || !ValidDegree(static_cast<std::uint32_t>(members), degree))
    return Unsafe("there is no graph of degree " + std::to_string(degree) + " over " + std::to_string(members) + " members");
  if (threshold < kThresholdMin || threshold > degree)
    return Unsafe("threshold " + std::to_string(threshold) + " is not from 2 to the degree, " + std::to_string(degree));
  if (counts.members - counts.corrupt - counts.dropped < 2)
    return Unsafe("fewer than 2 honest survivors to hide among (" + Describe(counts) + ")");
  if (const double bound = Disconnected(counts, degree); bound > limit)
    return Unsafe("with degree " + std::to_string(degree) + " the honest survivors may fall into parts (bound " + Power(bound) +
                  " of " + Power(limit) + "; " + Describe(counts) + ")");
  if (const double bound = Exposed(counts, parameters, assumptions.adversary); bound > limit)
    return Unsafe("with degree " + std::to_string(degree) + " and threshold " + std::to_string(threshold) +
                  " corrupt neighbours may expose a member (bound " + Power(bound) + " of " + Power(limit) + "; " +
                  Describe(counts) + ")");
  return OkStatus();
}

std::uint32_t TolerableDropouts(std::uint64_t members, const Assumptions& assumptions) {
  return static_cast<std::uint32_t>(CountsOf(members, assumptions).dropped);
}

std::int64_t TolerableRun(std::uint64_t members, const GraphParameters& parameters, const Assumptions& assumptions) {
  return RunOf(CountsOf(members, assumptions), parameters, PrivacyLimit(assumptions));
}

FailureBounds BoundFailures(std::uint64_t members, const GraphParameters& parameters, const Assumptions& assumptions) {
  const Counts counts = CountsOf(members, assumptions);
  return {.disconnected = Disconnected(counts, parameters.degree),
          .exposed = Exposed(counts, parameters, assumptions.adversary),
          .unrecovered = Unrecovered(counts, parameters),
          .suspected = Suspected(counts, parameters, assumptions)};
}

}  // namespace edgefleet::secagg
