// Logs and metrics as machines will read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/trace.h"
#include "services/runtime/logging.h"
#include "services/runtime/prometheus_metrics.h"

namespace edgefleet::services {
namespace {

using testing::HasSubstr;
using testing::Not;

nlohmann::json Parsed(std::string_view event, std::vector<LogField> fields = {}) {
  const std::string line = FormatLogLine(FromUnixMillis(1'767'225'600'042), LogLevel::kWarn, event, "registry", fields);
  EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  return nlohmann::json::parse(line);
}

TEST(LogLine, HasTheAgreedMembers) {
  const auto line = Parsed("round committed", {{"round", "r1"}, {"updates", 12}, {"ok", true}});
  EXPECT_EQ(line["ts"], "2026-01-01T00:00:00.042Z");
  EXPECT_EQ(line["level"], "warn");
  EXPECT_EQ(line["event"], "round committed");
  EXPECT_EQ(line["role"], "registry");
  EXPECT_EQ(line["fields"]["round"], "r1");
  EXPECT_EQ(line["fields"]["updates"], "12");
  EXPECT_EQ(line["fields"]["ok"], "true");
  EXPECT_FALSE(line.contains("trace_id"));
  EXPECT_FALSE(Parsed("bare").contains("fields"));
}

TEST(LogLine, CarriesTheCurrentTrace) {
  crypto::SecureRandom random;
  const TraceContext trace = TraceContext::Generate(random);
  const TraceScope scope(trace);
  EXPECT_EQ(Parsed("x")["trace_id"], trace.TraceIdHex());
}

TEST(LogLine, EscapesWhateverComes) {
  const std::string nasty = "quote\" backslash\\ newline\n return\r tab\t bell\x07 zero" + std::string(1, '\0') + " del\x7f";
  EXPECT_EQ(Parsed(nasty, {{"k", nasty}})["fields"]["k"], nasty);
  EXPECT_EQ(Parsed("{\"level\":\"error\"}")["level"], "warn");
  // Not UTF-8: repaired, not refused.
  const std::string repaired = Parsed("x", {{"k", "bad \xff\xfe end"}})["fields"]["k"];
  EXPECT_THAT(repaired, HasSubstr("end"));
  EXPECT_EQ(Parsed("x", {{"k", "\xC3\xA4"}})["fields"]["k"], "\xC3\xA4");
}

TEST(LogLine, CutsLongValues) {
  const std::string value = Parsed("x", {{"k", std::string(1 << 20, 'v')}})["fields"]["k"];
  EXPECT_LT(value.size(), 5000u);
}

TEST(LogLevelName, IsParsed) {
  EXPECT_EQ(ParseLogLevel("debug").value(), LogLevel::kDebug);
  EXPECT_EQ(ParseLogLevel("error").value(), LogLevel::kError);
  EXPECT_EQ(ParseLogLevel("loud").error().reason(), "BAD_LEVEL");
}

TEST(JsonLogger, WritesWholeLinesFromManyThreadsAndDropsLowerLevels) {
  SystemClock clock;
  const auto logger = MakeJsonLogger(LogLevel::kInfo, "origin", clock);
  testing::internal::CaptureStderr();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        logger->Info("shown", {{"i", i}});
        logger->Debug("hidden");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::istringstream lines(testing::internal::GetCapturedStderr());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_EQ(nlohmann::json::parse(line)["event"], "shown") << line;
  EXPECT_EQ(count, 200);
}

TEST(Metrics, AreExposedAsText) {
  PrometheusMetrics metrics;
  metrics.GetCounter("edgefleet_test_things_total", "Things.", {{"kind", "a\"b"}}).Add(2);
  metrics.GetGauge("edgefleet_test_level", "Level.", {}).Set(-1.5);
  auto& histogram = metrics.GetHistogram("edgefleet_test_seconds", "Time.", {0.1, 1}, {});
  histogram.Observe(0.05);
  histogram.Observe(5);
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("# HELP edgefleet_test_things_total Things."));
  EXPECT_THAT(text, HasSubstr("# TYPE edgefleet_test_things_total counter"));
  EXPECT_THAT(text, HasSubstr(R"(edgefleet_test_things_total{kind="a\"b"} 2)"));
  EXPECT_THAT(text, HasSubstr("edgefleet_test_level -1.5"));
  EXPECT_THAT(text, HasSubstr(R"(edgefleet_test_seconds_bucket{le="0.1"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(edgefleet_test_seconds_bucket{le="+Inf"} 2)"));
}

TEST(Metrics, TheSameNameAndLabelsYieldTheSameInstrument) {
  PrometheusMetrics metrics;
  auto& counter = metrics.GetCounter("edgefleet_test_total", "One help.", {{"a", "1"}});
  EXPECT_EQ(&counter, &metrics.GetCounter("edgefleet_test_total", "Another help.", {{"a", "1"}}));
  EXPECT_NE(&counter, &metrics.GetCounter("edgefleet_test_total", "One help.", {{"a", "2"}}));
  const std::string text = metrics.Expose();
  EXPECT_EQ(text.find("# TYPE edgefleet_test_total"), text.rfind("# TYPE edgefleet_test_total"));
}

TEST(Metrics, WhatPrometheusRefusesCountsNothing) {
  PrometheusMetrics metrics;
  metrics.GetCounter("not a name", "", {}).Increment();
  metrics.GetCounter("edgefleet_test_total", "", {{"bad label", "x"}}).Increment();
  metrics.GetCounter("edgefleet_test_total", "", {}).Increment();
  metrics.GetGauge("edgefleet_test_total", "a counter already", {}).Set(9);
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("edgefleet_test_total 1"));
  EXPECT_THAT(text, Not(HasSubstr("not a name")));
}

TEST(Metrics, ListenTellsThePortAndRefusesATakenOne) {
  PrometheusMetrics metrics;
  auto port = metrics.Listen("127.0.0.1", 0);
  ASSERT_TRUE(port.has_value()) << port.error().message();
  EXPECT_GT(*port, 0);
  PrometheusMetrics other;
  EXPECT_EQ(other.Listen("127.0.0.1", *port).error().reason(), "CANNOT_LISTEN");
}

}  // namespace
}  // namespace edgefleet::services
