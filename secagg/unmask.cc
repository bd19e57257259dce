#include "secagg/unmask.h"

#include <algorithm>

#include "secagg/shamir.h"

namespace edgefleet::secagg {
namespace {

Result<Secret> RecoverMaskKey(const Ledger& ledger, const SecretRecovery& recovery, std::span<const Secret* const> shares,
                              std::uint32_t owner) {
  Secret key = recovery.Combine(shares);
  if (PublicKeyOf(key) != ledger.roster[owner - 1].mask_public_key) {
    return DataLoss("BAD_MASK_KEY",
                    "the shares of member " + std::to_string(owner) + "'s mask key do not give the key it advertised");
  }
  return key;
}

}  // namespace

Result<std::vector<MaskTerm>> RecoverMasks(const Ledger& ledger) {
  const SessionId session =
      MakeSessionId(ledger.options.round_id, ledger.threshold, ledger.options.vector_length, ledger.roster);
  const RoundDigest round = DigestOfRound(ledger.options.round_id);
  const SecretRecovery recovery(ledger.answerers);
  std::vector<MaskTerm> masks;
  masks.reserve(ledger.survivors.size() * (1 + ledger.dropped.size()));
  std::vector<const Secret*> shares(ledger.answerers.size());
  for (std::size_t place = 0; place < ledger.sharers.size(); ++place) {
    const std::uint32_t owner = ledger.sharers[place];
    for (std::size_t k = 0; k < shares.size(); ++k) shares[k] = &ledger.shares[k][place];
    if (std::ranges::binary_search(ledger.survivors, owner)) {
      masks.push_back({SelfMaskKey(recovery.Combine(shares), session, owner), MaskSign::kSubtract});
      continue;
    }
    EF_ASSIGN_OR_RETURN(const Secret mask_key, RecoverMaskKey(ledger, recovery, shares, owner));
    for (const std::uint32_t survivor : ledger.survivors) {
      const Bytes& survivor_key = ledger.roster[survivor - 1].mask_public_key;
      EF_ASSIGN_OR_RETURN(const Secret agreed, Agree(mask_key, survivor_key));
      const MemberPair pair{round, session, survivor, owner, survivor_key, ledger.roster[owner - 1].mask_public_key};
      masks.push_back({PairwiseMaskKey(agreed, pair), Opposite(PairwiseSign(survivor, owner))});
    }
  }
  return masks;
}

}  // namespace edgefleet::secagg
