// The bounds and name rules that proto/edgefleet/registry/v1/registry.proto documents, checked in one place.
#pragma once

#include <string_view>

#include "base/status.h"
#include "registry/model.h"

namespace edgefleet::registry {

inline constexpr std::uint64_t kOnnxBytesMax = 1ULL << 30;
inline constexpr std::uint64_t kCalibrationBytesMax = 256ULL << 20;
inline constexpr std::uint64_t kEvaluationBytesMax = 1ULL << 30;
inline constexpr std::size_t kChunkBytesMax = 1 << 20;
inline constexpr std::size_t kTagsMax = 32;
inline constexpr std::size_t kAliasesMax = 32;
inline constexpr std::size_t kPageSizeMax = 200;
inline constexpr std::size_t kPageSizeDefault = 50;
inline constexpr std::uint64_t kParametersMax = 1ULL << 28;  // 1 GiB of fp32

// INVALID_ARGUMENT [BAD_NAME]: names of models and aliases match [a-z0-9][a-z0-9._-]{0,62}.
Status CheckName(std::string_view what, std::string_view name);
// INVALID_ARGUMENT [BAD_REQUEST_ID]: 1 to 64 of [A-Za-z0-9._-].
Status CheckRequestId(std::string_view id);
// INVALID_ARGUMENT [BAD_TAGS].
Status CheckTags(const Tags& tags);
// INVALID_ARGUMENT [BAD_NAME, BAD_ARTIFACTS, TOO_LARGE, BAD_TAGS, BAD_OPTIONS].
Status CheckPublish(const PublishRequest& request);
// INVALID_ARGUMENT [BAD_LINEAGE].
Status CheckLineage(const Lineage& lineage);
// 0 gives the default; INVALID_ARGUMENT [BAD_PAGE_SIZE] above the maximum.
Result<std::size_t> CheckPageSize(std::uint32_t page_size);

}  // namespace edgefleet::registry
