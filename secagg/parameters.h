// Degree k and threshold t of a secure aggregation over a sparse graph: Bell, Bonawitz, Gascon, Lepoint, Raykova 2020, "Secure
// Single-Server Aggregation with (Poly)Logarithmic Overhead" (SecAgg+), section 3. Each of n members shares its secrets with
// the k neighbours that it has in a Harary graph on a random ring order (secagg/graph.h), t of which recover them.
//
// c = ceil(corrupt_fraction n) members are corrupt and d = floor(dropout_fraction n) drop out, wherever the ring puts them. Of
// the n - 1 others that a member's k neighbours are drawn from, c may be corrupt and d may drop out, so
//
//   X ~ Hypergeometric(n - 1, c, k) neighbours are corrupt,   D ~ Hypergeometric(n - 1, d, k) neighbours drop out
//
// exactly. These events, each bounded over all members by the union bound:
//
//   disconnected  The honest survivors fall into parts, whose sums the server would learn. That takes two separate runs of k/2
//                 ring positions, all corrupt or dropped; n (n - k - 1) / 2 pairs of runs:
//                 n (n - k - 1) / 2 * P[k given positions are among c + d of n]                             <= 2^-41
//   exposed       Some member's corrupt neighbours can give both of its secrets away. Semi-honest: t are corrupt. Active: a
//                 server that tells half of the honest neighbours one thing and half another needs 2 t shares from k
//                 neighbours, of which the corrupt ones answer twice, so 2 t > k + X must hold:
//                 The same must hold for the committee (secagg/session.h), k members that speak for all:
//                 n P[X >= t], or (n + 1) P[X >= 2 t - k]                                                   <= 2^-41
//   unrecovered   Some member has fewer than t neighbours left and the round fails: n P[D > k - t]          <= 2^-20 (2^-30)
//   suspected     Active: so many dropouts fall within k/2 ring places by chance that members take them for chosen
//                 (CheckConnected) and the round fails: n P[S > TolerableRun] with
//                 S ~ Hypergeometric(n, d, k/2)                                                             <= 2^-20 (2^-30)
//
// The privacy events share 2^-40, or 2^-80 where a server may try many rings before it shows one (security_bits).
//
// k is the least that admits a t: even and less than n - 1, or n - 1, the complete graph, where X = c and D = d, nothing is
// left to chance and nothing disconnects. t is the least that privacy allows and at least 2. docs/specs/secagg-parameters.md
// has the derivation with its figures.
//
// Pure functions; thread-safe. Costs: CheckPrivacy microseconds, DeriveParameters some milliseconds at n = 16,384.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace edgefleet::secagg {

inline constexpr std::uint64_t kDerivedMembersMax = std::uint64_t{1} << 20;

enum class Adversary : std::uint8_t {
  kSemiHonest = 1,  // server and corrupt members follow the protocol and pool what they see
  kActive = 2,      // the server may also tell members different things
};

struct Assumptions {
  Adversary adversary = Adversary::kSemiHonest;
  double corrupt_fraction = 0;          // of the members, [0, 1)
  double dropout_fraction = 0;          // of the members, [0, 1)
  std::uint32_t correctness_bits = 20;  // 20 or 30
  std::uint32_t security_bits = 40;     // 40 or 80: of one ring
};

struct GraphParameters {
  std::uint32_t degree = 0;
  std::uint32_t threshold = 0;
  bool operator==(const GraphParameters&) const = default;
};

// INVALID_ARGUMENT [BAD_ASSUMPTIONS] (fractions, bits, adversary, more than kDerivedMembersMax members); FAILED_PRECONDITION
// [NO_SAFE_PARAMETERS] when no graph meets the assumptions: the message says why and what to change.
Result<GraphParameters> DeriveParameters(std::uint64_t members, const Assumptions& assumptions);

// What a device does before it joins: are these parameters, which a server chose, at least as private as the device's own
// assumptions demand? Correctness is the server's concern. FAILED_PRECONDITION [UNSAFE_PARAMETERS] with the reason;
// INVALID_ARGUMENT [BAD_ASSUMPTIONS].
Status CheckPrivacy(std::uint64_t members, const GraphParameters& parameters, const Assumptions& assumptions);

// How many members a round may lose, d above. `assumptions` valid.
std::uint32_t TolerableDropouts(std::uint64_t members, const Assumptions& assumptions);

// The bound "disconnected" holds for dropouts that do not depend on the ring. An active server may choose who drops out once it
// knows the ring: this is how many of k/2 consecutive ring positions may be without survivors, so that nevertheless no part of
// the honest survivors can be cut off and unmasked, but for half of 2^-security_bits (docs/specs/secagg-parameters.md, "Cut").
// -1 when not even none of them is few enough. Of `assumptions` adversary and dropouts do not matter. Degree even and less than
// members - 1.
std::int64_t TolerableRun(std::uint64_t members, const GraphParameters& parameters, const Assumptions& assumptions);

// log2 of the bounds above, at most 0 each; minus infinity for what cannot happen. Parameters and assumptions valid.
struct FailureBounds {
  double disconnected = 0;
  double exposed = 0;
  double unrecovered = 0;
  double suspected = 0;
};
FailureBounds BoundFailures(std::uint64_t members, const GraphParameters& parameters, const Assumptions& assumptions);

}  // namespace edgefleet::secagg
