#include "aggregator/selection/stratified_sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "base/random.h"

namespace edgefleet::selection {
namespace {

// FNV-1a with SplitMix64's finalizer: spreads ids over 64 bits. Only fixes an order; equal hashes are ordered by id.
std::uint64_t HashId(std::string_view id) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EBULL;
  return hash ^ (hash >> 31);
}

// Whole parts first, then one each to the largest fractions.
void LargestRemainders(std::span<const std::uint64_t> populations, const std::vector<std::size_t>& members, std::uint64_t size,
                       std::vector<std::uint64_t>& quotas) {
  std::uint64_t total = 0;
  for (const std::size_t i : members) total += populations[i];
  if (total == 0) return;
  std::vector<std::pair<std::uint64_t, std::size_t>> remainders;  // size * population modulo total
  std::uint64_t given = 0;
  for (const std::size_t i : members) {
    const std::uint64_t product = size * populations[i];  // both at most 2^24: no overflow
    quotas[i] = product / total;
    given += quotas[i];
    remainders.emplace_back(product % total, i);
  }
  std::sort(remainders.begin(), remainders.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  for (std::size_t k = 0; given < size; ++k, ++given) ++quotas[remainders[k].second];
}

struct Stratum {
  std::string_view name;
  std::vector<std::size_t> members;  // indices of candidates
};

Result<std::vector<Stratum>> GroupByStratum(std::span<const Candidate> candidates) {
  std::unordered_map<std::string_view, std::size_t> index;
  std::vector<Stratum> strata;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const auto [found, added] = index.try_emplace(candidates[i].stratum, strata.size());
    if (added) strata.push_back({candidates[i].stratum, {}});
    strata[found->second].members.push_back(i);
  }
  return strata;
}

void MoveInto(Stratum& rest, Stratum& stratum) {
  rest.members.insert(rest.members.end(), stratum.members.begin(), stratum.members.end());
  stratum.members.clear();
}

// Leaves strata of at least `stratum_min` candidates, by name, and "rest" at the end if anything was merged.
void MergeSmallStrata(std::vector<Stratum>& strata, std::uint32_t stratum_min) {
  std::sort(strata.begin(), strata.end(), [](const Stratum& a, const Stratum& b) {
    return a.members.size() != b.members.size() ? a.members.size() < b.members.size() : a.name < b.name;
  });
  Stratum rest{kRestStratum, {}};
  std::size_t merged = 0;
  const auto too_many = [&] { return strata.size() - merged + (merged > 0 ? 1 : 0) > kStrataMax; };
  while (merged < strata.size() &&
         (strata[merged].members.size() < stratum_min || too_many() || (merged > 0 && rest.members.size() < stratum_min))) {
    MoveInto(rest, strata[merged++]);
  }
  strata.erase(strata.begin(), strata.begin() + static_cast<std::ptrdiff_t>(merged));
  std::sort(strata.begin(), strata.end(), [](const Stratum& a, const Stratum& b) { return a.name < b.name; });
  if (merged > 0) strata.push_back(std::move(rest));
}

struct Ranked {
  std::uint64_t hash;
  std::size_t candidate;
};

// Orders a stratum by what its ids are; false if two are equal.
bool Rank(std::span<const Candidate> candidates, const std::vector<std::size_t>& members, std::vector<Ranked>& ranked) {
  ranked.clear();
  for (const std::size_t i : members) ranked.push_back({HashId(candidates[i].id), i});
  std::sort(ranked.begin(), ranked.end(), [&](const Ranked& a, const Ranked& b) {
    return a.hash != b.hash ? a.hash < b.hash : candidates[a.candidate].id < candidates[b.candidate].id;
  });
  return std::adjacent_find(ranked.begin(), ranked.end(), [&](const Ranked& a, const Ranked& b) {
           return a.hash == b.hash && candidates[a.candidate].id == candidates[b.candidate].id;
         }) == ranked.end();
}

}  // namespace

std::uint64_t OverProvisioned(std::uint32_t cohort_size, double factor) {
  // A factor such as 1.1 is not exact in binary: without the slack 100 devices would become 111.
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(cohort_size) * factor - 1e-6));
}

std::vector<std::uint64_t> ProportionalQuotas(std::span<const std::uint64_t> populations, std::uint64_t size,
                                              std::uint32_t quota_min) {
  std::vector<std::uint64_t> quotas(populations.size(), 0);
  size = std::min(size, std::accumulate(populations.begin(), populations.end(), std::uint64_t{0}));
  if (size == 0) return quotas;
  const std::uint64_t floor = std::min<std::uint64_t>(quota_min, size / populations.size());
  std::vector<std::size_t> free(populations.size());
  std::iota(free.begin(), free.end(), std::size_t{0});
  while (!free.empty()) {  // each turn serves at least one stratum or ends
    LargestRemainders(populations, free, size, quotas);
    std::vector<std::size_t> above;
    std::uint64_t fixed = 0;
    for (const std::size_t i : free) {
      const std::uint64_t least = std::min(floor, populations[i]);
      if (quotas[i] >= least) {
        above.push_back(i);
      } else {
        quotas[i] = least;
        fixed += least;
      }
    }
    if (above.size() == free.size()) break;
    size -= fixed;
    free = std::move(above);
  }
  return quotas;
}

Result<Sample> DrawSample(std::span<const Candidate> candidates, const SampleSpec& spec) {
  if (candidates.size() > kCandidatesMax) {
    return ResourceExhausted("POOL_TOO_LARGE",
                             std::to_string(candidates.size()) + " candidates, at most " + std::to_string(kCandidatesMax));
  }
  EF_ASSIGN_OR_RETURN(std::vector<Stratum> strata, GroupByStratum(candidates));
  MergeSmallStrata(strata, spec.stratum_min);
  std::vector<std::uint64_t> populations;
  for (const Stratum& stratum : strata) populations.push_back(stratum.members.size());
  const std::vector<std::uint64_t> quotas = ProportionalQuotas(populations, spec.size, spec.quota_min);

  Sample sample;
  sample.picks.reserve(std::accumulate(quotas.begin(), quotas.end(), std::uint64_t{0}));
  SeededRandom random(spec.seed);
  std::vector<Ranked> ranked;
  for (std::size_t s = 0; s < strata.size(); ++s) {
    if (!Rank(candidates, strata[s].members, ranked)) {
      return InvalidArgument("DUPLICATE_DEVICE", "a device is twice among the candidates");
    }
    for (std::size_t k = 0; k < quotas[s]; ++k) {
      std::swap(ranked[k], ranked[k + random.Below(ranked.size() - k)]);
      sample.picks.push_back({ranked[k].candidate, s});
    }
    sample.strata.push_back({std::string(strata[s].name), populations[s], quotas[s]});
  }
  return sample;
}

}  // namespace edgefleet::selection
