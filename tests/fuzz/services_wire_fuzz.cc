// What the services hear over the wire: tasks, selections, check-ins and reports, then all that one device says in a round of
// each variant. The input has these messages, altered. What a service takes from a message is within the contract's bounds and
// is what a peer that meant it would say; a secagg::Server that refuses it is as before, and takes the honest one after it;
// what it unmasks is the survivors' sum.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "aggregator/rounds/task.h"
#include "device_client/federated/convert.h"
#include "services/aggregator/convert.h"
#include "services/selector/selection_converters.h"
#include "tests/fuzz/require.h"
#include "tests/fuzz/target.h"
#include "tests/fuzz/wire.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::fuzz {
namespace {

namespace pb = edgefleet::rounds::v1;
namespace selection_pb = edgefleet::selection::v1;
namespace telemetry_pb = edgefleet::telemetry::v1;
using secagg::testing::Fleet;
using secagg::testing::Words;
using services::aggregator::FromProto;

// --- tasks and selections

pb::CreateTaskRequest SampleTask() {
  pb::CreateTaskRequest request;
  request.set_request_id("create-1");
  auto& spec = *request.mutable_spec();
  spec.set_model("fashion");
  spec.set_alias("stable");
  spec.set_rounds(3);
  auto& cohort = *spec.mutable_selection();
  cohort.mutable_eligibility()->set_battery_percent_min(30);
  cohort.mutable_eligibility()->add_device_classes("phone");
  cohort.mutable_eligibility()->add_regions("eu");
  cohort.set_cohort_size(6);
  cohort.set_over_provision(1.5);
  cohort.add_stratify_by("region");
  spec.set_participants_min(5);
  spec.set_epochs(1);
  spec.set_batch_size(10);
  spec.set_learning_rate(0.05);
  spec.set_proximal_mu(0.1);
  spec.set_example_count_max(100);
  spec.mutable_privacy()->set_clip_norm(3);
  spec.mutable_privacy()->set_noise_multiplier(0.5);
  spec.mutable_privacy()->set_delta(1e-5);
  spec.mutable_secure_aggregation()->set_adversary(selection_pb::ADVERSARY_ACTIVE);
  spec.mutable_secure_aggregation()->set_corrupt_fraction(0.1);
  spec.mutable_secure_aggregation()->set_dropout_fraction(0.2);
  spec.mutable_compression()->set_value_bits(14);
  return request;
}

pb::TaskSpec AsTold(const rounds::TaskSpec& spec) {
  return services::aggregator::ToProto(rounds::Task{.task_id = {}, .spec = spec}).spec();
}

void CreateTask(const pb::CreateTaskRequest& request) {
  static_cast<void>(services::aggregator::CheckRequestId(request.request_id()));
  const auto spec = FromProto(request.spec());
  if (!spec) return;
  const pb::TaskSpec told = AsTold(*spec);
  Require(Same(AsTold(FromProto(told).value()), told));
  if (!rounds::CheckTask(*spec).ok()) return;
  Require(told.rounds() >= 1 && told.rounds() <= 100'000);
  Require(told.selection().eligibility().device_classes_size() <= 64 && told.selection().eligibility().regions_size() <= 64);
  Require(told.selection().cohort_size() <= 100'000 && told.selection().stratify_by_size() <= 3);
  Require(told.selection().over_provision() >= 1 && told.selection().over_provision() <= 3);
  Require(told.participants_min() >= 2 && told.participants_min() <= told.selection().cohort_size());
  Require(told.privacy().clip_norm() > 0 && told.privacy().delta() > 0 && told.privacy().delta() < 1);
  for (const double fraction : {told.secure_aggregation().corrupt_fraction(), told.secure_aggregation().dropout_fraction()}) {
    Require(fraction >= 0 && fraction < 0.5);
  }
  Require(told.accuracy_drop_max() >= 0 && told.accuracy_drop_max() <= 1);
  Require(told.compression().value_bits() == 0 ||
          (told.compression().value_bits() >= 2 && told.compression().value_bits() <= 24));
  Require(told.compression().keep_fraction() >= 0 && told.compression().keep_fraction() <= 1);
  Require(rounds::GraphFor(*spec, rounds::AssignedMax(*spec)).has_value());
}

selection_pb::OpenSelectionRequest SampleSelection() {
  selection_pb::OpenSelectionRequest request;
  request.set_request_id("open-1");
  request.set_task_id("task-1");
  request.set_round_id(secagg::testing::kRound);
  *request.mutable_spec() = SampleTask().spec().selection();
  auto& plan = *request.mutable_plan();
  plan.set_model("fashion");
  plan.set_base_version(3);
  plan.set_manifest_path("fashion/versions/3.json");
  plan.set_layout_sha256(std::string(32, 'l'));
  plan.set_parameter_count(1000);
  plan.set_learning_rate(0.05);
  plan.set_clip_norm(3);
  plan.set_encoding_seed(std::string(32, 'e'));
  request.set_aggregator_address("127.0.0.1:7070");
  request.set_deadline_unix_ms(1'900'000'000'000);
  return request;
}

// What is opened here is what devices are assigned.
void OpenSelection(const selection_pb::OpenSelectionRequest& request) {
  const auto opened = services::FromProto(request);
  if (!opened || !selection::CheckSelectionRequest(*opened).ok()) return;
  const selection::Assignment assignment{.task_id = opened->task_id,
                                         .round_id = opened->round_id,
                                         .aggregator_address = opened->aggregator_address,
                                         .plan = opened->plan,
                                         .join_deadline = opened->deadline};
  selection_pb::CheckInResponse response;
  Require(services::ToProto(selection::CheckInAnswer(assignment), response).ok());
  Require(Same(response.assignment().plan(), request.plan()));
  Require(response.assignment().join_deadline_unix_ms() == request.deadline_unix_ms());
  const auto outcome = device::FromProto(response);
  Require(outcome && std::holds_alternative<device::Assignment>(*outcome));
}

// --- what devices say of themselves

selection_pb::CheckInRequest SampleCheckIn() {
  selection_pb::CheckInRequest request;
  request.set_request_id("check-in-1");
  request.set_device_id("device-1");
  *request.mutable_profile() = device::ToProto(device::Profile{.device_class = "phone",
                                                               .region = "eu",
                                                               .os = "linux",
                                                               .conditions = {},
                                                               .example_count = 100,
                                                               .model = "fashion",
                                                               .model_version = 3});
  return request;
}

void CheckIn(const selection_pb::CheckInRequest& request) {
  const auto profile = services::FromProto(request.profile());
  if (!services::CheckRequestId(request.request_id()).ok() || !selection::CheckDeviceId(request.device_id()).ok() ||
      !selection::CheckProfile(profile).ok()) {
    return;
  }
  selection::DevicePage page;
  page.entries.push_back({.device = {.device_id = request.device_id(), .profile = profile}});
  selection_pb::ListDevicesResponse listed;
  services::ToProto(page, listed);
  Require(Same(listed.devices(0).profile(), request.profile()));
  Require(request.profile().battery_percent() <= 100);
}

telemetry_pb::ReportRequest SampleReport() {
  auto request = device::ToProto(device::HealthReport{
      .updates = {{.model = "fashion", .from_version = 1, .to_version = 2, .bytes_transferred = 1000}},
      .inferences = {{.model = "fashion", .version = 2, .delegate = "onednn", .inferences = 10, .latency_ms_p50 = 1.5}}});
  request.set_request_id("report-1");
  request.set_device_id("device-1");
  request.set_device_class("phone");
  return request;
}

void Report(const telemetry_pb::ReportRequest& request) {
  const services::DeviceReport report = services::FromProto(request);
  if (!services::CheckReport(report).ok()) return;
  Require(static_cast<std::size_t>(request.updates_size()) == report.updates.size() && report.updates.size() <= 64);
  Require(static_cast<std::size_t>(request.inferences_size()) == report.inferences.size() && report.inferences.size() <= 64);
  for (int i = 0; i < request.updates_size(); ++i) {
    Require(static_cast<int>(request.updates(i).outcome()) ==
            static_cast<int>(report.updates[static_cast<std::size_t>(i)].outcome));
  }
  for (const auto& inference : report.inferences) Require(std::isfinite(inference.latency_ms_p50));
}

// --- rounds

// All that one device says in a round.
struct Said {
  pb::AdvertiseKeysRequest advert;
  pb::ShareKeysRequest shares;
  pb::UploadUpdateRequest::Header upload;
  pb::ConfirmRequest confirmation;
  pb::UnmaskRequest answer;
};

// A round that was played once; the last member dropped out before its upload.
struct Round {
  explicit Round(secagg::Adversary adversary) : fleet({.adversary = adversary}), said(fleet.options.members) {
    const std::uint32_t dropped = fleet.options.members;
    for (std::uint32_t i = 1; i <= fleet.options.members; ++i) {
      said[i - 1].advert = device::ToProto(fleet.client(i).AdvertiseKeys().value());
    }
    Require(fleet.AdvertiseAndClose().ok() && fleet.ShareAndClose().ok() && fleet.UploadAndClose({dropped}).ok() &&
            fleet.ConfirmAndClose().ok());
    const Bytes survivors = fleet.server.SurvivorBitmap().value();
    for (std::uint32_t i = 1; i <= fleet.options.members; ++i) {
      Said& by = said[i - 1];
      by.shares = device::ToProto(*fleet.sent[i - 1]);
      if (i != dropped) {
        by.upload.set_sha256(std::string(32, 'u'));
        by.upload.set_proof_signature(ToString(fleet.proofs[i - 1].signature));
        if (fleet.server.IsConfirmer(i)) by.confirmation = device::ToProto(fleet.client(i).Confirm(survivors).value());
        by.answer = device::ToProto(fleet.client(i).Unmask(fleet.server.Request(i).value()).value());
      }
      for (auto* participant :
           {by.advert.mutable_participant(), by.shares.mutable_participant(), by.upload.mutable_participant(),
            by.confirmation.mutable_participant(), by.answer.mutable_participant()}) {
        participant->set_round_id(secagg::testing::kRound);
        participant->set_device_id("device-" + std::to_string(i));
        participant->set_token(std::string(16, 't'));
      }
    }
  }
  Fleet fleet;
  std::vector<Said> said;  // by index - 1
};

const Round& Played(secagg::Adversary adversary) {
  static const Round active(secagg::Adversary::kActive), semi_honest(secagg::Adversary::kSemiHonest);
  return adversary == secagg::Adversary::kActive ? active : semi_honest;
}

const pb::Participant& SpeakerOf(const pb::UploadUpdateRequest::Header& message) { return message.participant(); }
template <typename Message>
const pb::Participant& SpeakerOf(const Message& message) {
  return message.participant();
}

// What was taken, as the device would say it.
pb::UploadUpdateRequest::Header AsSaid(const rounds::UploadHeader& header) {
  pb::UploadUpdateRequest::Header message;
  message.set_size(header.size);
  message.set_sha256(ToString(header.sha256));
  message.set_offset(header.offset);
  message.set_proof_signature(ToString(header.proof.signature));
  return message;
}
template <typename Taken>
auto AsSaid(const Taken& taken) {
  return device::ToProto(taken);
}

// The server of a round that is played again, but for what the input says in place of one member's messages.
class Replay {
 public:
  Replay(const Round& round, std::uint32_t hostile_member, WireInput& input)
      : round_(round), hostile_(hostile_member), fleet_(round.fleet.options), input_(input) {}

  void Play() {
    if (!Advertise() || !Share() || !Upload() || (round_.fleet.active() && !Confirm())) return;
    Unmask();
  }
  // Takes the messages that a round which ended early has not come to.
  void Skip() {
    while (expected_ > 0) static_cast<void>(Next<pb::UnmaskRequest>());
  }

 private:
  secagg::Server& server() { return fleet_.server; }

  template <typename Message>
  std::optional<Message> Next() {
    --expected_;
    return input_.Next<Message>();
  }

  // Delivers what member `index` says: first what the input says in its place. Whether one of them was taken.
  template <typename Message, typename Add>
  bool Hear(std::uint32_t index, const Message& honest, const Add& add) {
    if (index == hostile_) {
      const auto hostile = Next<Message>();
      if (hostile && !Same(*hostile, honest) && FromProto(SpeakerOf(*hostile))) {
        const auto taken = FromProto(*hostile);
        if (taken) CheckTaken(*hostile, *taken);
        const std::string before(server().state());
        if (taken && add(*taken).ok()) return altered_ = true;
        Require(server().state() == before);
      }
    }
    const auto taken = FromProto(honest);
    Require(taken.has_value());
    CheckTaken(honest, *taken);
    const Status status = add(*taken);
    Require(status.ok() || altered_);
    return status.ok();
  }

  template <typename Message, typename Taken>
  void CheckTaken(Message message, const Taken& taken) {
    const auto& speaker = SpeakerOf(message);
    Require(!speaker.round_id().empty() && speaker.round_id().size() <= 64 && !speaker.device_id().empty() &&
            speaker.device_id().size() <= 64 && speaker.token().size() == 16);
    message.clear_participant();
    Require(Same(AsSaid(taken), message));
  }

  bool Ended(const Status& status) {
    Require(status.ok() || (altered_ && status.reason() == "BELOW_THRESHOLD"));
    return status.ok();
  }

  bool Advertise() {
    for (std::uint32_t i = 1; i <= fleet_.options.members; ++i) {
      const bool joined = Hear(i, round_.said[i - 1].advert, [&](const secagg::KeyAdvert& advert) -> Status {
        EF_ASSIGN_OR_RETURN(const std::uint32_t index, server().AddAdvert(advert));
        Require(index == i);
        return OkStatus();
      });
      if (!joined) return false;  // the members behind it would have other indices
      unsound_ |= altered_;
    }
    return Ended(server().CloseRoster(fleet_.options.graph, fleet_.options.survivors_min));
  }

  bool Share() {
    for (std::uint32_t i = 1; i <= fleet_.options.members; ++i) {
      Hear(i, round_.said[i - 1].shares, [&](const secagg::SharedKeys& shared) { return server().AddShares(i, shared); });
    }
    return Ended(server().CloseSharing());
  }

  bool Upload() {
    for (std::uint32_t i = 1; i < fleet_.options.members; ++i) {
      const bool counts = Hear(i, round_.said[i - 1].upload,
                               [&](const rounds::UploadHeader& header) { return server().AddUpload(i, header.proof); });
      if (!counts) continue;
      for (std::size_t k = 0; k < sum_.size(); ++k) sum_[k] += round_.fleet.masked[i - 1][k];
    }
    return Ended(server().CloseUploads());
  }

  bool Confirm() {
    for (const std::uint32_t i : server().survivors()) {
      if (!server().IsConfirmer(i)) {
        HearUnasked(i);
        continue;
      }
      Hear(i, round_.said[i - 1].confirmation,
           [&](const secagg::Confirmation& confirmation) { return server().AddConfirmation(i, confirmation); });
    }
    return Ended(server().CloseConfirmations());
  }

  // Nothing that a member outside of the committee says counts as a confirmation.
  void HearUnasked(std::uint32_t index) {
    if (index != hostile_) return;
    const auto hostile = Next<pb::ConfirmRequest>();
    const auto taken = hostile ? std::optional(FromProto(*hostile)) : std::nullopt;
    Require(!taken || !*taken || !server().AddConfirmation(index, **taken).ok());
  }

  void Unmask() {
    for (const std::uint32_t i : server().survivors()) {
      Hear(i, round_.said[i - 1].answer, [&](const secagg::UnmaskAnswer& answer) { return server().AddAnswer(i, answer); });
    }
    const Status status = server().Unmask(sum_, nullptr);
    Require(status.ok() || altered_);
    if (status.ok()) Require(unsound_ || sum_ == round_.fleet.PlainSum(server().survivors()));
  }

  const Round& round_;
  const std::uint32_t hostile_;
  Fleet fleet_;  // of which only the server plays
  WireInput& input_;
  Words sum_ = Words(fleet_.options.vector_length);
  int expected_ = round_.fleet.active() ? 5 : 4;  // messages of the hostile member
  bool altered_ = false;
  bool unsound_ = false;  // a member has other keys than those that the others masked with
};

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = [] {
    Bytes bytes(1);  // the first member is the hostile one
    Append(bytes, SampleTask());
    Append(bytes, SampleSelection());
    Append(bytes, SampleCheckIn());
    Append(bytes, SampleReport());
    for (const auto adversary : {secagg::Adversary::kActive, secagg::Adversary::kSemiHonest}) {
      const Said& said = Played(adversary).said[0];
      Append(bytes, said.advert);
      Append(bytes, said.shares);
      Append(bytes, said.upload);
      if (adversary == secagg::Adversary::kActive) Append(bytes, said.confirmation);
      Append(bytes, said.answer);
    }
    return bytes;
  }();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;        // NOLINT(google-build-using-namespace)
  using namespace edgefleet::fuzz;  // NOLINT(google-build-using-namespace)
  WireInput input({reinterpret_cast<const std::byte*>(data), size});
  const std::uint32_t hostile = 1 + input.Byte() % 4U;  // never the one that drops out
  if (const auto task = input.Next<rounds::v1::CreateTaskRequest>()) CreateTask(*task);
  if (const auto opened = input.Next<selection::v1::OpenSelectionRequest>()) OpenSelection(*opened);
  if (const auto check_in = input.Next<selection::v1::CheckInRequest>()) CheckIn(*check_in);
  if (const auto report = input.Next<telemetry::v1::ReportRequest>()) Report(*report);
  for (const auto adversary : {secagg::Adversary::kActive, secagg::Adversary::kSemiHonest}) {
    Replay replay(Played(adversary), hostile, input);
    replay.Play();
    replay.Skip();
  }
  return 0;
}
