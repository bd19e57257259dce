#include "aggregator/rounds/task.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "aggregator/privacy/accounting/gaussian_dp.h"
#include "base/crypto/crypto.h"
#include "secagg/messages.h"
#include "secagg/session.h"

namespace edgefleet::rounds {
namespace {

constexpr std::int64_t kPhaseMsMax = 7LL * 24 * 3600 * 1000;
constexpr std::size_t kNamesMax = 64;
constexpr std::uint32_t kRosterMin = 3;  // of two members each would learn the other's update
constexpr double kDropoutsMax = 0.45;
constexpr double kDropoutsUnexpected = 0.1;

Error BadTask(const std::string& message) { return InvalidArgument("BAD_TASK", message); }

bool IsName(std::string_view text) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= 63 && alnum(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return alnum(c) || c == '.' || c == '_' || c == '-'; });
}

Status CheckName(std::string_view field, std::string_view value) {
  if (IsName(value)) return OkStatus();
  return BadTask(std::string(field) + " must match [a-z0-9][a-z0-9._-]{0,62}");
}

Status CheckNames(std::string_view field, const std::vector<std::string>& values) {
  if (values.size() > kNamesMax) return BadTask(std::string(field) + " may hold at most 64 names");
  for (const auto& value : values) EF_RETURN_IF_ERROR(CheckName(field, value));
  return OkStatus();
}

Status CheckCount(std::string_view field, std::uint64_t value, std::uint64_t min, std::uint64_t max) {
  if (value >= min && value <= max) return OkStatus();
  return BadTask(std::string(field) + " is " + std::to_string(value) + "; it must be " + std::to_string(min) + " to " +
                 std::to_string(max));
}

// `above`: the value must be greater than `min`, not only equal to it. NaN is refused.
Status CheckReal(std::string_view field, double value, double min, double max, bool above) {
  if ((above ? value > min : value >= min) && value <= max) return OkStatus();
  return BadTask(std::string(field) + " is " + std::to_string(value) + "; it must be " + (above ? "above " : "at least ") +
                 std::to_string(min) + " and at most " + std::to_string(max));
}

// NaN is refused.
Status CheckMinority(std::string_view field, double fraction) {
  if (fraction >= 0 && fraction < 0.5) return OkStatus();
  return BadTask(std::string(field) + " is " + std::to_string(fraction) + "; it must be at least 0 and below 0.5");
}

Status CheckCohort(const CohortSpec& cohort) {
  EF_RETURN_IF_ERROR(CheckCount("selection.battery_percent_min", cohort.battery_percent_min, 0, 100));
  EF_RETURN_IF_ERROR(CheckNames("selection.device_classes", cohort.device_classes));
  EF_RETURN_IF_ERROR(CheckNames("selection.regions", cohort.regions));
  EF_RETURN_IF_ERROR(CheckCount("selection.cohort_size", cohort.cohort_size, 2, secagg::kMembersMax));
  EF_RETURN_IF_ERROR(CheckReal("selection.over_provision", cohort.over_provision, 1, 3, false));
  if (cohort.stratify_by.size() > 3) return BadTask("selection.stratify_by may hold at most 3 properties");
  for (const auto& property : cohort.stratify_by) {
    if (property != "class" && property != "region" && property != "os") {
      return BadTask("selection.stratify_by knows class, region and os");
    }
  }
  return OkStatus();
}

Status CheckTraining(const TaskSpec& spec) {
  EF_RETURN_IF_ERROR(CheckCount("epochs", spec.epochs, 1, 1000));
  EF_RETURN_IF_ERROR(CheckCount("batch_size", spec.batch_size, 1, 65'536));
  EF_RETURN_IF_ERROR(CheckReal("learning_rate", spec.learning_rate, 0, 1000, true));
  EF_RETURN_IF_ERROR(CheckReal("proximal_mu", spec.proximal_mu, 0, 1e6, false));
  EF_RETURN_IF_ERROR(CheckReal("server_learning_rate", spec.server_learning_rate, 0, 100, true));
  return CheckReal("accuracy_drop_max", spec.accuracy_drop_max, 0, 1, false);
}

Status CheckPhases(const TaskSpec& spec) {
  EF_RETURN_IF_ERROR(CheckCount("selecting_ms_max", static_cast<std::uint64_t>(spec.selecting_ms_max), 1, kPhaseMsMax));
  EF_RETURN_IF_ERROR(CheckCount("training_ms_max", static_cast<std::uint64_t>(spec.training_ms_max), 1, kPhaseMsMax));
  EF_RETURN_IF_ERROR(CheckCount("collecting_ms_max", static_cast<std::uint64_t>(spec.collecting_ms_max), 1, kPhaseMsMax));
  return CheckCount("unmasking_ms_max", static_cast<std::uint64_t>(spec.unmasking_ms_max), 1, kPhaseMsMax);
}

Status CheckPrivacy(const PrivacySpec& privacy) {
  EF_RETURN_IF_ERROR(CheckReal("privacy.clip_norm", privacy.clip_norm, 0, 1e9, true));
  EF_RETURN_IF_ERROR(CheckReal("privacy.noise_multiplier", privacy.noise_multiplier, 0, 1e6, false));
  if (!(privacy.delta > 0 && privacy.delta < 1)) return BadTask("privacy.delta must lie between 0 and 1, for example 1e-5");
  EF_RETURN_IF_ERROR(CheckReal("privacy.epsilon_max", privacy.epsilon_max, 0, 1e9, false));
  if (privacy.epsilon_max > 0 && EpsilonAfter(privacy, 1) > privacy.epsilon_max) {
    return BadTask("the first round would already spend more than privacy.epsilon_max; raise privacy.noise_multiplier");
  }
  return OkStatus();
}

Status CheckSecureAggregation(const SecureAggregationSpec& spec) {
  if (spec.adversary != secagg::Adversary::kSemiHonest && spec.adversary != secagg::Adversary::kActive) {
    return BadTask("secure_aggregation.adversary must be SEMI_HONEST or ACTIVE");
  }
  if (spec.mask_cipher != secagg::MaskCipher::kAes256Ctr && spec.mask_cipher != secagg::MaskCipher::kAes128Ctr) {
    return BadTask("secure_aggregation.mask_cipher must be AES_256 or AES_128");
  }
  EF_RETURN_IF_ERROR(CheckMinority("secure_aggregation.corrupt_fraction", spec.corrupt_fraction));
  return CheckMinority("secure_aggregation.dropout_fraction", spec.dropout_fraction);
}

// Rosters between the two fail alone when their graph is not safe.
Status CheckRosters(const TaskSpec& spec) {
  for (const std::uint32_t members : {AssignedMax(spec), std::max(spec.participants_min, kRosterMin)}) {
    auto graph = GraphFor(spec, members);
    if (!graph) {
      return BadTask("secure_aggregation cannot protect a roster of " + std::to_string(members) +
                     " members: " + graph.error().message());
    }
  }
  return OkStatus();
}

}  // namespace

std::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kSelecting:
      return "SELECTING";
    case Phase::kTraining:
      return "TRAINING";
    case Phase::kCollecting:
      return "COLLECTING";
    case Phase::kConfirming:
      return "CONFIRMING";
    case Phase::kUnmasking:
      return "UNMASKING";
    case Phase::kAggregating:
      return "AGGREGATING";
    case Phase::kValidating:
      return "VALIDATING";
    case Phase::kCommitted:
      return "COMMITTED";
    case Phase::kFailed:
      return "FAILED";
  }
  return "UNKNOWN";
}

std::uint32_t AssignedMax(const TaskSpec& spec) {
  // A hair less than the product, so that 10 * 1.1 is 11 and not 12.
  return static_cast<std::uint32_t>(std::ceil(spec.cohort.cohort_size * spec.cohort.over_provision - 1e-9));
}

double DropoutFraction(const TaskSpec& spec) {
  if (spec.secure_aggregation.dropout_fraction > 0) return spec.secure_aggregation.dropout_fraction;
  return std::min(kDropoutsMax, 1 - 1 / spec.cohort.over_provision + kDropoutsUnexpected);
}

secagg::Assumptions AssumptionsOf(const TaskSpec& spec) {
  return {.adversary = spec.secure_aggregation.adversary,
          .corrupt_fraction = spec.secure_aggregation.corrupt_fraction,
          .dropout_fraction = DropoutFraction(spec),
          .security_bits = secagg::SecurityBitsOf(spec.secure_aggregation.adversary)};
}

Result<secagg::GraphParameters> GraphFor(const TaskSpec& spec, std::uint32_t members) {
  return secagg::DeriveParameters(members, AssumptionsOf(spec));
}

std::uint32_t SurvivorsMin(const TaskSpec& spec, std::uint32_t members, const secagg::GraphParameters& graph) {
  const bool complete = graph.degree + 1 == members;
  const std::uint32_t planned = complete ? 0 : members - secagg::TolerableDropouts(members, AssumptionsOf(spec));
  return std::max({spec.participants_min, graph.threshold + 1, planned});
}

Bytes EncodingSeed(std::string_view round_id, std::uint64_t task_seed) {
  crypto::Sha256Stream stream;
  stream.Update(AsBytes("edgefleet round encoding v1"));
  const std::uint64_t size = round_id.size();
  stream.Update(std::as_bytes(std::span(&size, 1)));
  stream.Update(AsBytes(round_id));
  stream.Update(std::as_bytes(std::span(&task_seed, 1)));
  return ToBytes(stream.Finish());
}

Result<secagg::Encoding> MakeEncoding(const TaskSpec& spec, std::string_view round_id) {
  auto encoding = secagg::MakeEncoding(spec.privacy.clip_norm, spec.example_count_max, AssignedMax(spec));
  if (!encoding)
    return BadTask("privacy.clip_norm, example_count_max and cohort cannot be encoded: " + encoding.error().message());
  const CompressionSpec& compression = spec.compression;
  if (compression.value_bits > 0) encoding->value_bits = compression.value_bits;
  if (compression.keep_fraction > 0) encoding->keep_fraction = compression.keep_fraction;
  encoding->rotate = compression.rotate;
  std::ranges::copy(EncodingSeed(round_id, spec.cohort.seed), encoding->seed.begin());
  Status fits = secagg::CheckEncoding(*encoding, 1);
  if (!fits.ok()) return BadTask("compression does not suit the cohort: " + fits.message());
  return encoding;
}

double EpsilonAfter(const PrivacySpec& spec, std::uint64_t rounds_charged) {
  if (rounds_charged == 0) return 0;
  auto epsilon = privacy::GaussianAccountant().EpsilonAfter(spec.noise_multiplier, rounds_charged, spec.delta);
  return epsilon ? *epsilon : std::numeric_limits<double>::infinity();
}

Status CheckTask(const TaskSpec& spec) {
  EF_RETURN_IF_ERROR(CheckName("model", spec.model));
  EF_RETURN_IF_ERROR(CheckName("alias", spec.alias));
  EF_RETURN_IF_ERROR(CheckCount("rounds", spec.rounds, 1, 100'000));
  EF_RETURN_IF_ERROR(CheckCohort(spec.cohort));
  EF_RETURN_IF_ERROR(CheckCount("selection.cohort_size * over_provision", AssignedMax(spec), kRosterMin, secagg::kMembersMax));
  EF_RETURN_IF_ERROR(CheckCount("participants_min", spec.participants_min, 2, spec.cohort.cohort_size));
  EF_RETURN_IF_ERROR(CheckTraining(spec));
  EF_RETURN_IF_ERROR(CheckCount("example_count_max", spec.example_count_max, 1, 1'000'000'000));
  EF_RETURN_IF_ERROR(CheckPrivacy(spec.privacy));
  EF_RETURN_IF_ERROR(CheckPhases(spec));
  EF_RETURN_IF_ERROR(CheckReal("compression.keep_fraction", spec.compression.keep_fraction, 0, 1, false));
  EF_RETURN_IF_ERROR(CheckSecureAggregation(spec.secure_aggregation));
  EF_RETURN_IF_ERROR(CheckRosters(spec));
  EF_RETURN_IF_ERROR(CheckCount("failed_rounds_max", spec.failed_rounds_max, 1, 1000));
  auto encoding = MakeEncoding(spec, "");
  return encoding ? OkStatus() : encoding.error();
}

std::uint64_t StepsTaken(const Round& round) {
  return std::uint64_t{round.assigned} + round.advertised + round.shared + round.uploaded + round.confirmed + round.unmasked;
}

std::string MakeRoundId(std::string_view task_id, std::uint32_t number) {
  return std::string(task_id) + "-" + std::to_string(number);
}

std::uint64_t RoundSeed(std::uint64_t task_seed, std::uint32_t number) {
  std::uint64_t z = task_seed + number * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace edgefleet::rounds
