#include "secagg/unmask.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "secagg/mask/mask.h"
#include "secagg/packing.h"
#include "secagg/parallel.h"
#include "secagg/share_decoding.h"

namespace edgefleet::secagg {
namespace {

// The revealed shares of one member's secret.
struct Revealed {
  std::vector<std::uint32_t> slots;  // the holders' places among the owner's neighbours, from 1, ascending
  std::vector<const Secret*> shares;
};

// What became of one member's secret.
struct Recovered {
  std::vector<MaskTerm> masks;
  std::vector<Blame> blames;
  std::optional<Status> error;
};

// A holder's answer lists its inbox's senders, so an owner's share stands behind those of the sharers before it.
Revealed SharesOf(const Ledger& ledger, std::uint32_t owner) {
  Revealed revealed;
  const std::vector<std::uint32_t>& holders = ledger.NeighboursOf(owner);
  for (std::size_t slot = 1; slot <= holders.size(); ++slot) {
    const auto& answer = ledger.answers[holders[slot - 1] - 1];
    if (!answer) continue;
    std::size_t sender = 0, share = 0;
    for (const std::uint32_t other : ledger.NeighboursOf(holders[slot - 1])) {
      if (other == owner) break;
      if (!ledger.IsSharer(other)) continue;
      share += TestBit(answer->held, sender++) ? 1 : 0;
    }
    if (!TestBit(answer->held, sender)) continue;
    revealed.slots.push_back(static_cast<std::uint32_t>(slot));
    revealed.shares.push_back(&answer->shares[share]);
  }
  return revealed;
}

bool IsSeedOf(const Ledger& ledger, std::uint32_t owner, const Secret& seed) {
  const auto commitment = SeedCommitment(seed, ledger.session, owner);
  return crypto::ConstantTimeEqual(commitment, ledger.shared[owner - 1].seed_commitment);
}

bool IsMaskKeyOf(const Ledger& ledger, std::uint32_t owner, const Secret& key) {
  return PublicKeyOf(key) == ledger.adverts[owner - 1].mask_public_key;
}

// The masks that the survivors among a dropped member's neighbours have added for it.
Status UndoPairwise(const Ledger& ledger, const RoundDigest& round, std::uint32_t owner, const Secret& key,
                    std::vector<MaskTerm>& masks) {
  const Bytes& own_public_key = ledger.adverts[owner - 1].mask_public_key;
  for (const std::uint32_t survivor : ledger.NeighboursOf(owner)) {
    if (!ledger.IsSurvivor(survivor)) continue;
    const Bytes& public_key = ledger.adverts[survivor - 1].mask_public_key;
    EF_ASSIGN_OR_RETURN(const Secret agreed, Agree(key, public_key));
    const MemberPair pair{round, ledger.session, owner, survivor, own_public_key, public_key};
    masks.push_back({PairwiseMaskKey(agreed, pair), Opposite(PairwiseSign(survivor, owner))});
  }
  return OkStatus();
}

Recovered Recover(const Ledger& ledger, const RoundDigest& round, std::uint32_t owner) {
  const Revealed revealed = SharesOf(ledger, owner);
  const bool survived = ledger.IsSurvivor(owner);
  const auto is_right = [&](const Secret& secret) {
    return survived ? IsSeedOf(ledger, owner, secret) : IsMaskKeyOf(ledger, owner, secret);
  };
  Recovered result;
  auto decoded = RecoverSecret(revealed.slots, revealed.shares, ledger.parameters.threshold, is_right);
  if (!decoded) {
    result.blames.push_back({owner, 0, Blame::Kind::kBadDealer});
    result.error = DataLoss(decoded.error().reason(), "member " + std::to_string(owner) + ": " + decoded.error().message());
    return result;
  }
  for (const std::uint32_t slot : decoded->bad_slots) {
    result.blames.push_back({owner, ledger.NeighboursOf(owner)[slot - 1], Blame::Kind::kBadShare});
  }
  if (survived) {
    result.masks.push_back({SelfMaskKey(decoded->secret, ledger.session, owner), MaskSign::kSubtract});
  } else if (Status undone = UndoPairwise(ledger, round, owner, decoded->secret, result.masks); !undone.ok()) {
    result.error = std::move(undone);
  }
  return result;
}

}  // namespace

Status RemoveMasks(Ledger& ledger, std::span<std::uint32_t> sum, ThreadPool* pool) {
  std::erase_if(ledger.blames, [](const Blame& blame) { return blame.kind != Blame::Kind::kComplaint; });
  std::vector<std::uint32_t> owners;
  std::ranges::copy_if(ledger.sharers, std::back_inserter(owners), [&](std::uint32_t owner) { return ledger.IsNeeded(owner); });
  const RoundDigest round = DigestOfRound(ledger.options.config.round_id);
  std::vector<Recovered> recovered(owners.size());
  ParallelFor(pool, owners.size(), [&](std::size_t i) { recovered[i] = Recover(ledger, round, owners[i]); });

  std::vector<MaskTerm> masks;
  std::optional<Status> error;
  for (Recovered& part : recovered) {
    ledger.blames.insert(ledger.blames.end(), part.blames.begin(), part.blames.end());
    std::ranges::move(part.masks, std::back_inserter(masks));
    if (part.error && !error) error = std::move(part.error);
  }
  if (error) return *error;
  MaskSet(masks, ledger.options.config.cipher).Apply(sum, pool);
  TruncateWords(sum, ledger.options.config.element_bits);
  return OkStatus();
}

}  // namespace edgefleet::secagg
