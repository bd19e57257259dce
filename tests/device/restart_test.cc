// kill -9 of a device's process after each step of an active round, and what it does when it comes back.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "device_client/federated/guard_file.h"
#include "tests/device/participants.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::device {
namespace {

using secagg::Adversary;

// In a child process: device 0 takes its part in round-1 and stops for good after `last`, when it has told the parent.
[[noreturn]] void TakePartUntil(RoundStep last, const std::filesystem::path& file, int told) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::filesystem::remove(file);
    Participants fleet(Adversary::kActive, TestEncoding(), "round-1", /*patient=*/true);
    const auto guard = GuardFile::Open(file).value();
    fleet.devices[0].guard = guard.get();
    fleet.devices[0].control.on_step = [&](RoundStep step) {
      if (step != last) return;
      const char done = 1;
      if (::write(told, &done, 1) != 1) ::_exit(2);
      while (true) ::pause();
    };
    static_cast<void>(fleet.Run());
    if (last != RoundStep::kConfirmed) break;  // the device may not have been in the committee: another try from scratch
  }
  ::_exit(3);
}

class KilledAfter : public ::testing::TestWithParam<RoundStep> {};
INSTANTIATE_TEST_SUITE_P(EachStep, KilledAfter,
                         ::testing::Values(RoundStep::kAdvertisedKeys, RoundStep::kSharedKeys, RoundStep::kTrained,
                                           RoundStep::kUploaded, RoundStep::kConfirmed, RoundStep::kUnmasked));

TEST_P(KilledAfter, ComesBackIsNotCountedThereAndContributesToALaterRound) {
  const test::TempDir dir;
  const auto file = dir.path() / "said";
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(ends[0]);
    TakePartUntil(GetParam(), file, ends[1]);
  }
  ::close(ends[1]);
  char done = 0;
  EXPECT_EQ(::read(ends[0], &done, 1), 1) << "the step was not reached";
  ::kill(child, SIGKILL);
  ::close(ends[0]);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);

  const auto guard = GuardFile::Open(file).value();
  EXPECT_TRUE(guard->HasSaid("round-1", secagg::Statement::kAdvert));
  EXPECT_EQ(guard->HasSaid("round-1", secagg::Statement::kSurvivors), GetParam() >= RoundStep::kConfirmed);
  {
    Participants again(Adversary::kActive);
    again.devices[0].guard = guard.get();
    const auto result = again.RunOne(0);
    ASSERT_TRUE(result) << result.error().ToString();
    EXPECT_FALSE(result->contributed);
    EXPECT_EQ(result->reason, "ALREADY_SAID");
    EXPECT_EQ(again.devices[0].sent, (Sent{{"leave", 1}}));
  }
  Participants later(Adversary::kActive, TestEncoding(), "round-2");
  later.devices[0].guard = guard.get();
  const auto result = later.Run()[0];
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_TRUE(result->contributed);
}

}  // namespace
}  // namespace edgefleet::device
