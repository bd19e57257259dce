// What the registry's client-streaming calls write to.
#pragma once

#include <memory>

#include "services/registry/handlers.h"

namespace edgefleet::services {

// RESOURCE_EXHAUSTED [OVERLOADED] with retry-after when no slot is free.
Result<std::shared_ptr<void>> TakeSlot(TransferSlots& slots);

// The first message of each stream is the header; INVALID_ARGUMENT [BAD_STREAM] when the order is another.
std::unique_ptr<UploadSink<pb_registry::UploadArtifactRequest, pb_registry::ArtifactState>> MakeArtifactSink(
    registry::Registry* registry);
std::unique_ptr<UploadSink<pb_registry::EvaluateParametersRequest, pb_registry::Metrics>> MakeEvaluateSink(
    registry::Registry* registry, TransferSlots& slots);
std::unique_ptr<UploadSink<pb_registry::CommitParametersRequest, pb_registry::Version>> MakeCommitSink(
    registry::Registry* registry, TransferSlots& slots);

}  // namespace edgefleet::services
