#include "services/aggregator/convert.h"

#include <algorithm>

namespace edgefleet::services::aggregator {
namespace {

namespace pb = edgefleet::rounds::v1;

constexpr std::size_t kIdMax = 64;
constexpr int kSealedSharesMax = 4095;
constexpr std::size_t kSealedBytesMax = 512;
constexpr int kRevealedSharesMax = 4096;
constexpr std::size_t kRevealedBytesMax = 128;

template <typename T>
T OrDefault(T value, T fallback) {
  return value == T{} ? fallback : value;
}

rounds::CohortSpec CohortFromProto(const selection::v1::SelectionSpec& message) {
  const auto& eligibility = message.eligibility();
  rounds::CohortSpec cohort;
  cohort.battery_percent_min = eligibility.battery_percent_min();
  cohort.require_charging_or_battery = eligibility.require_charging_or_battery();
  cohort.require_unmetered = eligibility.require_unmetered();
  cohort.require_idle = eligibility.require_idle();
  cohort.example_count_min = eligibility.example_count_min();
  cohort.device_classes.assign(eligibility.device_classes().begin(), eligibility.device_classes().end());
  cohort.regions.assign(eligibility.regions().begin(), eligibility.regions().end());
  cohort.cohort_size = message.cohort_size();
  cohort.over_provision = message.over_provision();
  cohort.stratify_by.assign(message.stratify_by().begin(), message.stratify_by().end());
  cohort.stratum_min = message.stratum_min();
  cohort.seed = message.seed();
  cohort.pool_min = message.pool_min();
  cohort.quota_min = message.quota_min();
  return cohort;
}

pb::TaskSpec SpecToProto(const rounds::TaskSpec& spec) {
  pb::TaskSpec message;
  message.set_model(spec.model);
  message.set_alias(spec.alias);
  message.set_move_alias(spec.move_alias);
  message.set_rounds(spec.rounds);
  *message.mutable_selection() = ToProto(spec.cohort);
  message.set_participants_min(spec.participants_min);
  message.set_epochs(spec.epochs);
  message.set_batch_size(spec.batch_size);
  message.set_learning_rate(spec.learning_rate);
  message.set_proximal_mu(spec.proximal_mu);
  message.set_example_count_max(spec.example_count_max);
  auto* privacy = message.mutable_privacy();
  privacy->set_clip_norm(spec.privacy.clip_norm);
  privacy->set_noise_multiplier(spec.privacy.noise_multiplier);
  privacy->set_delta(spec.privacy.delta);
  privacy->set_epsilon_max(spec.privacy.epsilon_max);
  message.set_server_learning_rate(spec.server_learning_rate);
  message.set_accuracy_drop_max(spec.accuracy_drop_max);
  message.set_selecting_ms_max(spec.selecting_ms_max);
  message.set_training_ms_max(spec.training_ms_max);
  message.set_collecting_ms_max(spec.collecting_ms_max);
  message.set_unmasking_ms_max(spec.unmasking_ms_max);
  message.set_failed_rounds_max(spec.failed_rounds_max);
  return message;
}

Result<std::vector<secagg::RevealedShare>> Revealed(const google::protobuf::RepeatedPtrField<pb::RevealedShare>& messages) {
  if (messages.size() > kRevealedSharesMax) return InvalidArgument("BAD_ANSWER", "at most 4,096 shares of a kind");
  std::vector<secagg::RevealedShare> shares;
  for (const auto& message : messages) {
    if (message.share().size() > kRevealedBytesMax) return InvalidArgument("BAD_ANSWER", "a share has at most 128 bytes");
    shares.push_back({message.owner(), ToBytes(AsBytes(message.share()))});
  }
  return shares;
}

}  // namespace

Status CheckRequestId(const std::string& request_id) {
  const bool good = !request_id.empty() && request_id.size() <= kIdMax && std::ranges::all_of(request_id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
  if (good) return OkStatus();
  return InvalidArgument("BAD_REQUEST_ID", "request_id must be 1 to 64 characters of [A-Za-z0-9._-]");
}

Result<std::uint32_t> PageSize(std::uint32_t page_size) {
  if (page_size > 200) return InvalidArgument("BAD_PAGE_SIZE", "page_size must be at most 200");
  return page_size == 0 ? 50 : page_size;
}

Result<rounds::TaskSpec> FromProto(const pb::TaskSpec& message) {
  if (!message.has_selection()) return InvalidArgument("BAD_TASK", "spec.selection is missing");
  if (!message.has_privacy()) return InvalidArgument("BAD_TASK", "spec.privacy is missing: at least clip_norm and delta");
  rounds::TaskSpec spec;
  const rounds::TaskSpec defaults;
  spec.model = message.model();
  spec.alias = message.alias();
  spec.move_alias = message.move_alias();
  spec.rounds = message.rounds();
  spec.cohort = CohortFromProto(message.selection());
  spec.participants_min = message.participants_min();
  spec.epochs = message.epochs();
  spec.batch_size = message.batch_size();
  spec.learning_rate = message.learning_rate();
  spec.proximal_mu = message.proximal_mu();
  spec.example_count_max = message.example_count_max();
  spec.privacy = {.clip_norm = message.privacy().clip_norm(),
                  .noise_multiplier = message.privacy().noise_multiplier(),
                  .delta = message.privacy().delta(),
                  .epsilon_max = message.privacy().epsilon_max()};
  spec.server_learning_rate = OrDefault(message.server_learning_rate(), defaults.server_learning_rate);
  spec.accuracy_drop_max = OrDefault(message.accuracy_drop_max(), defaults.accuracy_drop_max);
  spec.selecting_ms_max = OrDefault<std::int64_t>(message.selecting_ms_max(), defaults.selecting_ms_max);
  spec.training_ms_max = OrDefault<std::int64_t>(message.training_ms_max(), defaults.training_ms_max);
  spec.collecting_ms_max = OrDefault<std::int64_t>(message.collecting_ms_max(), defaults.collecting_ms_max);
  spec.unmasking_ms_max = OrDefault<std::int64_t>(message.unmasking_ms_max(), defaults.unmasking_ms_max);
  spec.failed_rounds_max = OrDefault(message.failed_rounds_max(), defaults.failed_rounds_max);
  return spec;
}

Result<rounds::Participant> FromProto(const pb::Participant& message) {
  if (message.round_id().empty() || message.round_id().size() > kIdMax || message.device_id().empty() ||
      message.device_id().size() > kIdMax) {
    return InvalidArgument("BAD_PARTICIPANT", "round_id and device_id must be 1 to 64 characters");
  }
  if (message.token().size() != rounds::kTokenBytes) {
    return InvalidArgument("BAD_PARTICIPANT", "token must be the 16 bytes of the assignment");
  }
  return rounds::Participant{message.round_id(), message.device_id(), ToBytes(AsBytes(message.token()))};
}

Result<std::vector<secagg::SealedShares>> FromProto(const google::protobuf::RepeatedPtrField<pb::SealedShares>& messages) {
  if (messages.size() > kSealedSharesMax) return InvalidArgument("BAD_SHARES", "at most 4,095 sealed shares");
  std::vector<secagg::SealedShares> shares;
  shares.reserve(static_cast<std::size_t>(messages.size()));
  for (const auto& message : messages) {
    if (message.ciphertext().size() > kSealedBytesMax) {
      return InvalidArgument("BAD_SHARES", "a sealed share has at most 512 bytes");
    }
    shares.push_back({message.sender(), message.receiver(), ToBytes(AsBytes(message.ciphertext()))});
  }
  return shares;
}

Result<secagg::UnmaskAnswer> FromProto(const pb::UnmaskRequest& message) {
  secagg::UnmaskAnswer answer;
  EF_ASSIGN_OR_RETURN(answer.self_mask_shares, Revealed(message.self_mask_shares()));
  EF_ASSIGN_OR_RETURN(answer.mask_key_shares, Revealed(message.mask_key_shares()));
  return answer;
}

selection::v1::SelectionSpec ToProto(const rounds::CohortSpec& cohort) {
  selection::v1::SelectionSpec message;
  auto* eligibility = message.mutable_eligibility();
  eligibility->set_battery_percent_min(cohort.battery_percent_min);
  eligibility->set_require_charging_or_battery(cohort.require_charging_or_battery);
  eligibility->set_require_unmetered(cohort.require_unmetered);
  eligibility->set_require_idle(cohort.require_idle);
  eligibility->set_example_count_min(cohort.example_count_min);
  for (const auto& name : cohort.device_classes) eligibility->add_device_classes(name);
  for (const auto& name : cohort.regions) eligibility->add_regions(name);
  message.set_cohort_size(cohort.cohort_size);
  message.set_over_provision(cohort.over_provision);
  for (const auto& name : cohort.stratify_by) message.add_stratify_by(name);
  message.set_stratum_min(cohort.stratum_min);
  message.set_seed(cohort.seed);
  message.set_pool_min(cohort.pool_min);
  message.set_quota_min(cohort.quota_min);
  return message;
}

pb::Task ToProto(const rounds::Task& task) {
  pb::Task message;
  message.set_task_id(task.task_id);
  *message.mutable_spec() = SpecToProto(task.spec);
  message.set_state(static_cast<pb::TaskState>(task.state));
  message.set_detail(task.detail);
  message.set_rounds_committed(task.rounds_committed);
  message.set_rounds_failed(task.rounds_failed);
  message.set_current_version(task.current_version);
  message.set_epsilon_spent(task.epsilon_spent);
  message.set_created_unix_ms(ToUnixMillis(task.created));
  return message;
}

pb::Round ToProto(const rounds::Round& round) {
  pb::Round message;
  message.set_round_id(round.round_id);
  message.set_task_id(round.task_id);
  message.set_number(round.number);
  message.set_phase(ToProto(round.phase));
  message.set_failure_reason(round.failure_reason);
  message.set_failure_detail(round.failure_detail);
  message.set_base_version(round.base_version);
  message.set_new_version(round.new_version);
  message.set_assigned(round.assigned);
  message.set_advertised(round.advertised);
  message.set_shared(round.shared);
  message.set_uploaded(round.uploaded);
  message.set_unmasked(round.unmasked);
  message.set_dropouts_recovered(round.dropouts_recovered);
  message.set_examples(round.examples);
  message.set_accuracy(round.accuracy);
  message.set_accuracy_before(round.accuracy_before);
  message.set_loss(round.loss);
  message.set_epsilon_spent(round.epsilon_spent);
  message.set_started_unix_ms(ToUnixMillis(round.started));
  if (round.ended) message.set_ended_unix_ms(ToUnixMillis(*round.ended));
  message.set_update_bytes(round.update_bytes);
  return message;
}

pb::Phase ToProto(rounds::Phase phase) { return static_cast<pb::Phase>(phase); }

pb::PhaseUpdate ToProto(const rounds::PhaseUpdate& update) {
  pb::PhaseUpdate message;
  message.set_phase(ToProto(update.phase));
  message.set_failure_reason(update.failure_reason);
  message.set_deadline_unix_ms(ToUnixMillis(update.deadline));
  if (update.training) {
    auto* training = message.mutable_training();
    training->set_index(update.training->index);
    training->set_threshold(update.training->threshold);
    training->set_modulus_bits(secagg::kModulusBits);
    training->set_vector_length(update.training->vector_length);
    for (const auto& member : update.training->roster) {
      auto* to = training->add_roster();
      to->set_index(member.index);
      to->set_cipher_public_key(ToString(member.cipher_public_key));
      to->set_mask_public_key(ToString(member.mask_public_key));
    }
  }
  if (update.collecting) {
    for (const auto& share : *update.collecting) {
      auto* to = message.mutable_collecting()->add_inbox();
      to->set_sender(share.sender);
      to->set_receiver(share.receiver);
      to->set_ciphertext(ToString(share.ciphertext));
    }
  }
  if (update.unmasking) {
    for (const std::uint32_t index : *update.unmasking) message.mutable_unmasking()->add_survivors(index);
  }
  return message;
}

pb::UploadState ToProto(const aggregation::UploadProgress& progress) {
  pb::UploadState message;
  message.set_received(progress.received);
  message.set_size(progress.size);
  message.set_complete(progress.complete);
  return message;
}

}  // namespace edgefleet::services::aggregator
