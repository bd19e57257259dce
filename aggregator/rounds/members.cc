#include "aggregator/rounds/members.h"

namespace edgefleet::rounds {
namespace {

constexpr std::size_t kDeviceIdMax = 64;

void HashNumber(crypto::Sha256Stream& stream, std::uint64_t number) { stream.Update(std::as_bytes(std::span(&number, 1))); }

void HashBytes(crypto::Sha256Stream& stream, ByteView bytes) {
  HashNumber(stream, bytes.size());
  stream.Update(bytes);
}

void HashRevealed(crypto::Sha256Stream& stream, std::span<const secagg::RevealedShare> shares) {
  HashNumber(stream, shares.size());
  for (const auto& share : shares) {
    HashNumber(stream, share.owner);
    HashBytes(stream, share.share);
  }
}

}  // namespace

bool Member::FellOut(Phase phase) const {
  if (left) return true;
  if (phase == Phase::kFailed || phase == Phase::kCommitted || phase == Phase::kSelecting) return false;
  if (index == 0) return true;
  if (phase == Phase::kTraining) return false;
  if (!shares) return true;
  return phase != Phase::kCollecting && !uploaded;
}

Result<Members> Members::Create(std::span<const AssignedDevice> devices, std::size_t max) {
  if (devices.size() > max) return InvalidArgument("BAD_SELECTION", "the selector assigned more devices than were asked for");
  Members members;
  for (const auto& device : devices) {
    if (device.device_id.empty() || device.device_id.size() > kDeviceIdMax || device.token.size() != kTokenBytes) {
      return InvalidArgument("BAD_SELECTION", "the selector assigned a device with a malformed id or token");
    }
    if (!members.members_.emplace(device.device_id, Member{.token = device.token}).second) {
      return InvalidArgument("BAD_SELECTION", "the selector assigned a device twice");
    }
  }
  return members;
}

Result<Member*> Members::Authenticate(const Participant& participant) {
  auto found = members_.find(participant.device_id);
  if (found == members_.end() || participant.token.size() != kTokenBytes ||
      !crypto::ConstantTimeEqual(found->second.token, participant.token)) {
    return PermissionDenied("NOT_ASSIGNED", "this device was not assigned to the round; check in again");
  }
  return &found->second;
}

crypto::Sha256Digest DigestOf(std::span<const secagg::SealedShares> shares) {
  crypto::Sha256Stream stream;
  for (const auto& share : shares) {
    HashNumber(stream, share.sender);
    HashNumber(stream, share.receiver);
    HashBytes(stream, share.ciphertext);
  }
  return stream.Finish();
}

crypto::Sha256Digest DigestOf(const secagg::UnmaskAnswer& answer) {
  crypto::Sha256Stream stream;
  HashRevealed(stream, answer.self_mask_shares);
  HashRevealed(stream, answer.mask_key_shares);
  return stream.Finish();
}

}  // namespace edgefleet::rounds
