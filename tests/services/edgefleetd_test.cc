// The built edgefleetd: its command line, and its end on SIGTERM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/services/health_watch.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {
namespace {

using test::RunProgram;
using testing::AllOf;
using testing::HasSubstr;

const std::string kProgram = EDGEFLEETD_PROGRAM;

class EdgefleetdTest : public testing::Test {
 protected:
  std::string ConfigFile(std::string_view yaml) {
    const auto path = dir_.path() / "edgefleet.yaml";
    EXPECT_TRUE(WriteFileAtomic(path, AsBytes(yaml)).ok());
    return path;
  }
  test::TempDir dir_;
};

TEST_F(EdgefleetdTest, CheckConfigSaysWhetherItIsRight) {
  const auto good = RunProgram({kProgram, "--check-config", "--config", ConfigFile("role: selector\n")});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  const auto bad = RunProgram({kProgram, "--check-config", "--config", ConfigFile("role: all\nreddis_url: x\n")});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.err, AllOf(HasSubstr("line 2"), HasSubstr("'redis_url'"), HasSubstr("[BAD_CONFIG]")));
  const auto missing = RunProgram({kProgram, "--check-config", "--config", dir_.path() / "none.yaml"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_EQ(RunProgram({kProgram, "--check-config", "--role", "aggregator"}).exit_code, 2);
}

TEST_F(EdgefleetdTest, PrintedConfigurationIsValidInputAndHidesPasswords) {
  const auto printed =
      RunProgram({kProgram, "--print-config", "--config", ConfigFile("log: {level: warn}\n"), "--role", "selector"},
                 {"EDGEFLEET_REDIS_URL=redis://u:s3cret@cache:6379/0"});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  EXPECT_THAT(printed.out, AllOf(HasSubstr("level: \"warn\""), HasSubstr("redis://u:***@cache")));
  const auto again = RunProgram({kProgram, "--print-config", "--config", ConfigFile(printed.out)});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.out, printed.out);
}

TEST_F(EdgefleetdTest, UsageErrorsExitWithTwoAndHelpWithZero) {
  EXPECT_EQ(RunProgram({kProgram, "--no-such-option"}).exit_code, 2);
  EXPECT_EQ(RunProgram({kProgram, "surplus"}).exit_code, 2);
  EXPECT_EQ(RunProgram({kProgram, "--role", "king", "--check-config"}).exit_code, 2);
  const auto help = RunProgram({kProgram, "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("Examples:"));
  EXPECT_THAT(RunProgram({kProgram, "--version"}).out, HasSubstr("edgefleetd "));
}

TEST_F(EdgefleetdTest, ServesUntilSigtermAndEndsInOrder) {
  const auto ports = dir_.path() / "ports.json";
  // The wait for balancers is long; the second signal cuts it short.
  test::ChildProcess server({kProgram, "--role", "selector", "--config", ConfigFile("server: {readiness_spread_ms: 600000}\n"),
                             "--data-dir", dir_.path() / "data", "--listen-grpc", "127.0.0.1:0", "--listen-metrics",
                             "127.0.0.1:0", "--port-file", ports});
  ASSERT_TRUE(server.WaitForLine("\"event\":\"serving\"").has_value());
  const auto content = ReadFile(ports, 1000);
  ASSERT_TRUE(content.has_value());
  const std::string grpc_address = nlohmann::json::parse(AsText(*content))["grpc"];
  {
    HealthWatch health(grpc_address, "");
    EXPECT_EQ(health.Next(), HealthWatch::kServing);
    server.Signal(SIGTERM);
    EXPECT_EQ(health.Next(), HealthWatch::kNotServing);
  }
  server.Signal(SIGTERM);
  EXPECT_TRUE(server.WaitForLine("\"event\":\"stopped\"").has_value());
  EXPECT_EQ(server.Wait(), 0);
}

TEST_F(EdgefleetdTest, ATakenPortIsAClearErrorWithExitCodeOne) {
  test::ChildProcess first({kProgram, "--role", "selector", "--data-dir", dir_.path() / "a", "--listen-grpc", "127.0.0.1:0",
                            "--listen-metrics", "127.0.0.1:0"});
  const auto line = first.WaitForLine("\"event\":\"serving\"");
  ASSERT_TRUE(line.has_value());
  const std::string taken = nlohmann::json::parse(*line)["fields"]["grpc"];
  const auto second = RunProgram({kProgram, "--role", "selector", "--data-dir", dir_.path() / "b", "--listen-grpc", taken,
                                  "--listen-metrics", "127.0.0.1:0"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, AllOf(HasSubstr(taken), HasSubstr("[CANNOT_LISTEN]")));
}

}  // namespace
}  // namespace edgefleet::services
