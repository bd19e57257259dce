#include "registry/limits.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace edgefleet::registry {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLower = "abcdefghijklmnopqrstuvwxyz";

bool IsIdCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool IsId(std::string_view id) { return id.size() <= 64 && std::all_of(id.begin(), id.end(), IsIdCharacter); }

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::uint64_t BytesMax(ArtifactKind kind) {
  switch (kind) {
    case ArtifactKind::kOnnx:
      return kOnnxBytesMax;
    case ArtifactKind::kCalibration:
      return kCalibrationBytesMax;
    case ArtifactKind::kEvaluation:
      return kEvaluationBytesMax;
  }
  return 0;
}

Status CheckArtifacts(const std::vector<ArtifactSpec>& artifacts) {
  std::set<ArtifactKind> kinds;
  for (const ArtifactSpec& artifact : artifacts) {
    const std::uint64_t size_max = BytesMax(artifact.kind);
    if (size_max == 0) return InvalidArgument("BAD_ARTIFACTS", "an artifact's kind is ONNX, CALIBRATION or EVALUATION");
    if (!kinds.insert(artifact.kind).second) return InvalidArgument("BAD_ARTIFACTS", "send one artifact of each kind at most");
    if (artifact.size == 0) return InvalidArgument("BAD_ARTIFACTS", "an artifact is empty");
    if (artifact.size > size_max) {
      return InvalidArgument("TOO_LARGE", "an artifact has " + std::to_string(artifact.size) + " bytes; at most " +
                                              std::to_string(size_max) + " are accepted of its kind");
    }
  }
  if (!kinds.contains(ArtifactKind::kOnnx)) return InvalidArgument("BAD_ARTIFACTS", "the ONNX network is missing");
  return OkStatus();
}

}  // namespace

Status CheckName(std::string_view what, std::string_view name) {
  auto allowed = [](char c) {
    return kDigits.find(c) != std::string_view::npos || kLower.find(c) != std::string_view::npos || c == '.' || c == '_' ||
           c == '-';
  };
  const bool good = !name.empty() && name.size() <= 63 && name[0] != '.' && name[0] != '_' && name[0] != '-' &&
                    std::all_of(name.begin(), name.end(), allowed);
  if (good) return OkStatus();
  return InvalidArgument("BAD_NAME", "the name of the " + std::string(what) +
                                         " must match [a-z0-9][a-z0-9._-]{0,62}: lower-case letters, digits, '.', '_', '-'");
}

Status CheckRequestId(std::string_view id) {
  if (!id.empty() && IsId(id)) return OkStatus();
  return InvalidArgument("BAD_REQUEST_ID", "request_id must be 1 to 64 characters of [A-Za-z0-9._-]");
}

Status CheckTags(const Tags& tags) {
  if (tags.size() > kTagsMax) return InvalidArgument("BAD_TAGS", "at most " + std::to_string(kTagsMax) + " tags");
  for (const auto& [key, value] : tags) {
    if (key.empty() || key.size() > 64 || value.size() > 256 || HasControlCharacter(key) || HasControlCharacter(value)) {
      return InvalidArgument("BAD_TAGS", "tag keys have 1 to 64 bytes, values at most 256, neither control characters");
    }
  }
  return OkStatus();
}

Status CheckPublish(const PublishRequest& request) {
  EF_RETURN_IF_ERROR(CheckName("model", request.model));
  EF_RETURN_IF_ERROR(CheckArtifacts(request.artifacts));
  EF_RETURN_IF_ERROR(CheckTags(request.tags));
  const double drop = request.options.accuracy_drop_points_max;
  if (!(drop > 0 && drop <= 100)) {
    return InvalidArgument("BAD_OPTIONS", "accuracy_drop_points_max must be in (0, 100], or 0 for the default");
  }
  return OkStatus();
}

Status CheckLineage(const Lineage& lineage) {
  if (!IsId(lineage.task_id) || !IsId(lineage.round_id)) {
    return InvalidArgument("BAD_LINEAGE", "task_id and round_id have at most 64 characters of [A-Za-z0-9._-]");
  }
  const bool privacy =
      std::isfinite(lineage.epsilon_spent) && lineage.epsilon_spent >= 0 && lineage.delta >= 0 && lineage.delta < 1;
  if (!privacy) return InvalidArgument("BAD_LINEAGE", "epsilon_spent must be finite and not negative, delta in [0, 1)");
  return OkStatus();
}

Result<std::size_t> CheckPageSize(std::uint32_t page_size) {
  if (page_size > kPageSizeMax) return InvalidArgument("BAD_PAGE_SIZE", "page_size must be 1 to 200, or 0 for 50");
  return page_size == 0 ? kPageSizeDefault : page_size;
}

}  // namespace edgefleet::registry
