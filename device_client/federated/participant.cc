#include "device_client/federated/participant.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "secagg/client.h"
#include "secagg/encoding.h"

namespace edgefleet::device {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPhaseWait{20'000};   // of one long poll
constexpr milliseconds kRetryDelayMin{200};  // first pause when the aggregator cannot be reached
constexpr milliseconds kRetryDelayMax{5'000};
constexpr milliseconds kOutagePatience{60'000};  // total pauses before the device gives up on the round

bool MayRetry(const Status& status) {
  return status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kResourceExhausted ||
         status.code() == StatusCode::kDeadlineExceeded;
}

// The round went on without this device, or ended: a result, not a failure of the device.
bool IsRoundOver(const Status& status) {
  return status.reason() == "ROUND_CLOSED" || status.reason() == "WRONG_PHASE" || status.reason() == "NOT_ASSIGNED" ||
         status.reason() == "ALREADY_SUBMITTED" || status.reason() == "ROUND_UNKNOWN";
}

class Participant {
 public:
  Participant(RoundGateway& round, const Assignment& assignment, const TrainFunction& train, RandomSource& random,
              const Control& control)
      : round_(round),
        plan_(assignment.plan),
        train_(train),
        random_(random),
        control_(control),
        client_(assignment.round_id, random) {}

  Result<RoundResult> Run() {
    Status status = Steps();
    if (status.ok() || result_.phase == Phase::kFailed) return result_;
    if (IsRoundOver(status)) {
      result_.reason = status.reason();
      return result_;
    }
    // The server may be gone or may have closed the round by now; the device's own error is what its host needs to see.
    static_cast<void>(round_.Leave(status.reason()));
    return MakeError(std::move(status));
  }

 private:
  Status Steps() {
    EF_RETURN_IF_ERROR(Advertise());
    EF_RETURN_IF_ERROR(ShareKeys());
    EF_RETURN_IF_ERROR(Train());
    EF_RETURN_IF_ERROR(Upload());
    EF_RETURN_IF_ERROR(Unmask());
    return AwaitEnd();
  }

  Status Advertise() {
    EF_ASSIGN_OR_RETURN(const auto advert, client_.AdvertiseKeys());
    EF_RETURN_IF_ERROR(Retrying([&] { return round_.AdvertiseKeys(advert); }));
    control_.Step(RoundStep::kAdvertisedKeys);
    return OkStatus();
  }

  Status ShareKeys() {
    EF_RETURN_IF_ERROR(AwaitPhase(Phase::kTraining));
    encoding_ = {plan_.clip_norm, plan_.example_count_max, static_cast<std::uint32_t>(seen_.setup.roster.size()),
                 plan_.value_bits};
    EF_ASSIGN_OR_RETURN(const auto shape, secagg::ShapeOf(encoding_, plan_.parameter_count));
    if (seen_.setup.vector_length != shape.elements) {
      return InvalidArgument("BAD_PLAN", "the round's vector length does not fit the plan's encoding");
    }
    EF_ASSIGN_OR_RETURN(const auto shares, client_.ShareKeys(seen_.setup));
    EF_RETURN_IF_ERROR(Retrying([&] { return round_.ShareKeys(shares); }));
    control_.Step(RoundStep::kSharedKeys);
    return OkStatus();
  }

  Status Train() {
    EF_ASSIGN_OR_RETURN(const LocalUpdate update, train_());
    if (update.delta.size() != plan_.parameter_count) {
      return InvalidArgument("BAD_PLAN", "the model's parameter count does not fit the plan's");
    }
    EF_ASSIGN_OR_RETURN(words_, secagg::EncodeUpdate(update.delta, update.examples, encoding_, random_));
    control_.Step(RoundStep::kTrained);
    return OkStatus();
  }

  Status Upload() {
    EF_RETURN_IF_ERROR(AwaitPhase(Phase::kCollecting));
    EF_RETURN_IF_ERROR(client_.Mask(seen_.inbox, words_));
    EF_RETURN_IF_ERROR(Retrying([&] { return round_.UploadUpdate(words_); }));
    words_ = {};
    result_.contributed = true;
    control_.Step(RoundStep::kUploaded);
    return OkStatus();
  }

  // Not every survivor is needed: the others' answers may suffice before this device has seen the phase, or sent its own.
  Status Unmask() {
    while (result_.phase < Phase::kUnmasking) EF_RETURN_IF_ERROR(AwaitPast(Phase::kCollecting));
    if (result_.phase > Phase::kUnmasking) return OkStatus();
    auto answer = client_.Unmask(seen_.survivors);
    if (!answer) {
      result_.contributed = false;
      return std::move(answer).error();
    }
    Status answered = Retrying([&] { return round_.Unmask(*answer); });
    if (!answered.ok() && !IsRoundOver(answered)) return answered;
    control_.Step(RoundStep::kUnmasked);
    return OkStatus();
  }

  Status AwaitEnd() {
    while (result_.phase != Phase::kCommitted) EF_RETURN_IF_ERROR(AwaitPast(std::max(result_.phase, Phase::kUnmasking)));
    return OkStatus();
  }

  // Waits for exactly `wanted`. A round that is past it went on without this device.
  Status AwaitPhase(Phase wanted) {
    while (result_.phase < wanted) EF_RETURN_IF_ERROR(AwaitPast(static_cast<Phase>(static_cast<int>(wanted) - 1)));
    if (result_.phase > wanted) return FailedPrecondition("WRONG_PHASE", "the round went on without this device");
    return OkStatus();
  }

  Status AwaitPast(Phase after) {
    EF_RETURN_IF_ERROR(Retrying([&]() -> Status {
      EF_ASSIGN_OR_RETURN(seen_, round_.AwaitPhase(after, kPhaseWait));
      return OkStatus();
    }));
    result_.phase = seen_.phase;
    if (seen_.phase == Phase::kFailed) {
      result_.contributed = false;
      result_.reason = seen_.failure_reason;
      return Aborted("ROUND_FAILED", "the round failed: " + seen_.failure_reason);
    }
    return OkStatus();
  }

  template <typename Operation>
  Status Retrying(const Operation& operation) {
    milliseconds delay = kRetryDelayMin;
    milliseconds waited{0};
    while (true) {
      if (control_.stop.stop_requested()) return MakeError(StatusCode::kCancelled, "HOST_STOPPED", "the host asked to stop");
      Status status = operation();
      if (status.ok() || !MayRetry(status) || waited >= kOutagePatience) return status;
      const milliseconds base = std::max(delay, status.retry_after().value_or(milliseconds(0)));
      const auto pause =
          std::min(kRetryDelayMax, std::chrono::duration_cast<milliseconds>(base * (0.75 + 0.5 * random_.Unit())));
      control_.Wait(pause);
      waited += pause;
      delay = std::min(kRetryDelayMax, delay * 2);
    }
  }

  RoundGateway& round_;
  const TrainingPlan& plan_;
  const TrainFunction& train_;
  RandomSource& random_;
  const Control& control_;
  secagg::Client client_;
  secagg::Encoding encoding_;
  std::vector<std::uint32_t> words_;
  PhaseUpdate seen_;
  RoundResult result_;
};

}  // namespace

Result<RoundResult> TakePart(RoundGateway& round, const Assignment& assignment, const TrainFunction& train,
                             RandomSource& random, const Control& control) {
  return Participant(round, assignment, train, random, control).Run();
}

}  // namespace edgefleet::device
