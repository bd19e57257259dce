#include "aggregator/rounds/members.h"

namespace edgefleet::rounds {
namespace {

constexpr std::size_t kDeviceIdMax = 64;

}  // namespace

bool Member::FellOut(Phase phase) const {
  if (left) return true;
  if (phase == Phase::kFailed || phase == Phase::kCommitted || phase == Phase::kSelecting) return false;
  if (index == 0) return true;
  if (phase == Phase::kTraining) return false;
  if (!sharer) return true;
  if (phase == Phase::kCollecting) return false;
  return !uploaded;
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
  Member* found = Find(participant.device_id);
  if (found == nullptr || participant.token.size() != kTokenBytes ||
      !crypto::ConstantTimeEqual(found->token, participant.token)) {
    return PermissionDenied("NOT_ASSIGNED", "this device was not assigned to the round; check in again");
  }
  return found;
}

Member* Members::Find(const std::string& device_id) {
  const auto found = members_.find(device_id);
  return found == members_.end() ? nullptr : &found->second;
}

}  // namespace edgefleet::rounds
