// A round among in-memory members: plays the protocol with chosen dropouts and keeps what each side saw.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "secagg/client.h"
#include "secagg/server.h"

namespace edgefleet::secagg::testing {

using Words = std::vector<std::uint32_t>;

struct FleetOptions {
  std::uint32_t members = 5;
  GraphParameters graph{4, 3};
  std::uint32_t survivors_min = 3;
  std::uint64_t vector_length = 8;
  std::uint32_t element_bits = 32;
  Adversary adversary = Adversary::kSemiHonest;
  MaskCipher cipher = MaskCipher::kAes256Ctr;
  std::uint64_t seed = 1;
};

struct Dropouts {
  std::set<std::uint32_t> before_sharing;
  std::set<std::uint32_t> before_upload;
  std::set<std::uint32_t> before_confirming;  // active variant
  std::set<std::uint32_t> before_unmasking;
};

// Members 1 to n with random updates; each step leaves out those that dropped before it. Steps that either side refuses return
// its status.
class Fleet {
 public:
  explicit Fleet(const FleetOptions& options);

  Status AdvertiseAndClose();
  Status ShareAndClose(const std::set<std::uint32_t>& missing = {});
  Status UploadAndClose(const std::set<std::uint32_t>& missing = {});
  // What the committee says; nothing in the semi-honest variant.
  Status ConfirmAndClose(const std::set<std::uint32_t>& missing = {});
  Status AnswerAndUnmask(const std::set<std::uint32_t>& missing = {}, ThreadPool* pool = nullptr);
  // All of it.
  Status Play(const Dropouts& dropouts = {}, ThreadPool* pool = nullptr);

  bool active() const { return options.adversary == Adversary::kActive; }
  Client& client(std::uint32_t index) { return clients[index - 1]; }
  // What a member is made with; a device that restarts makes its client anew, under the same guard.
  ClientOptions OptionsOf(std::uint32_t index) const;
  // The sum of the plain updates of `members` modulo 2^element_bits.
  Words PlainSum(const std::vector<std::uint32_t>& members) const;

  FleetOptions options;
  SeededRandom random;
  crypto::Ed25519SecretKey authority;
  std::vector<DeviceIdentity> identities;  // by index - 1
  std::vector<MemoryGuard> guards;
  std::vector<Client> clients;
  std::vector<Words> updates;                   // plain, by index - 1
  std::vector<Words> masked;                    // as uploaded; empty: not uploaded
  std::vector<std::optional<SharedKeys>> sent;  // by index - 1
  std::vector<UploadProof> proofs;              // by index - 1; of those that uploaded
  Server server;
  Words sum;  // what the server holds: masked until AnswerAndUnmask has succeeded
};

inline constexpr char kRound[] = "round-7";

// `options` (a complete graph) with a seed for which `member` is the one that is not in the committee.
FleetOptions LeavingOut(FleetOptions options, std::uint32_t member);

// The bitmap over `things` with the bits of `members` (counted from 1).
Bytes BitmapOf(const std::vector<std::uint32_t>& members, std::size_t things);

}  // namespace edgefleet::secagg::testing
