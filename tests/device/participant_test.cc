#include "device_client/federated/participant.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <limits>
#include <thread>

#include "base/crypto/crypto.h"
#include "secagg/encoding.h"
#include "tests/device/in_memory_round.h"

namespace edgefleet::device {
namespace {

constexpr std::uint64_t kParameters = 500;
constexpr std::uint32_t kDevices = 6;
constexpr double kClip = 10.0;

Assignment MakeAssignment() {
  Assignment assignment;
  assignment.round_id = "round-1";
  assignment.plan.parameter_count = kParameters;
  assignment.plan.clip_norm = kClip;
  assignment.plan.example_count_max = 100;
  assignment.plan.value_bits = 20;
  return assignment;
}

// Device k moves every parameter by 0.01 * (k + 1) and has 10 * (k + 1) examples.
TrainFunction Training(std::size_t k) {
  return [k]() -> Result<LocalUpdate> {
    return LocalUpdate{std::vector<float>(kParameters, 0.01F * static_cast<float>(k + 1)), 10 * (k + 1)};
  };
}

struct Outcome {
  std::vector<Result<RoundResult>> results;
};

// One thread a device; `train` and `control` may differ by device.
Outcome RunDevices(
    InMemoryRound& round, const std::function<TrainFunction(std::size_t)>& train,
    const std::function<Control(std::size_t)>& control = [](std::size_t) { return Control{}; }) {
  std::vector<std::future<Result<RoundResult>>> running;
  for (std::size_t k = 0; k < kDevices; ++k) {
    running.push_back(std::async(std::launch::async, [&, k]() -> Result<RoundResult> {
      crypto::SecureRandom random;
      const auto gateway = round.Join();
      return TakePart(*gateway, MakeAssignment(), train(k), random, control(k));
    }));
  }
  Outcome run;
  for (auto& future : running) run.results.push_back(future.get());
  return run;
}

double DecodedAverage(const InMemoryRound& round, std::uint32_t participants) {
  const secagg::Encoding encoding{kClip, 100, kDevices, 20};
  auto sum = secagg::DecodeSum(round.sum(), participants, kParameters, encoding);
  EXPECT_TRUE(sum) << sum.error().ToString();
  const auto average = secagg::Average(std::move(*sum));
  EXPECT_EQ(average.size(), kParameters);
  double mean = 0;
  for (const float value : average) mean += static_cast<double>(value) / static_cast<double>(average.size());
  return mean;
}

TEST(Participant, ARoundSumsWhatTheDevicesTrained) {
  InMemoryRound round("round-1", kParameters, kDevices, 4);
  const Outcome run = RunDevices(round, Training);
  for (const auto& result : run.results) {
    ASSERT_TRUE(result) << result.error().ToString();
    EXPECT_TRUE(result->contributed);
    EXPECT_EQ(result->phase, Phase::kCommitted);
  }
  // sum of (k+1)^2 / sum of (k+1), times 0.01
  EXPECT_NEAR(DecodedAverage(round, kDevices), 0.01 * 91.0 / 21.0, 1e-4);
}

TEST(Participant, ADeviceWhoseTrainingFailsLeavesAndTheRestFinish) {
  InMemoryRound round("round-1", kParameters, kDevices, 4);
  const Outcome run = RunDevices(round, [](std::size_t k) -> TrainFunction {
    if (k != 2) return Training(k);
    return []() -> Result<LocalUpdate> { return MakeError(StatusCode::kOutOfRange, "DIVERGED", "loss is not finite"); };
  });
  ASSERT_FALSE(run.results[2]);
  EXPECT_EQ(run.results[2].error().reason(), "DIVERGED");
  EXPECT_EQ(round.left(), std::vector<std::string>{"DIVERGED"});
  EXPECT_TRUE(run.results[0] && run.results[0]->contributed);
  EXPECT_NEAR(DecodedAverage(round, kDevices - 1), 0.01 * (91.0 - 9.0) / (21.0 - 3.0), 1e-4);
}

TEST(Participant, NotFiniteUpdatesNeverLeaveTheDevice) {
  InMemoryRound round("round-1", kParameters, kDevices, 4);
  const Outcome run = RunDevices(round, [](std::size_t k) -> TrainFunction {
    if (k != 0) return Training(k);
    return []() -> Result<LocalUpdate> {
      return LocalUpdate{std::vector<float>(kParameters, std::numeric_limits<float>::quiet_NaN()), 10};
    };
  });
  ASSERT_FALSE(run.results[0]);
  EXPECT_EQ(run.results[0].error().reason(), "UPDATE_NOT_FINITE");
  EXPECT_EQ(round.phase(), Phase::kCommitted);
}

TEST(Participant, AStopLeavesPolitely) {
  InMemoryRound round("round-1", kParameters, kDevices, 4);
  std::stop_source stop;
  const Outcome run = RunDevices(round, Training, [&](std::size_t k) {
    Control control;
    if (k == 1) {
      control.stop = stop.get_token();
      control.on_step = [&](RoundStep step) {
        if (step == RoundStep::kSharedKeys) stop.request_stop();
      };
    }
    return control;
  });
  ASSERT_FALSE(run.results[1]);
  EXPECT_EQ(run.results[1].error().reason(), "HOST_STOPPED");
  EXPECT_EQ(round.left(), std::vector<std::string>{"HOST_STOPPED"});
  EXPECT_EQ(round.phase(), Phase::kCommitted);
}

TEST(Participant, RefusesARosterThatLowersTheThreshold) {
  InMemoryRound round("round-1", kParameters, kDevices, 4);
  round.tamper = [](PhaseUpdate& update) {
    if (update.phase == Phase::kTraining) update.setup.threshold = 2;
  };
  const Outcome run = RunDevices(round, Training);
  for (const auto& result : run.results) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason(), "UNSAFE_THRESHOLD");
  }
}

TEST(Participant, RefusesSurvivorsThatDoNotListIt) {
  InMemoryRound round("round-1", kParameters, kDevices, 4);
  round.tamper = [](PhaseUpdate& update) {
    if (update.phase == Phase::kUnmasking) update.survivors.pop_back();
  };
  const Outcome run = RunDevices(round, Training);
  std::size_t refused = 0;
  for (const auto& result : run.results) {
    if (!result) ++refused;
  }
  EXPECT_GE(refused, 1U);
}

TEST(Participant, AVectorLengthThatIsNotThePlansIsRefused) {
  InMemoryRound round("round-1", kParameters + 1, kDevices, 4);
  const Outcome run = RunDevices(round, Training);
  for (const auto& result : run.results) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason(), "BAD_PLAN");
  }
}

// Fails each operation once before it lets it through: what a flaky network does.
class FlakyGateway final : public RoundGateway {
 public:
  explicit FlakyGateway(std::unique_ptr<RoundGateway> inner) : inner_(std::move(inner)) {}
  Status AdvertiseKeys(const secagg::KeyAdvert& advert) override { return Flaky() ? inner_->AdvertiseKeys(advert) : Outage(); }
  Result<PhaseUpdate> AwaitPhase(Phase after, std::chrono::milliseconds wait) override {
    if (!Flaky()) return MakeError(Outage());
    return inner_->AwaitPhase(after, wait);
  }
  Status ShareKeys(const std::vector<secagg::SealedShares>& shares) override {
    return Flaky() ? inner_->ShareKeys(shares) : Outage();
  }
  Status UploadUpdate(const std::vector<std::uint32_t>& words) override {
    return Flaky() ? inner_->UploadUpdate(words) : Outage();
  }
  Status Unmask(const secagg::UnmaskAnswer& answer) override { return Flaky() ? inner_->Unmask(answer) : Outage(); }
  Status Leave(const std::string& reason) override { return inner_->Leave(reason); }

 private:
  bool Flaky() { return ++calls_ % 2 == 0; }
  static Status Outage() { return Unavailable("UNREACHABLE", "connection refused"); }
  std::unique_ptr<RoundGateway> inner_;
  int calls_ = 0;
};

TEST(Participant, OutagesAreRiddenOut) {
  InMemoryRound round("round-1", kParameters, 3, 2);
  std::vector<std::future<Result<RoundResult>>> running;
  for (std::size_t k = 0; k < 3; ++k) {
    running.push_back(std::async(std::launch::async, [&, k]() -> Result<RoundResult> {
      crypto::SecureRandom random;
      FlakyGateway gateway(round.Join());
      return TakePart(gateway, MakeAssignment(), Training(k), random, {});
    }));
  }
  for (auto& future : running) {
    const auto result = future.get();
    ASSERT_TRUE(result) << result.error().ToString();
    EXPECT_TRUE(result->contributed);
  }
}

}  // namespace
}  // namespace edgefleet::device
