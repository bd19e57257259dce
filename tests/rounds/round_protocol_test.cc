// What devices may not do, and what they may repeat.
#include <gtest/gtest.h>

#include "tests/rounds/cohort.h"

namespace edgefleet::rounds {
namespace {

class RoundProtocol : public testing::Test {
 protected:
  void SetUp() override {
    TaskSpec spec = SampleSpec();
    spec.participants_min = 8;
    spec.failed_rounds_max = 1;
    task_ = world_.StartTask(spec);
    cohort_ = std::make_unique<Cohort>(world_, MakeRoundId(task_, 1));
  }
  SimDevice& device(std::size_t number) { return cohort_->device(number); }
  ActiveRound& round() { return cohort_->round(); }
  static std::string Reason(const Status& status) { return status.ok() ? "OK" : status.reason(); }

  World world_;
  std::string task_;
  std::unique_ptr<Cohort> cohort_;
};

TEST_F(RoundProtocol, StrangersAndForeignRoundsAreRefused) {
  cohort_->Join();
  Participant stranger = device(1).who();
  stranger.device_id = "stranger";
  Participant liar = device(1).who();
  liar.token = device(2).who().token;
  Participant tokenless = device(1).who();
  tokenless.token.clear();
  for (const auto& who : {stranger, liar, tokenless}) {
    const auto answer = Await<PhaseUpdate>([&](auto a) { round().AwaitPhase(who, Phase::kSelecting, Millis(0), a); });
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().reason(), "NOT_ASSIGNED");
    EXPECT_EQ(answer.error().code(), StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(world_.coordinator->FindRound("never-1").error().reason(), "NOT_ASSIGNED");
}

TEST_F(RoundProtocol, MessagesOfAnotherPhaseAreRefusedAndRepetitionsSucceed) {
  cohort_->Join();
  ASSERT_TRUE(device(1).Advertise(round()).ok());
  EXPECT_TRUE(device(1).Advertise(round()).ok());
  SimDevice twin(1, round().round_id(), cohort_->encoding(), secagg::Adversary::kSemiHonest);  // the same device, other keys
  EXPECT_EQ(twin.Advertise(round()).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(device(1).SendShares(round(), {}).reason(), "WRONG_PHASE");

  cohort_->Advertise(20);
  ASSERT_TRUE(cohort_->Enter(Phase::kTraining));
  EXPECT_TRUE(device(1).Advertise(round()).ok());
  EXPECT_EQ(twin.Advertise(round()).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(device(2).SendShares(round(), {}).reason(), "BAD_SHARES");
  ASSERT_TRUE(device(1).Share(round()).ok());
  EXPECT_EQ(device(1).SendShares(round(), {}).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(device(1).Upload(round()).reason(), "WRONG_PHASE");
}

TEST_F(RoundProtocol, UploadsAreCheckedAndResumed) {
  cohort_->PlayTo(Phase::kCollecting, {});
  cohort_->Mask(20);
  SimDevice& d = device(1);
  const auto digest = crypto::Sha256(d.masked());
  auto begin = [&](std::uint64_t size, std::uint64_t offset) {
    UploadHeader header = d.HeaderOf(digest, offset);
    header.size = size;
    auto upload = Await<std::shared_ptr<Upload>>([&](auto answer) { round().BeginUpload(d.who(), std::move(header), answer); });
    return upload ? std::string("OK") : upload.error().reason();
  };
  EXPECT_EQ(begin(d.masked().size() + 4, 0), "BAD_UPDATE");
  EXPECT_EQ(begin(0, 0), "BAD_UPDATE");
  EXPECT_EQ(begin(d.masked().size(), 4), "BAD_OFFSET");

  // A stream that breaks in the middle: what arrived is kept.
  {
    auto upload =
        Await<std::shared_ptr<Upload>>([&](auto answer) { round().BeginUpload(d.who(), d.HeaderOf(digest, 0), answer); });
    ASSERT_TRUE(upload);
    ASSERT_TRUE((*upload)->Append(d.masked().first(100)).ok());
    // A newer stream takes over from it.
    EXPECT_EQ(begin(d.masked().size(), 100), "OK");
    EXPECT_EQ((*upload)->Append(d.masked().subspan(100, 4)).reason(), "UPLOAD_SUPERSEDED");
  }
  auto progress = Await<aggregation::UploadProgress>([&](auto answer) { round().GetUpload(d.who(), answer); });
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->received, 100U);
  EXPECT_EQ(begin(d.masked().size(), 0), "BAD_OFFSET");
  EXPECT_TRUE(d.Send(round(), d.masked(), digest, 100).ok());
  EXPECT_TRUE(d.Upload(round()).ok());  // the whole again
  EXPECT_EQ(Reason(d.Send(round(), d.masked(), crypto::Sha256(AsBytes("other")), 0)), "ALREADY_SUBMITTED");

  // A wrong checksum empties the upload, and the right bytes may follow.
  SimDevice& e = device(2);
  Bytes altered = ToBytes(e.masked());
  altered[7] ^= std::byte{1};
  EXPECT_EQ(Reason(e.Send(round(), altered, crypto::Sha256(e.masked()), 0)), "CHECKSUM_MISMATCH");
  EXPECT_TRUE(e.Upload(round()).ok());
  Bytes longer = ToBytes(device(3).masked());
  longer.resize(longer.size() + 4);
  EXPECT_EQ(Reason(device(3).Send(round(), longer, crypto::Sha256(device(3).masked()), 0)), "BAD_UPDATE");
  EXPECT_TRUE(device(3).Send(round(), device(3).masked(), crypto::Sha256(device(3).masked()), 200).ok());
  cohort_->Upload(20);
  ASSERT_TRUE(cohort_->Enter(Phase::kUnmasking));
  EXPECT_EQ(world_.GetRound(round().round_id()).uploaded, 20U);
}

TEST_F(RoundProtocol, DevicesThatFellOutHearThatTheRoundIsClosedToThem) {
  cohort_->PlayTo(Phase::kUnmasking, {.advertise = 19, .share = 18, .upload = 17});
  for (const std::size_t number : {18, 19, 20}) {
    EXPECT_EQ(device(number).Poll(round(), Phase::kSelecting).error().reason(), "ROUND_CLOSED") << number;
  }
  EXPECT_EQ(device(18).Upload(round()).reason(), "WRONG_PHASE");
  ASSERT_TRUE(device(1).Unmask(round()).ok());
  EXPECT_TRUE(device(1).Unmask(round()).ok());
  const auto empty = Await<Phase>([&](auto answer) { round().Unmask(device(2).who(), {}, answer); });
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().reason(), "BAD_ANSWER");
  cohort_->Unmask(17);
  ASSERT_TRUE(cohort_->Enter(Phase::kCommitted));
  EXPECT_EQ(device(3).Poll(round(), Phase::kUnmasking)->phase, Phase::kCommitted);
  EXPECT_EQ(device(3).SendShares(round(), {}).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(device(20).Advertise(round()).reason(), "ROUND_CLOSED");
}

TEST_F(RoundProtocol, AnEndedRoundIsClosedAlsoAfterItsObjectIsGone) {
  cohort_->Play({});
  ASSERT_TRUE(world_.UntilWithTime([&] { return world_.GetTask(task_).state == TaskState::kDone; }));
  world_.StopProcess();
  world_.StartProcess();
  EXPECT_EQ(world_.coordinator->FindRound(MakeRoundId(task_, 1)).error().reason(), "ROUND_CLOSED");
}

TEST_F(RoundProtocol, LongPollsEndWithThePhaseWithTimeOrWithANewerOne) {
  cohort_->Join();
  auto poll = [&](Millis wait) {
    auto promise = std::make_shared<std::promise<Result<PhaseUpdate>>>();
    round().AwaitPhase(device(1).who(), Phase::kSelecting, wait, [promise](auto update) { promise->set_value(update); });
    return promise->get_future();
  };
  auto first = poll(Millis(30'000));
  auto second = poll(Millis(5'000));
  EXPECT_EQ(first.get()->phase, Phase::kSelecting);  // sent home
  ASSERT_TRUE(world_.UntilWithTime([&] { return second.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  EXPECT_EQ(second.get()->phase, Phase::kSelecting);
  auto third = poll(Millis(30'000));
  cohort_->Advertise(20);
  const auto update = third.get();
  ASSERT_TRUE(update);
  EXPECT_EQ(update->phase, Phase::kTraining);
  ASSERT_TRUE(update->training);
  const auto shape = secagg::ShapeOf(cohort_->encoding(), kParameters);
  EXPECT_EQ(update->training->members, 20U);
  EXPECT_EQ(update->training->graph, *secagg::DeriveParameters(20, AssumptionsOf(SampleSpec())));
  EXPECT_EQ(update->training->config.vector_length, shape->elements);
  EXPECT_EQ(update->training->config.element_bits, shape->element_bits);
}

class Recorder final : public TaskWatcher {
 public:
  struct Log {
    std::mutex mutex;
    std::vector<std::string> lines;  // phases and ends
    std::vector<TaskEvent> events;   // all
  };
  explicit Recorder(std::shared_ptr<Log> log) : log_(std::move(log)) {}
  bool Push(const TaskEvent& event) override {
    std::lock_guard lock(log_->mutex);
    std::string line = event.round ? std::string(PhaseName(event.round->phase)) : "-";
    if (event.task.state != TaskState::kRunning) line += " ended";
    if (log_->lines.empty() || log_->lines.back() != line) log_->lines.push_back(std::move(line));
    log_->events.push_back(event);
    return true;
  }
  bool listening() const override { return true; }

 private:
  const std::shared_ptr<Log> log_;
};

TEST_F(RoundProtocol, WatchersHearOfEachPhaseOnceAndOfTheEnd) {
  cohort_->Join();
  auto log = std::make_shared<Recorder::Log>();
  ASSERT_TRUE(world_.coordinator->Watch(task_, std::make_unique<Recorder>(log)).ok());
  EXPECT_EQ(world_.coordinator->Watch("unknown", std::make_unique<Recorder>(log)).reason(), "TASK_UNKNOWN");
  cohort_->Play({});
  auto ended = [&] {
    std::lock_guard lock(log->mutex);
    return !log->lines.empty() && log->lines.back() == "COMMITTED ended";
  };
  ASSERT_TRUE(world_.UntilWithTime(ended));
  std::lock_guard lock(log->mutex);
  EXPECT_EQ(log->lines, (std::vector<std::string>{"SELECTING", "TRAINING", "COLLECTING", "UNMASKING", "AGGREGATING",
                                                  "VALIDATING", "COMMITTED", "COMMITTED ended"}));
}

TEST_F(RoundProtocol, WatchersHearOfCountsWithinAPhaseButNotOfEachDevice) {
  cohort_->Join();
  auto log = std::make_shared<Recorder::Log>();
  ASSERT_TRUE(world_.coordinator->Watch(task_, std::make_unique<Recorder>(log)).ok());
  const auto heard = [&](auto count) {
    std::lock_guard lock(log->mutex);
    std::vector<std::uint32_t> counts;
    for (const auto& event : log->events) {
      if (event.round && count(*event.round) > 0) counts.push_back(count(*event.round));
    }
    return counts;
  };
  const auto advertised = [](const Round& round) { return round.phase == Phase::kSelecting ? round.advertised : 0; };
  const auto comes = [&](auto count, std::uint32_t wanted) {
    return world_.UntilWithTime([&] {
      const auto counts = heard(count);
      return !counts.empty() && counts.back() == wanted;
    });
  };
  cohort_->Advertise(10);  // no time passes meanwhile, but what was to be told before may come in between
  EXPECT_TRUE(comes(advertised, 10));
  EXPECT_LE(heard(advertised).size(), 2U);
  for (std::size_t number = 11; number <= 20; ++number) EXPECT_TRUE(device(number).Advertise(round()).ok());
  ASSERT_TRUE(cohort_->Enter(Phase::kTraining));
  cohort_->Share(3);
  EXPECT_TRUE(comes([](const Round& round) { return round.phase == Phase::kTraining ? round.shared : 0; }, 3));
}

TEST_F(RoundProtocol, CancellingATaskEndsItsRound) {
  cohort_->PlayTo(Phase::kCollecting, {});
  const auto cancelled = world_.coordinator->CancelTask("cancel", task_);
  ASSERT_TRUE(cancelled);
  EXPECT_EQ(cancelled->state, TaskState::kCancelled);
  ASSERT_TRUE(cohort_->Enter(Phase::kFailed));
  EXPECT_EQ(world_.GetRound(MakeRoundId(task_, 1)).failure_reason, failure::kTaskCancelled);
  EXPECT_EQ(world_.registry.versions(), 1U);
}

TEST_F(RoundProtocol, TasksThatCannotRunAreRefusedAtOnce) {
  TaskSpec spec = SampleSpec();
  spec.epochs = 0;
  EXPECT_EQ(world_.coordinator->CreateTask("r1", "p", spec).error().reason(), "BAD_TASK");
  spec = SampleSpec();
  spec.model = "unknown";
  EXPECT_EQ(world_.coordinator->CreateTask("r2", "p", spec).error().reason(), "MODEL_UNKNOWN");
}

TEST_F(RoundProtocol, TheSelectorIsToldThePlanAndTheSeedOfTheRound) {
  cohort_->Join();
  const auto request = world_.selector.open().at(MakeRoundId(task_, 1));
  EXPECT_EQ(request.cohort.seed, RoundSeed(SampleSpec().cohort.seed, 1));
  EXPECT_EQ(request.plan.manifest_path, "fashion/versions/1.json");
  EXPECT_EQ(request.plan.parameter_count, kParameters);
  EXPECT_EQ(request.plan.value_bits, cohort_->encoding().value_bits);
  EXPECT_EQ(request.plan.keep_fraction, 1);
  EXPECT_FALSE(request.plan.rotate);
  EXPECT_EQ(request.plan.participants_max, 20U);
  EXPECT_EQ(request.plan.encoding_seed, EncodingSeed(MakeRoundId(task_, 1), SampleSpec().cohort.seed));
  EXPECT_EQ(request.plan.adversary, secagg::Adversary::kSemiHonest);
  EXPECT_EQ(request.deadline, world_.GetRound(MakeRoundId(task_, 1)).started + Millis(120'000));
}

}  // namespace
}  // namespace edgefleet::rounds
