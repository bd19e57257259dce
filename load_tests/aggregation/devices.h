// The devices of the aggregation benchmark: they take part in the protocol with its own parts, and stream their masked updates
// in packed chunks, so that no update ever exists as a whole.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/random.h"
#include "base/status.h"
#include "secagg/mask/mask.h"
#include "secagg/packing.h"
#include "secagg/server.h"

namespace edgefleet::load_tests {

// The first `survivors` of survivors + dropped members upload; the others vanish after they have shared keys. Masks between two
// survivors cancel in the sum and cost the server nothing, so the devices leave them out; every mask that the server must
// remove is there.
class Devices {
 public:
  Devices(std::uint32_t survivors, std::uint32_t dropped, std::uint64_t parameters, std::uint32_t value_bits,
          std::uint32_t element_bits, std::uint64_t seed);

  // Advertises and shares: afterwards the server is collecting.
  Status Join(secagg::Server& server, const std::string& round_id);

  using Sink = std::function<Status(std::uint64_t offset, ByteView chunk)>;
  // Passes the masked update of survivor `index` on, chunk by chunk.
  Status Stream(std::uint32_t index, const Sink& sink) const;

  // Every survivor reveals its shares.
  Status Answer(secagg::Server& server) const;

  // What parameter `position` of all survivors adds up to, in encoded steps.
  std::int64_t ExpectedSum(std::uint64_t position) const;

  std::uint32_t survivors() const { return survivors_; }
  std::uint64_t update_bytes() const { return secagg::PackedSize(parameters_ + 1, element_bits_); }

  static constexpr std::uint32_t kExamples = 100;  // of each device

 private:
  struct Member {
    secagg::KeyPair cipher;
    secagg::KeyPair mask;
    secagg::Secret self_mask_seed;
    std::vector<secagg::Secret> mask_key_shares;
    std::vector<secagg::Secret> self_mask_shares;
  };

  void PrepareMasks(const secagg::RoundDigest& round, const secagg::SessionId& session);

  const std::uint32_t survivors_;
  const std::uint64_t parameters_;
  const std::uint32_t zero_;  // what 0 is encoded as
  const std::uint32_t element_bits_;
  SeededRandom random_;
  std::vector<Member> members_;
  std::vector<std::vector<secagg::MaskTerm>> masks_;  // by survivor - 1
};

}  // namespace edgefleet::load_tests
