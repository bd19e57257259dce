#include "aggregator/rounds/store/spec_codec.h"

#include <nlohmann/json.hpp>

namespace edgefleet::rounds {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PrivacySpec, clip_norm, noise_multiplier, delta, epsilon_max)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CohortSpec, battery_percent_min, require_charging_or_battery, require_unmetered,
                                   require_idle, example_count_min, device_classes, regions, cohort_size, over_provision,
                                   stratify_by, stratum_min, seed, pool_min, quota_min)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SecureAggregationSpec, adversary, corrupt_fraction, dropout_fraction, mask_cipher)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CompressionSpec, value_bits, keep_fraction, rotate)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TaskSpec, model, alias, move_alias, rounds, cohort, participants_min, epochs, batch_size,
                                   learning_rate, proximal_mu, example_count_max, privacy, secure_aggregation, compression,
                                   server_learning_rate, accuracy_drop_max, selecting_ms_max, training_ms_max,
                                   collecting_ms_max, unmasking_ms_max, failed_rounds_max)

std::string EncodeSpec(const TaskSpec& spec) { return nlohmann::json(spec).dump(); }

Result<TaskSpec> DecodeSpec(std::string_view text) {
  try {
    auto spec = nlohmann::json::parse(text);
    // Tasks of the first schema have none of these.
    spec.emplace("secure_aggregation", SecureAggregationSpec());
    spec.emplace("compression", CompressionSpec());
    return spec.get<TaskSpec>();
  } catch (const nlohmann::json::exception& error) {
    return DataLoss("BAD_SPEC", std::string("the stored task is damaged: ") + error.what());
  }
}

}  // namespace edgefleet::rounds
