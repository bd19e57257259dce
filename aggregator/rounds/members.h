// The devices of one round and how far each has come. Holds no secret but the assignment tokens.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "aggregator/rounds/ports.h"
#include "base/crypto/crypto.h"
#include "secagg/messages.h"

namespace edgefleet::rounds {

// Who speaks, in every device request.
struct Participant {
  std::string round_id;
  std::string device_id;
  Bytes token;
};

// Lets one stream at a time write a device's update: a newer stream takes over from one that hangs.
struct UploadSlot {
  std::mutex mutex;
  std::uint64_t generation = 0;  // of the stream that may write
};

struct Member {
  Bytes token;
  std::uint32_t index = 0;  // in the roster; 0: has not advertised
  // Digests of what it sent, to know a repetition.
  std::optional<crypto::Sha256Digest> advert;
  std::optional<crypto::Sha256Digest> shares;
  std::optional<crypto::Sha256Digest> confirmation;
  std::optional<crypto::Sha256Digest> answer;
  std::optional<secagg::UploadProof> proof;  // that came with its update
  bool sharer = false;                       // from COLLECTING on: its update may be in the sum
  bool uploaded = false;                     // its update is in the sum
  std::shared_ptr<UploadSlot> slot = std::make_shared<UploadSlot>();
  bool malformed = false;  // its update was refused for good
  bool left = false;

  // Has this device dropped out of what the round is doing in `phase`?
  bool FellOut(Phase phase) const;
};

// One owner at a time.
class Members {
 public:
  // INVALID_ARGUMENT [BAD_SELECTION]: more than `max`, repeated or malformed devices.
  static Result<Members> Create(std::span<const AssignedDevice> devices, std::size_t max);

  // PERMISSION_DENIED [NOT_ASSIGNED] for an unknown device or a wrong token.
  Result<Member*> Authenticate(const Participant& participant);
  // Null for a device that was not assigned.
  Member* Find(const std::string& device_id);
  Member& at(const std::string& device_id) { return members_.at(device_id); }
  std::size_t size() const { return members_.size(); }

  template <typename Predicate>
  std::uint32_t Count(Predicate predicate) const {
    std::uint32_t count = 0;
    for (const auto& [id, member] : members_) count += predicate(member) ? 1 : 0;
    return count;
  }
  const std::map<std::string, Member>& all() const { return members_; }
  std::map<std::string, Member>& all() { return members_; }

 private:
  std::map<std::string, Member> members_;
};

}  // namespace edgefleet::rounds
