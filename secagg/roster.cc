#include "secagg/roster.h"

#include <algorithm>

#include "secagg/field_digest.h"

namespace edgefleet::secagg {
namespace {

using crypto::Sha256Digest;

static_assert(sizeof(Sha256Digest) == kDigestSize);

Sha256Digest Node(ByteView left, ByteView right) {
  return FieldDigest("edgefleet/secagg/v1/roster-node").Add(left).Add(right).Finish();
}

}  // namespace

Sha256Digest AdvertDigest(const KeyAdvert& advert) {
  FieldDigest digest("edgefleet/secagg/v1/roster-leaf");
  digest.Add(advert.cipher_public_key).Add(advert.mask_public_key).Add(advert.identity_key);
  return digest.Add(advert.certificate).Add(advert.signature).Finish();
}

// The last one of a level of odd size goes up as it is: the same tree as RFC 6962's division at the largest power of two.
RosterTree::RosterTree(std::span<const KeyAdvert> adverts) {
  std::vector<Sha256Digest> level;
  for (const KeyAdvert& advert : adverts) level.push_back(AdvertDigest(advert));
  levels_.push_back(std::move(level));
  while (levels_.back().size() > 1) {
    const auto& below = levels_.back();
    std::vector<Sha256Digest> above;
    for (std::size_t i = 0; i + 1 < below.size(); i += 2) above.push_back(Node(below[i], below[i + 1]));
    if (below.size() % 2 == 1) above.push_back(below.back());
    levels_.push_back(std::move(above));
  }
}

Bytes RosterTree::Path(std::uint32_t index) const {
  Bytes path;
  std::size_t at = index - 1;
  for (const auto& level : levels_) {
    const std::size_t sibling = at ^ 1;
    if (sibling < level.size()) path.insert(path.end(), level[sibling].begin(), level[sibling].end());
    at /= 2;
  }
  return path;
}

Sha256Digest RosterDigest(std::span<const KeyAdvert> adverts) { return RosterTree(adverts).root(); }

std::optional<Sha256Digest> RosterDigestOf(const KeyAdvert& advert, std::uint32_t index, std::uint32_t members, ByteView path) {
  if (index < 1 || index > members) return std::nullopt;
  Sha256Digest digest = AdvertDigest(advert);
  std::uint32_t at = index - 1;
  for (std::uint32_t last = members - 1; last > 0; at /= 2, last /= 2) {
    if (at % 2 == 0 && at == last) continue;  // it has no sibling here
    if (path.size() < kDigestSize) return std::nullopt;
    const ByteView sibling = path.first(kDigestSize);
    digest = at % 2 == 0 ? Node(digest, sibling) : Node(sibling, digest);
    path = path.subspan(kDigestSize);
  }
  if (!path.empty()) return std::nullopt;
  return digest;
}

}  // namespace edgefleet::secagg
