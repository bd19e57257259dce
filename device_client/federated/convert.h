// Between edgefleet.{rounds,selection,telemetry}.v1 and the device's domain. What a server says is checked for sizes before it
// is taken apart, so that a message costs no more memory than it has bytes; what the values mean is secagg::Client's and the
// participant's to check.
#pragma once

#include <string>

#include "device_client/federated/fleet_gateway.h"
#include "edgefleet/rounds/v1/rounds.pb.h"
#include "edgefleet/selection/v1/selection.pb.h"
#include "edgefleet/telemetry/v1/telemetry.pb.h"

namespace edgefleet::device {

// INTERNAL [BAD_ANSWER]: a server has said something that the contract excludes.
Error BadAnswer(const std::string& what);

// Fills in the contract's defaults. INTERNAL [BAD_ANSWER], UNIMPLEMENTED [UNKNOWN_ADVERSARY].
Result<CheckInOutcome> FromProto(const edgefleet::selection::v1::CheckInResponse& response);
// `round_id`: the round that was asked about. INTERNAL [BAD_ANSWER], UNIMPLEMENTED [UNKNOWN_ADVERSARY, UNKNOWN_MASK_CIPHER].
Result<PhaseUpdate> FromProto(const edgefleet::rounds::v1::PhaseUpdate& from, const std::string& round_id);

// Who speaks (participant, device, request id) is the caller's to add.
edgefleet::selection::v1::DeviceProfile ToProto(const Profile& profile);
edgefleet::telemetry::v1::ReportRequest ToProto(const HealthReport& report);
edgefleet::rounds::v1::AdvertiseKeysRequest ToProto(const secagg::KeyAdvert& advert);
edgefleet::rounds::v1::ShareKeysRequest ToProto(const secagg::SharedKeys& shared);
edgefleet::rounds::v1::ConfirmRequest ToProto(const secagg::Confirmation& confirmation);
edgefleet::rounds::v1::UnmaskRequest ToProto(const secagg::UnmaskAnswer& answer);

}  // namespace edgefleet::device
