#include "device_client/device/device.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <stop_token>
#include <utility>
#include <variant>

#include "base/file.h"
#include "cdn_origin/manifest/manifest.h"
#include "device_client/device/inference.h"
#include "device_client/federated/grpc_gateway.h"
#include "device_client/federated/guard_file.h"
#include "device_client/federated/identity_file.h"
#include "device_client/federated/participant.h"
#include "device_client/runtime/delegate.h"
#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/parameters.h"
#include "device_client/training/trainer.h"
#include "device_client/update/curl_fetcher.h"
#include "device_client/update/updater.h"

namespace edgefleet::device {
namespace {

constexpr char kTrainingVariant[] = "fp32";
constexpr std::size_t kDeviceIdMax = 64;
constexpr std::size_t kPendingEventsMax = 64;
constexpr std::chrono::seconds kPolicyRetry{60};
constexpr std::chrono::seconds kSameRoundRetry{1};
constexpr std::chrono::seconds kNoIdentityRetry{60};
constexpr std::chrono::seconds kUnreachableRetry{5};

const SystemClock kSystemClock;
NullLogger null_logger;

bool IsDeviceId(std::string_view id) {
  return !id.empty() && id.size() <= kDeviceIdMax && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  });
}

Status CheckOptions(const DeviceOptions& options) {
  const auto bad = [](const std::string& message) { return InvalidArgument("BAD_OPTIONS", message); };
  if (options.state_dir.empty()) return bad("state_dir is empty");
  if (!IsDeviceId(options.device_id)) return bad("device_id must be 1 to 64 characters of [A-Za-z0-9._-]");
  for (const auto& [what, name] : {std::pair{"device_class", &options.device_class},
                                   {"region", &options.region},
                                   {"os", &options.os},
                                   {"model", &options.model},
                                   {"alias", &options.alias},
                                   {"variant", &options.variant}}) {
    if (!manifest::IsName(*name)) return bad(std::string(what) + " '" + *name + "' does not match [a-z0-9][a-z0-9._-]{0,62}");
  }
  if (options.trusted_keys.empty()) return bad("trusted_keys is empty: without a key no manifest can be trusted");
  if (options.threads < 1 || options.threads > 64) return bad("threads must be 1 to 64");
  if (options.model_memory_bytes_max == 0) return bad("model_memory_bytes_max is 0: no model fits");
  if (!(options.secure_aggregation.corrupt_fraction >= 0 && options.secure_aggregation.corrupt_fraction < 1)) {
    return bad("secure_aggregation.corrupt_fraction must be in [0, 1)");
  }
  return OkStatus();
}

class DeviceImpl final : public Device {
 public:
  DeviceImpl(DeviceOptions options, DeviceHost host)
      : options_(std::move(options)),
        clock_(host.clock != nullptr ? *host.clock : kSystemClock),
        logger_(host.logger != nullptr ? *host.logger : null_logger),
        fleet_(std::move(host.fleet)),
        engine_({.delegate = options_.delegate,
                 .threads = options_.threads,
                 .memory_bytes_max = options_.model_memory_bytes_max,
                 .load_mode = options_.load_mode},
                clock_) {}

  Status Init() {
    EF_RETURN_IF_ERROR(CheckOptions(options_));
    if (auto delegate = runtime::FindDelegate(options_.delegate); !delegate) return std::move(delegate).error();
    EF_ASSIGN_OR_RETURN(store_, update::ModelStore::Open(options_.state_dir));
    EF_ASSIGN_OR_RETURN(fetcher_, update::MakeCurlFetcher({.base_url = options_.origin_url}));
    update::UpdaterOptions updater{.model = options_.model,
                                   .manifest_path = options_.model + "/" + options_.alias + ".json",
                                   .variants = {options_.variant},
                                   .trusted_keys = options_.trusted_keys};
    updater_ = std::make_unique<update::Updater>(
        std::move(updater), *fetcher_, *store_, clock_, logger_,
        [this](const update::InstalledVersion& candidate) { return engine_.SelfTest(candidate, options_.variant); });
    if (!fleet_ && !options_.fleet_address.empty()) {
      fleet_ = MakeGrpcFleetGateway(options_.fleet_address, options_.device_id, options_.device_class, GrpcChannels::Create());
    }
    if (const auto installed = store_->Active(options_.model)) {
      return engine_.Load(*installed, options_.variant, runtime::Former::kLastGood);
    }
    return OkStatus();
  }

  std::optional<ActiveModel> active() const override {
    const auto installed = store_->Active(options_.model);
    const auto* variant = installed ? installed->Find(options_.variant) : nullptr;
    if (variant == nullptr) return std::nullopt;
    return ActiveModel{installed->model, installed->version, variant->name, variant->file};
  }

  Result<UpdateResult> Update(const Control& control) override {
    if (control.stop.stop_requested()) return MakeError(StatusCode::kCancelled, "HOST_STOPPED", "the host asked to stop");
    engine_.Collect();
    update::UpdateReport report;
    {
      std::lock_guard lock(updater_mutex_);
      report = updater_->Poll();
      if (report.outcome == update::UpdateOutcome::kInstalled) {
        EF_RETURN_IF_ERROR(engine_.Load(*store_->Active(options_.model), options_.variant, runtime::Former::kLastGood));
      }
    }
    return Finish(report);
  }

  Status Rollback() override {
    std::lock_guard lock(updater_mutex_);
    const auto report = updater_->RollBack();
    if (report.outcome != update::UpdateOutcome::kRolledBack) {
      return FailedPrecondition("NOTHING_TO_ROLL_BACK", report.message);
    }
    Record(report);
    return engine_.Load(*store_->Active(options_.model), options_.variant, runtime::Former::kDropped);
  }

  Result<std::vector<float>> Infer(std::span<const float> input) override { return engine_.Infer(input); }

  Result<crypto::Ed25519PublicKey> Identity() override {
    EF_ASSIGN_OR_RETURN(const auto key, ReadOrMakeIdentityKey(Identities().key));
    return key.public_key();
  }

  Result<Participation> Participate(const Conditions& conditions, const runtime::Dataset& examples,
                                    const Control& control) override {
    if (!fleet_) return FailedPrecondition("NO_FLEET", "this device was opened without a fleet_address");
    if (std::string reason = PolicyForbids(conditions); !reason.empty()) {
      return Participation{
          .kind = Participation::Kind::kNotNow, .reason = "POLICY", .detail = reason, .retry_after = kPolicyRetry};
    }
    if (!guard_) {
      EF_ASSIGN_OR_RETURN(guard_, GuardFile::Open(options_.state_dir / "said"));
    }
    auto outcome = fleet_->CheckIn(ProfileOf(conditions, examples.size()));
    if (!outcome) return MakeError(std::move(outcome).error());
    if (const auto* rejection = std::get_if<Rejection>(&*outcome)) {
      return Participation{.kind = Participation::Kind::kRejected,
                           .reason = rejection->reason,
                           .detail = rejection->detail,
                           .retry_after = rejection->retry_after};
    }
    return TakeAssignment(std::get<Assignment>(*outcome), examples, control);
  }

  Status ReportHealth() override {
    if (!fleet_) return FailedPrecondition("NO_FLEET", "this device was opened without a fleet_address");
    HealthReport report;
    {
      std::lock_guard lock(events_mutex_);
      report.updates.assign(events_.begin(), events_.end());
    }
    if (auto summary = engine_.TakeSummary()) report.inferences.push_back(std::move(*summary));
    if (report.updates.empty() && report.inferences.empty()) return OkStatus();
    EF_RETURN_IF_ERROR(fleet_->Report(report));
    std::lock_guard lock(events_mutex_);
    events_.erase(events_.begin(),
                  events_.begin() + static_cast<std::ptrdiff_t>(std::min(report.updates.size(), events_.size())));
    return OkStatus();
  }

 private:
  Result<UpdateResult> Finish(const update::UpdateReport& report) {
    if (report.outcome == update::UpdateOutcome::kUnchanged) return UpdateResult{.to_version = report.to_version};
    Record(report);
    // Telemetry is best effort: events that cannot be sent now wait for the next report.
    if (fleet_) static_cast<void>(ReportHealth());
    if (report.outcome == update::UpdateOutcome::kInstalled) {
      return UpdateResult{true, report.from_version, report.to_version, report.by_delta, report.bytes_transferred};
    }
    return MakeError(StatusCode::kAborted, report.reason,
                     "update to version " + std::to_string(report.to_version) + " did not happen: " + report.message +
                         "; the former version stays active");
  }

  void Record(const update::UpdateReport& report) {
    UpdateEvent event{.model = report.model,
                      .from_version = report.from_version,
                      .to_version = report.to_version,
                      .outcome = UpdateEvent::Outcome::kInstalled,
                      .reason = report.reason,
                      .by_delta = report.by_delta,
                      .bytes_transferred = report.bytes_transferred};
    if (report.outcome == update::UpdateOutcome::kRolledBack) event.outcome = UpdateEvent::Outcome::kRolledBack;
    if (report.outcome == update::UpdateOutcome::kFailed) event.outcome = UpdateEvent::Outcome::kFailed;
    std::lock_guard lock(events_mutex_);
    if (events_.size() == kPendingEventsMax) events_.pop_front();
    events_.push_back(std::move(event));
  }

  std::string PolicyForbids(const Conditions& now) const {
    const auto& policy = options_.training_policy;
    if (now.network == Network::kOffline) return "offline";
    if (policy.require_unmetered && now.network != Network::kUnmetered) return "the network is metered";
    if (policy.require_idle && !now.idle) return "the device is in use";
    if (!now.charging && now.battery_percent < policy.battery_percent_min) return "the battery is low";
    return "";
  }

  Profile ProfileOf(const Conditions& conditions, std::size_t example_count) const {
    const auto installed = store_->Active(options_.model);
    return {options_.device_class,
            options_.region,
            options_.os,
            conditions,
            example_count,
            options_.model,
            installed ? installed->version : 0};
  }

  Result<Participation> TakeAssignment(const Assignment& assignment, const runtime::Dataset& examples, const Control& control) {
    Participation participation{.kind = Participation::Kind::kNotCounted, .round_id = assignment.round_id};
    const auto round = fleet_->OpenRound(assignment);
    if (guard_->HasSaid(assignment.round_id, secagg::Statement::kAdvert)) {
      // It has been in this round; its secrets are gone. Best effort: then nobody waits for it.
      static_cast<void>(round->Leave("ALREADY_SAID"));
      participation.reason = "ALREADY_SAID";
      participation.retry_after = kSameRoundRetry;
      return participation;
    }
    auto membership = PrepareMembership(assignment.plan);
    if (!membership) return LeaveFor(std::move(membership).error(), *round);
    auto trainer = PrepareTrainer(assignment.plan);
    if (!trainer) return LeaveFor(std::move(trainer).error(), *round);
    const auto train = [&] { return Train(**trainer, assignment.plan, examples, control); };
    EF_ASSIGN_OR_RETURN(const RoundResult result, TakePart(*round, assignment, train, *membership, random_, control));
    if (result.contributed) participation.kind = Participation::Kind::kContributed;
    participation.reason = result.reason;
    logger_.Info("round over for this device", {{"round", assignment.round_id},
                                                {"contributed", result.contributed},
                                                {"phase", static_cast<int>(result.phase)},
                                                {"reason", result.reason}});
    return participation;
  }

  IdentityFiles Identities() const {
    const auto& certificate = options_.identity_certificate;
    return {options_.state_dir / "identity.key", certificate.empty() ? options_.state_dir / "identity.cert" : certificate};
  }

  Result<Membership> PrepareMembership(const TrainingPlan& plan) {
    Membership membership{options_.secure_aggregation, std::nullopt, *guard_};
    if (plan.adversary != secagg::Adversary::kActive) return membership;
    // Read each time, so that enrolling needs no restart.
    auto identity = ReadIdentity(Identities(), options_.secure_aggregation.authorities);
    if (!identity) return MakeError(std::move(identity).error().WithRetryAfter(kNoIdentityRetry));
    membership.identity = std::move(*identity);
    return membership;
  }

  // The server may be out of reach; the device's own error is what its host needs to see.
  static Error LeaveFor(Status status, RoundGateway& round) {
    static_cast<void>(round.Leave(status.reason()));
    return MakeError(std::move(status));
  }

  Result<std::unique_ptr<training::Trainer>> PrepareTrainer(const TrainingPlan& plan) {
    update::FetchedTarget fetched;
    {
      std::lock_guard lock(updater_mutex_);
      EF_ASSIGN_OR_RETURN(fetched, updater_->FetchTarget(plan.manifest_path, plan.base_version, kTrainingVariant));
    }
    EF_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(fetched.variant.file));
    EF_ASSIGN_OR_RETURN(auto graph, runtime::LoadEfm(mapped));
    const auto layout = runtime::LayoutSha256(graph);
    if (!std::equal(layout.begin(), layout.end(), plan.layout_sha256.begin(), plan.layout_sha256.end())) {
      return FailedPrecondition("LAYOUT_MISMATCH", "the model's parameters are laid out differently from the plan's");
    }
    return training::Trainer::Create(
        std::make_shared<const runtime::Graph>(std::move(graph)),
        {.batch_size = static_cast<std::int32_t>(std::min<std::uint32_t>(plan.batch_size, 4096)), .threads = options_.threads});
  }

  Result<LocalUpdate> Train(training::Trainer& trainer, const TrainingPlan& plan, const runtime::Dataset& examples,
                            const Control& control) {
    std::atomic<bool> cancel = false;
    const std::stop_callback on_stop(control.stop, [&] { cancel = true; });
    const std::vector<float> global = trainer.parameters();
    EF_ASSIGN_OR_RETURN(auto trained, trainer.Train(examples, {.epochs = static_cast<std::int32_t>(plan.epochs),
                                                               .learning_rate = static_cast<float>(plan.learning_rate),
                                                               .proximal_mu = static_cast<float>(plan.proximal_mu),
                                                               .seed = random_(),
                                                               .cancel = &cancel}));
    LocalUpdate update{std::move(trained.parameters), static_cast<std::uint64_t>(trained.examples)};
    std::transform(update.delta.begin(), update.delta.end(), global.begin(), update.delta.begin(), std::minus<>());
    return update;
  }

  const DeviceOptions options_;
  const Clock& clock_;
  Logger& logger_;
  crypto::SecureRandom random_;
  std::unique_ptr<FleetGateway> fleet_;
  std::unique_ptr<update::ModelStore> store_;
  std::unique_ptr<GuardFile> guard_;  // from the first participation on
  std::unique_ptr<update::HttpFetcher> fetcher_;
  std::mutex updater_mutex_;  // an Updater takes one call at a time; Update and Participate may run side by side
  std::unique_ptr<update::Updater> updater_;
  InferenceEngine engine_;
  std::mutex events_mutex_;
  std::deque<UpdateEvent> events_;  // not yet reported
};

}  // namespace

Result<std::unique_ptr<Device>> Device::Open(DeviceOptions options, DeviceHost host) {
  auto device = std::make_unique<DeviceImpl>(std::move(options), std::move(host));
  EF_RETURN_IF_ERROR(device->Init());
  return device;
}

}  // namespace edgefleet::device
