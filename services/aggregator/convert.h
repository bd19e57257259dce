// Between edgefleet.rounds.v1 and aggregator/rounds. What comes from outside is checked against the bounds of the contract.
#pragma once

#include "aggregator/rounds/active_round.h"
#include "edgefleet/rounds/v1/rounds.pb.h"

namespace edgefleet::services::aggregator {

// 1 to 64 characters of [A-Za-z0-9._-]; INVALID_ARGUMENT [BAD_REQUEST_ID].
Status CheckRequestId(const std::string& request_id);
// 0 means 50; INVALID_ARGUMENT [BAD_PAGE_SIZE] above 200.
Result<std::uint32_t> PageSize(std::uint32_t page_size);

// Fills in the contract's defaults; rounds::CheckTask checks the rest. INVALID_ARGUMENT [BAD_TASK] for a missing part.
Result<rounds::TaskSpec> FromProto(const edgefleet::rounds::v1::TaskSpec& message);
// INVALID_ARGUMENT [BAD_PARTICIPANT].
Result<rounds::Participant> FromProto(const edgefleet::rounds::v1::Participant& message);
// INVALID_ARGUMENT [BAD_KEY, BAD_SIGNATURE].
Result<secagg::KeyAdvert> FromProto(const edgefleet::rounds::v1::AdvertiseKeysRequest& message);
// INVALID_ARGUMENT [BAD_SHARES].
Result<secagg::SharedKeys> FromProto(const edgefleet::rounds::v1::ShareKeysRequest& message);
// INVALID_ARGUMENT [BAD_UPDATE, BAD_SIGNATURE].
Result<rounds::UploadHeader> FromProto(const edgefleet::rounds::v1::UploadUpdateRequest::Header& message);
// INVALID_ARGUMENT [BAD_SIGNATURE].
Result<secagg::Confirmation> FromProto(const edgefleet::rounds::v1::ConfirmRequest& message);
// INVALID_ARGUMENT [BAD_ANSWER].
Result<secagg::UnmaskAnswer> FromProto(const edgefleet::rounds::v1::UnmaskRequest& message);

edgefleet::selection::v1::SelectionSpec ToProto(const rounds::CohortSpec& cohort);
edgefleet::selection::v1::TrainingPlan ToProto(const rounds::TrainingPlan& plan);
edgefleet::rounds::v1::Task ToProto(const rounds::Task& task);
edgefleet::rounds::v1::Round ToProto(const rounds::Round& round);
edgefleet::rounds::v1::Phase ToProto(rounds::Phase phase);
edgefleet::rounds::v1::PhaseUpdate ToProto(const rounds::PhaseUpdate& update);
edgefleet::rounds::v1::UploadState ToProto(const aggregation::UploadProgress& progress);

}  // namespace edgefleet::services::aggregator
