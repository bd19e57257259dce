// The memory of what a device has said in a round, which outlives the process: whatever a hostile server asks and however often
// the device restarts, it says each thing once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::secagg {

// The statements that must never be made twice with different content.
enum class Statement : std::uint8_t {
  kAdvert = 1,     // the session keys: one set a round
  kSurvivors = 2,  // the survivors that the device signs and reveals shares for: one set a round, so one kind of share a peer
};

// Port. One owner at a time. device_client/federated has the durable implementation.
class OneShotGuard {
 public:
  virtual ~OneShotGuard() = default;
  // Durably binds the round's statement to `content`, before it leaves the device. Again with the same content it succeeds;
  // with another: FAILED_PRECONDITION [ALREADY_SAID]. Any other error (disk) means: do not speak.
  virtual Status Bind(std::string_view round_id, Statement statement, const crypto::Sha256Digest& content) = 0;
};

// Forgets with the process: for simulations.
class MemoryGuard final : public OneShotGuard {
 public:
  Status Bind(std::string_view round_id, Statement statement, const crypto::Sha256Digest& content) override;

 private:
  std::map<std::pair<std::string, Statement>, crypto::Sha256Digest> said_;
};

}  // namespace edgefleet::secagg
