// Between the contract's messages and the domain's values. What comes from outside is checked here or by the domain.
#pragma once

#include "aggregator/selection/selector.h"
#include "edgefleet/selection/v1/selection.pb.h"
#include "edgefleet/telemetry/v1/telemetry.pb.h"
#include "services/selector/telemetry.h"

namespace edgefleet::services {

// INVALID_ARGUMENT [BAD_REQUEST_ID].
Status CheckRequestId(const std::string& request_id);

selection::DeviceProfile FromProto(const selection::v1::DeviceProfile& profile);

// INVALID_ARGUMENT [BAD_SPEC] for what the domain cannot express or does not see.
Result<selection::SelectionRequest> FromProto(const selection::v1::OpenSelectionRequest& request);

DeviceReport FromProto(const telemetry::v1::ReportRequest& request);

// INTERNAL [BAD_PLAN] if the stored plan cannot be read.
Status ToProto(const selection::CheckInAnswer& answer, selection::v1::CheckInResponse& response);
// RESOURCE_EXHAUSTED [SELECTION_TOO_LARGE] if it does not fit one message.
Status ToProto(const selection::SelectionView& view, selection::v1::Selection& response);
void ToProto(const selection::DevicePage& page, selection::v1::ListDevicesResponse& response);

}  // namespace edgefleet::services
