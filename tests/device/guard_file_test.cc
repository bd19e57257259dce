#include "device_client/federated/guard_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::device {
namespace {

namespace fs = std::filesystem;
using secagg::Statement;

crypto::Sha256Digest Content(std::string_view text) { return crypto::Sha256(AsBytes(text)); }
std::string Round(std::size_t number) { return "round-" + std::to_string(number); }

class GuardFiles : public ::testing::Test {
 protected:
  std::unique_ptr<GuardFile> Open() const { return GuardFile::Open(file_).value(); }
  test::TempDir dir_;
  const fs::path file_ = dir_.path() / "said";
};

TEST_F(GuardFiles, SaysEachThingOnceAlsoAfterARestart) {
  ASSERT_TRUE(Open()->Bind("r", Statement::kAdvert, Content("a")).ok());
  for (const auto& guard : {Open(), Open()}) {
    EXPECT_TRUE(guard->Bind("r", Statement::kAdvert, Content("a")).ok());
    EXPECT_EQ(guard->Bind("r", Statement::kAdvert, Content("b")).reason(), "ALREADY_SAID");
    EXPECT_TRUE(guard->Bind("r", Statement::kSurvivors, Content("b")).ok());
    EXPECT_EQ(guard->Bind("r", Statement::kSurvivors, Content("a")).reason(), "ALREADY_SAID");
    EXPECT_TRUE(guard->Bind("r2", Statement::kAdvert, Content("b")).ok());
  }
}

TEST_F(GuardFiles, KeepsTheNewestStatementsAndItsSizeBounded) {
  const auto guard = Open();
  for (std::size_t i = 0; i < kStatementsMax + 10; ++i) {
    ASSERT_TRUE(guard->Bind(Round(i), Statement::kAdvert, Content("a")).ok());
  }
  const auto full = fs::file_size(file_);
  EXPECT_LT(full, 80'000U);
  const auto again = Open();
  for (std::size_t i = 10; i < kStatementsMax + 10; ++i) {
    EXPECT_EQ(again->Bind(Round(i), Statement::kAdvert, Content("b")).reason(), "ALREADY_SAID") << i;
  }
  EXPECT_TRUE(again->Bind(Round(9), Statement::kAdvert, Content("b")).ok());
  EXPECT_EQ(fs::file_size(file_), full);
}

TEST_F(GuardFiles, ADamagedFileIsRefusedRatherThanForgotten) {
  const auto guard = Open();
  for (std::size_t i = 0; i < 3; ++i) ASSERT_TRUE(guard->Bind(Round(i), Statement::kAdvert, Content("a")).ok());
  const Bytes good = ReadFile(file_, 1000).value();
  const auto refused = [&](const Bytes& content) {
    EXPECT_TRUE(WriteFileAtomic(file_, content).ok());
    const auto opened = GuardFile::Open(file_);
    return !opened && opened.error().reason() == "GUARD_DAMAGED";
  };
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_TRUE(refused(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)))) << "cut to " << size;
  }
  for (std::size_t at = 0; at < good.size(); ++at) {
    Bytes altered = good;
    altered[at] ^= std::byte{0x10};
    EXPECT_TRUE(refused(altered)) << "bit flipped in byte " << at;
  }
  EXPECT_TRUE(refused(Bytes(1'000'000))) << "far too large";
  EXPECT_FALSE(refused(good));
}

// The child says things until it is killed, and tells what it has said through a pipe once Bind has returned.
TEST_F(GuardFiles, AKilledProcessForgetsNothingThatItHasSaid) {
  std::vector<std::size_t> said;
  for (std::size_t life = 0; life < 40; ++life) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto guard = GuardFile::Open(file_);
      for (std::size_t i = 1000 * life; guard; ++i) {
        if (!(*guard)->Bind(Round(i), Statement::kAdvert, Content("before")).ok()) break;
        if (::write(ends[1], &i, sizeof i) != sizeof i) break;
      }
      ::_exit(1);
    }
    ::close(ends[1]);
    // At a different place of a different Bind each time.
    std::size_t number = 0;
    for (std::size_t i = 0; i <= life % 12; ++i) {
      ASSERT_EQ(::read(ends[0], &number, sizeof number), static_cast<ssize_t>(sizeof number));
      said.push_back(number);
    }
    for (volatile std::size_t spin = 0; spin < life * 4'000;) spin = spin + 1;
    ::kill(child, SIGKILL);
    while (::read(ends[0], &number, sizeof number) == sizeof number) said.push_back(number);
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));

    ASSERT_LT(said.size(), kStatementsMax);
    const auto guard = Open();
    for (const std::size_t i : said) {
      ASSERT_EQ(guard->Bind(Round(i), Statement::kAdvert, Content("after")).reason(), "ALREADY_SAID") << i;
    }
  }
}

TEST_F(GuardFiles, WhatCannotBeWrittenIsNotSaid) {
  const auto guard = Open();
  ASSERT_TRUE(guard->Bind("r", Statement::kAdvert, Content("a")).ok());
  const Bytes before = ReadFile(file_, 1000).value();

  // A full disk: no file may grow beyond what there is.
  struct rlimit limit {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const struct rlimit full { before.size(), limit.rlim_max };
  const auto former = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  EXPECT_FALSE(guard->Bind("r", Statement::kSurvivors, Content("a")).ok());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, former);
  EXPECT_EQ(ReadFile(file_, 1000).value(), before);

  // A folder that is gone.
  fs::rename(dir_.path(), dir_.path().string() + "-away");
  EXPECT_FALSE(guard->Bind("r", Statement::kSurvivors, Content("a")).ok());
  fs::rename(dir_.path().string() + "-away", dir_.path());

  // The failures bound nothing, and bind again when there is room.
  EXPECT_TRUE(guard->Bind("r", Statement::kSurvivors, Content("b")).ok());
  EXPECT_EQ(Open()->Bind("r", Statement::kSurvivors, Content("a")).reason(), "ALREADY_SAID");
}

}  // namespace
}  // namespace edgefleet::device
