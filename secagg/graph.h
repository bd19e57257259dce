// Who shares secrets with whom: the Harary graph H(k, n) on a random ring order, as in SecAgg+ (Bell et al. 2020, section 3.2).
// Each member is a neighbour of the k/2 next ones on either side; k = n - 1 is the complete graph.
//
// The order comes from a Fisher-Yates shuffle (Durstenfeld 1964) of the members 1 to n, from the last place down, driven by
// the ChaCha20 keystream (RFC 8439) of `seed` with a zero nonce, read as little-endian 32-bit words, with rejection of those
// that would bias a draw. Whoever knows seed, n and k gets the same graph. A seed is no secret; it must be unpredictable when
// the members are chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgefleet::secagg {

inline constexpr std::size_t kGraphSeedSize = 32;
inline constexpr std::uint32_t kGraphMembersMax = 65'535;

// members - 1, or even, at least 2 and less than that; members >= 2.
bool ValidDegree(std::uint32_t members, std::uint32_t degree);

// Immutable, so thread-safe. Members are 1 to n. Memory: 8 bytes a member.
class Graph {
 public:
  // ValidDegree(members, degree) and members <= kGraphMembersMax.
  Graph(std::span<const std::byte, kGraphSeedSize> seed, std::uint32_t members, std::uint32_t degree);

  // Ascending, `degree` of them. O(k log k).
  std::vector<std::uint32_t> Neighbours(std::uint32_t member) const;
  // Symmetric; nobody is its own neighbour, and who is no member has none. O(1).
  bool AreNeighbours(std::uint32_t one, std::uint32_t other) const;
  // The Shamir abscissa of `holder` among the holders of `owner`'s secrets: its place in Neighbours(owner), counted from 1, or
  // 0 when it is no neighbour. O(k).
  std::uint32_t Slot(std::uint32_t owner, std::uint32_t holder) const;

  // The members in the order of the ring; the last one is next to the first.
  const std::vector<std::uint32_t>& ring() const { return ring_; }

  std::uint32_t members() const { return static_cast<std::uint32_t>(ring_.size()); }
  std::uint32_t degree() const { return degree_; }

 private:
  bool IsMember(std::uint32_t member) const { return member >= 1 && member <= members(); }
  // In the order of the ring.
  std::vector<std::uint32_t> Around(std::uint32_t member) const;

  std::uint32_t degree_;
  std::vector<std::uint32_t> ring_;   // by place: the member
  std::vector<std::uint32_t> place_;  // by member - 1: the place
};

}  // namespace edgefleet::secagg
