// An aggregator without its process: a coordinator over a store and a spool in a temporary folder, fake neighbours, fake time,
// and devices that run the real client side of secure aggregation.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <memory>
#include <thread>

#include "aggregator/rounds/coordinator.h"
#include "aggregator/rounds/store/sql_round_store.h"
#include "base/crypto/crypto.h"
#include "secagg/client.h"
#include "tests/rounds/fakes.h"
#include "tests/rounds/sample.h"

namespace edgefleet::rounds {

// Waits for the one answer of an operation.
template <typename T, typename Start>
Result<T> Await(Start start) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  start([promise](Result<T> result) { promise->set_value(std::move(result)); });
  return future.get();
}

inline constexpr std::size_t kParameters = 64;

class World {
 public:
  World() : folder_(std::filesystem::temp_directory_path() / ("rounds-" + crypto::RandomId())), registry(Base()) {
    std::filesystem::create_directories(folder_ / "candidates");
    StartProcess();
  }
  ~World() {
    StopProcess();
    std::filesystem::remove_all(folder_);
  }

  static std::vector<float> Base() {
    std::vector<float> base(kParameters);
    for (std::size_t i = 0; i < base.size(); ++i) base[i] = static_cast<float>(i) * 0.01F;
    return base;
  }

  // One process: its pools, its store connection, its coordinator.
  void StartProcess() {
    auto opened = OpenSqliteRoundStore(folder_ / "rounds.db");
    ASSERT_TRUE(opened) << opened.error().ToString();
    store = std::move(*opened);
    auto spooled =
        aggregation::UpdateSpool::Open({.folder = folder_ / "spool", .bytes_max = 1 << 26, .upload_bytes_max = 1 << 20});
    ASSERT_TRUE(spooled) << spooled.error().ToString();
    spool = std::move(*spooled);
    timer = std::make_unique<ManualTimer>();
    control_ = std::make_unique<ThreadPool>("control", 2, 4096);
    work_ = std::make_unique<ThreadPool>("work", 2, 4096);
    coordinator = std::make_unique<Coordinator>(RoundPorts{.store = *store,
                                                           .models = registry,
                                                           .cohorts = selector,
                                                           .spool = *spool,
                                                           .clock = clock,
                                                           .timer = *timer,
                                                           .control = *control_,
                                                           .work = *work_,
                                                           .random = random_,
                                                           .logger = logger_,
                                                           .candidates = folder_ / "candidates"},
                                                CoordinatorOptions{.owner = "a"}, metrics_);
    ASSERT_TRUE(coordinator->Start().ok());
  }
  void StopProcess() {
    coordinator->Stop();
    KillProcess();
  }
  // Without a word to the store: what runs is cut off.
  void KillProcess() {
    timer->Clear();
    work_->Stop();
    control_->Stop();
    coordinator.reset();
    spool.reset();
    store.reset();
  }
  std::filesystem::path CandidateOf(const std::string& round_id) const {
    return CandidateFile(folder_ / "candidates", round_id);
  }

  // Lets pools and due timers work until `done`; false when that takes too long in real time.
  template <typename Predicate>
  bool Until(Predicate done) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < limit) {
      if (done()) return true;
      timer->RunDue(clock.Now());
      std::this_thread::yield();
    }
    return false;
  }
  // The same with time passing in steps.
  template <typename Predicate>
  bool UntilWithTime(Predicate done, Millis step = Millis(100)) {
    return Until([&] {
      if (done()) return true;
      clock.Advance(step);
      return false;
    });
  }

  std::string StartTask(const TaskSpec& spec) {
    auto task = coordinator->CreateTask("create-" + crypto::RandomId(), "print", spec);
    EXPECT_TRUE(task) << task.error().ToString();
    return task ? task->task_id : "";
  }
  Task GetTask(const std::string& id) { return *store->GetTask(id); }
  Round GetRound(const std::string& id) {
    auto round = store->GetRound(id);
    return round ? *round : Round();
  }
  // Waits until a round has come to `phase`, or beyond.
  void Reach(const std::string& round_id, Phase phase) {
    ASSERT_TRUE(
        UntilWithTime([&] { return !GetRound(round_id).round_id.empty() && GetRound(round_id).phase >= phase; }, Millis(0)))
        << round_id << " never reached " << PhaseName(phase) << ", it is " << PhaseName(GetRound(round_id).phase);
  }
  // Waits until the coordinator runs a round whose selection it knows.
  std::shared_ptr<ActiveRound> Running(const std::string& round_id, const Participant& device) {
    std::shared_ptr<ActiveRound> round;
    EXPECT_TRUE(UntilWithTime([&] {
      auto found = coordinator->FindRound(round_id);
      if (!found) return false;
      round = *found;
      auto probe = Await<PhaseUpdate>([&](auto answer) { round->AwaitPhase(device, Phase::kSelecting, Millis(0), answer); });
      return probe.has_value();
    })) << round_id;
    return round;
  }

 private:
  const std::filesystem::path folder_;
  crypto::SecureRandom random_;
  NullLogger logger_;
  NullMetrics metrics_;

 public:
  FakeClock clock;
  FakeRegistry registry;
  FakeSelector selector;
  std::unique_ptr<RoundStore> store;
  std::unique_ptr<aggregation::UpdateSpool> spool;
  std::unique_ptr<ManualTimer> timer;

 private:
  std::unique_ptr<ThreadPool> control_;
  std::unique_ptr<ThreadPool> work_;

 public:
  std::unique_ptr<Coordinator> coordinator;
};

// A device's part in one round, step by step.
class SimDevice {
 public:
  SimDevice(std::uint32_t number, std::string round_id) : number_(number), client_(round_id, random_) {
    const AssignedDevice assigned = FakeSelector::Device(number);
    who_ = {std::move(round_id), assigned.device_id, assigned.token};
  }

  const Participant& who() const { return who_; }
  std::uint64_t examples() const { return number_ * 7; }  // some above the sample task's maximum of 100
  std::vector<float> Update() const {
    SeededRandom random(number_);
    std::vector<float> update(kParameters);
    for (float& value : update) value = static_cast<float>(random.Unit() - 0.5) * (number_ % 3 == 0 ? 2.0F : 0.1F);
    return update;
  }

  Status Advertise(ActiveRound& round) {
    EF_ASSIGN_OR_RETURN(const auto advert, client_.AdvertiseKeys());
    auto phase = Await<Phase>([&](auto answer) { round.AdvertiseKeys(who_, advert, answer); });
    return phase ? OkStatus() : phase.error();
  }
  Result<PhaseUpdate> Poll(ActiveRound& round, Phase after) {
    return Await<PhaseUpdate>([&](auto answer) { round.AwaitPhase(who_, after, Millis(0), answer); });
  }
  Status Share(ActiveRound& round) {
    EF_ASSIGN_OR_RETURN(const auto update, Poll(round, Phase::kSelecting));
    if (!update.training) return FailedPrecondition("NO_ROSTER", "not training");
    EF_ASSIGN_OR_RETURN(shares_, client_.ShareKeys(*update.training));
    return SendShares(round, shares_);
  }
  Status SendShares(ActiveRound& round, std::vector<secagg::SealedShares> shares) {
    auto phase = Await<Phase>([&](auto answer) { round.ShareKeys(who_, std::move(shares), answer); });
    return phase ? OkStatus() : phase.error();
  }
  Status Mask(ActiveRound& round, const secagg::Encoding& encoding) {
    EF_ASSIGN_OR_RETURN(auto words, secagg::EncodeUpdate(Update(), examples(), encoding, random_));
    return MaskWords(round, std::move(words));
  }
  Status MaskWords(ActiveRound& round, std::vector<std::uint32_t> words) {
    EF_ASSIGN_OR_RETURN(const auto update, Poll(round, Phase::kTraining));
    if (!update.collecting) return FailedPrecondition("NO_INBOX", "not collecting");
    EF_RETURN_IF_ERROR(client_.Mask(*update.collecting, words));
    masked_ = std::move(words);
    return OkStatus();
  }
  ByteView masked() const { return std::as_bytes(std::span(masked_)); }
  Status Upload(ActiveRound& round) { return Send(round, masked(), crypto::Sha256(masked()), 0); }
  Status Send(ActiveRound& round, ByteView bytes, const crypto::Sha256Digest& digest, std::uint64_t offset) {
    EF_ASSIGN_OR_RETURN(const auto upload, Await<std::shared_ptr<rounds::Upload>>([&](auto answer) {
                          round.BeginUpload(who_, masked().size(), ToBytes(digest), offset, answer);
                        }));
    for (std::size_t at = offset; at < bytes.size(); at += 100) {
      EF_RETURN_IF_ERROR(upload->Append(bytes.subspan(at, std::min<std::size_t>(100, bytes.size() - at))));
    }
    auto progress = Await<aggregation::UploadProgress>([&](auto answer) { upload->Finish(answer); });
    return progress ? OkStatus() : progress.error();
  }
  Status Unmask(ActiveRound& round) {
    EF_ASSIGN_OR_RETURN(const auto update, Poll(round, Phase::kCollecting));
    if (!update.unmasking) return FailedPrecondition("NO_SURVIVORS", "not unmasking");
    EF_ASSIGN_OR_RETURN(const auto message, client_.Unmask(*update.unmasking));
    auto phase = Await<Phase>([&](auto answer) { round.Unmask(who_, message, answer); });
    return phase ? OkStatus() : phase.error();
  }
  Status Leave(ActiveRound& round) {
    auto phase = Await<Phase>([&](auto answer) { round.Leave(who_, "test", answer); });
    return phase ? OkStatus() : phase.error();
  }

 private:
  const std::uint32_t number_;
  crypto::SecureRandom random_;
  secagg::Client client_;
  Participant who_;
  std::vector<secagg::SealedShares> shares_;
  std::vector<std::uint32_t> masked_;
};

// How many devices get through each step of a round.
struct Turnout {
  std::size_t advertise = 20;
  std::size_t share = 20;
  std::size_t upload = 20;
  std::size_t unmask = 20;
};

// Plays a round with real clients: those that drop out are silent from then on, and time passes until each phase has ended.
class Cohort {
 public:
  Cohort(World& world, std::string round_id) : world_(world), round_id_(std::move(round_id)) {
    for (std::uint32_t i = 1; i <= world.selector.devices; ++i) {
      devices_.push_back(std::make_unique<SimDevice>(i, round_id_));
    }
    encoding_ = *MakeEncoding(SampleSpec());
  }

  SimDevice& device(std::size_t number) { return *devices_.at(number - 1); }
  ActiveRound& round() { return *round_; }
  const secagg::Encoding& encoding() const { return encoding_; }

  void Join() { round_ = world_.Running(round_id_, device(1).who()); }
  void Advertise(std::size_t count) {
    Each(count, [&](SimDevice& d) { return d.Advertise(*round_); });
  }
  void Share(std::size_t count) {
    Each(count, [&](SimDevice& d) { return d.Share(*round_); });
  }
  void Mask(std::size_t count) {
    Each(count, [&](SimDevice& d) { return d.Mask(*round_, encoding_); });
  }
  void Upload(std::size_t count) {
    Each(count, [&](SimDevice& d) { return d.Upload(*round_); });
  }
  void Unmask(std::size_t count) {
    Each(count, [&](SimDevice& d) { return d.Unmask(*round_); });
  }
  // True once the round is in `phase`; time passes while it is not.
  bool Enter(Phase phase) {
    const bool there = world_.UntilWithTime([&] { return world_.GetRound(round_id_).phase >= phase; }, Millis(50));
    EXPECT_TRUE(there) << PhaseName(phase);
    return world_.GetRound(round_id_).phase == phase && Visible(phase);
  }
  Round Play(const Turnout& turnout) {
    PlayTo(Phase::kFailed, turnout);
    return world_.GetRound(round_id_);
  }
  // Plays until the round is in `phase`, or has failed.
  void PlayTo(Phase phase, const Turnout& turnout) {
    Join();
    if (phase == Phase::kSelecting || !round_) return;
    Advertise(turnout.advertise);
    if (!Enter(Phase::kTraining) || phase == Phase::kTraining) return;
    Share(turnout.share);
    if (!Enter(Phase::kCollecting) || phase == Phase::kCollecting) return;
    Mask(turnout.upload);
    Upload(turnout.upload);
    if (!Enter(Phase::kUnmasking) || phase == Phase::kUnmasking) return;
    Unmask(turnout.unmask);
    if (phase > Phase::kUnmasking) {
      EXPECT_TRUE(world_.UntilWithTime([&] { return world_.GetRound(round_id_).phase >= std::min(phase, Phase::kCommitted); },
                                       Millis(50)));
    }
  }

 private:
  template <typename Step>
  void Each(std::size_t count, Step step) {
    for (std::size_t i = 1; i <= count; ++i) {
      const Status status = step(device(i));
      EXPECT_TRUE(status.ok()) << "device " << i << ": " << status.ToString();
    }
  }
  // The store knows a phase a moment before devices do.
  bool Visible(Phase phase) {
    return world_.Until([&] {
      auto update = device(1).Poll(*round_, Phase::kSelecting);
      return !update || update->phase >= phase;
    });
  }

  World& world_;
  const std::string round_id_;
  std::vector<std::unique_ptr<SimDevice>> devices_;
  std::shared_ptr<ActiveRound> round_;
  secagg::Encoding encoding_;
};

}  // namespace edgefleet::rounds
