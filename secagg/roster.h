// The digest of a roster: the root of a Merkle tree over its adverts, as in RFC 6962, section 2.1, with labelled digests in the
// place of its prefixes. Leaf i is the digest of the advert of member i + 1; a member that gets the path from its leaf to the
// root knows that its own fresh keys are in the root, without seeing the other adverts. How many leaves there are is not in the
// root: whoever uses it binds n as well (secagg/session.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

// Immutable, so thread-safe. Memory: 64 bytes a member.
class RosterTree {
 public:
  // Of no roster: it has no root and no paths.
  RosterTree() = default;
  // At least one advert.
  explicit RosterTree(std::span<const KeyAdvert> adverts);

  const crypto::Sha256Digest& root() const { return levels_.back().front(); }
  // For member `index` (1 to n), from the leaf upwards: the sibling in each level in which it has one (kDigestSize bytes each,
  // at most kRosterLevelsMax).
  Bytes Path(std::uint32_t index) const;

 private:
  std::vector<std::vector<crypto::Sha256Digest>> levels_;  // leaves first
};

// A leaf.
crypto::Sha256Digest AdvertDigest(const KeyAdvert& advert);
// The root of all of them.
crypto::Sha256Digest RosterDigest(std::span<const KeyAdvert> adverts);

// The root to which `path` leads from the advert of member `index` of `members`; nothing for a path of another length than a
// roster of that size has, or an index beyond it.
std::optional<crypto::Sha256Digest> RosterDigestOf(const KeyAdvert& advert, std::uint32_t index, std::uint32_t members,
                                                   ByteView path);

}  // namespace edgefleet::secagg
