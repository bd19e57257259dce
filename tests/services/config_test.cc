#include "services/runtime/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "base/file.h"
#include "services/runtime/address.h"

namespace edgefleet::services {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "config.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  Result<Config> Load(std::string_view yaml) {
    EXPECT_TRUE(WriteFileAtomic(dir_ / "c.yaml", AsBytes(yaml)).ok());
    return LoadConfig(dir_ / "c.yaml");
  }

  std::filesystem::path dir_;
};

TEST_F(ConfigTest, EmptyFileMeansDefaults) {
  for (const char* text : {"", "# nothing\n", "server:\n", "{}"}) {
    auto config = Load(text);
    ASSERT_TRUE(config.has_value()) << text << config.error().message();
    EXPECT_EQ(config->role, "all");
    EXPECT_EQ(config->server.handler_threads, 4u);
    EXPECT_TRUE(CheckConfig(*config).ok());
  }
}

TEST_F(ConfigTest, ValuesOfEveryType) {
  auto config = Load(
      "role: selector\n"
      "data_dir: \"/var/lib/with space\"\n"
      "listen: {grpc: '[::1]:0'}\n"
      "selector:\n  retry_jitter: 0.5\n  presence_lifetime_ms: 1000\n  devices_max: 7\n"
      "aggregator: {enrolment_keys: [a.pub, '/b c.pub'], transcript_key: t.key, transcripts_bytes_max: 5000000000}\n");
  ASSERT_TRUE(config.has_value()) << config.error().message();
  EXPECT_EQ(config->role, "selector");
  EXPECT_EQ(config->data_dir, "/var/lib/with space");
  EXPECT_EQ(config->listen.grpc, "[::1]:0");
  EXPECT_EQ(config->selector.retry_jitter, 0.5);
  EXPECT_EQ(config->selector.presence_lifetime_ms, 1000);
  EXPECT_EQ(config->selector.devices_max, 7u);
  EXPECT_THAT(config->aggregator.enrolment_keys, testing::ElementsAre("a.pub", "/b c.pub"));
  EXPECT_EQ(config->aggregator.transcript_key, "t.key");
  EXPECT_EQ(config->aggregator.transcripts_bytes_max, 5'000'000'000);
}

struct BadCase {
  const char* yaml;
  const char* line;
  const char* message;
};

class BadConfig : public ConfigTest, public testing::WithParamInterface<BadCase> {};

TEST_P(BadConfig, IsRefusedWithLineAndAdvice) {
  auto config = Load(GetParam().yaml);
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(config.error().reason(), "BAD_CONFIG");
  EXPECT_THAT(config.error().message(), AllOf(HasSubstr(GetParam().line), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadConfig,
    testing::Values(BadCase{"role: all\nredis_ur: x\n", "line 2", "nearest known key is 'redis_url'"},
                    BadCase{"server:\n  handler_thread: 3\n", "line 2", "nearest known key is 'server.handler_threads'"},
                    BadCase{"sever: {}\n", "line 1", "nearest known key is 'server'"},
                    BadCase{"server:\n  handler_threads: many\n", "line 2", "must be a whole number, not 'many'"},
                    BadCase{"server:\n  handler_threads: 1.5\n", "line 2", "must be a whole number"},
                    BadCase{"server:\n  handler_threads: -1\n", "line 2", "must be a whole number"},
                    BadCase{"server:\n  handler_threads: 99999999999\n", "line 2", "must be a whole number"},
                    BadCase{"selector:\n\n  retry_jitter: '0,5'\n", "line 3", "must be a number"},
                    BadCase{"selector: {retry_jitter: 2}\n", "line 1", "it must be from 0 to 0.99"},
                    BadCase{"selector: {retry_jitter: nan}\n", "line 1", "it must be from 0 to 0.99"},
                    BadCase{"server: {handler_threads: 0}\n", "line 1", "it must be from 1 to 1024"},
                    BadCase{"role: [all]\n", "line 1", "must be a single value"},
                    BadCase{"aggregator: {enrolment_keys: a.pub}\n", "line 1", "must be a list"},
                    BadCase{"aggregator: {enrolment_keys: [[a.pub]]}\n", "line 1", "must be a single value"},
                    BadCase{"server: 3\n", "line 1", "must be a section"},
                    BadCase{"server: [a]\n", "line 1", "must be a section"},
                    BadCase{"role: all\nrole: origin\n", "line 2", "stands here twice"},
                    BadCase{"[1]: x\n", "line 1", "keys must be plain names"},
                    BadCase{"just a sentence\n", "line 1", "must hold keys and values"},
                    BadCase{"- a\n- b\n", "line 1", "must hold keys and values"},
                    BadCase{"role: *nothing\n", "line 1", "c.yaml"}, BadCase{"a: {b: {\n", "line", "c.yaml"},
                    BadCase{"\tx: 1\n", "line 1", "c.yaml"}, BadCase{"role: \"a\\0b\"\n", "line 1", "zero byte"}));

TEST_F(ConfigTest, HostileFilesAreRefused) {
  EXPECT_THAT(Load(std::string_view("role: all\n\0\1\2", 13)).error().message(), HasSubstr("not a text file"));
  EXPECT_FALSE(Load("\x7f\x45\x4c\x46\x02\x01\xff\xfe").has_value());
  EXPECT_FALSE(Load(std::string(200'000, '[')).has_value());
  EXPECT_FALSE(Load(std::string(200'000, '{')).has_value());
  const auto oversized = Load("role: all\n#" + std::string(1 << 20, 'x'));
  ASSERT_FALSE(oversized.has_value());
  EXPECT_EQ(oversized.error().reason(), "BAD_CONFIG");
  EXPECT_THAT(LoadConfig(dir_ / "missing.yaml").error().message(), HasSubstr("missing.yaml"));
  EXPECT_FALSE(LoadConfig(dir_).has_value());
}

TEST_F(ConfigTest, PrintedConfigurationReloadsToTheSame) {
  Config config;
  config.role = "aggregator";
  config.data_dir = "/data/\"quoted\"\\ \xC3\xA4";
  config.peers.registry = "registry:7070";
  config.selector.retry_jitter = 0.1;
  config.registry.manifest_lifetime_s = 12345;
  config.postgres_url = "host=db dbname=fleet";
  config.aggregator.enrolment_keys = {"/keys/\"a\".pub", "b.pub"};
  const std::string printed = PrintConfig(config);
  auto reloaded = Load(printed);
  ASSERT_TRUE(reloaded.has_value()) << reloaded.error().message();
  EXPECT_EQ(PrintConfig(*reloaded), printed);
  EXPECT_EQ(reloaded->data_dir, config.data_dir);
  EXPECT_EQ(reloaded->selector.retry_jitter, 0.1);
  EXPECT_EQ(reloaded->postgres_url, config.postgres_url);
  EXPECT_EQ(reloaded->aggregator.enrolment_keys, config.aggregator.enrolment_keys);
}

TEST_F(ConfigTest, PrintingHidesPasswords) {
  for (const char* url : {"postgresql://fleet:s3cret@db:5432/fleet", "postgresql://fleet:s3cret/with@odd@db/fleet",
                          "host=db password=s3cret user=f", "host=db password='s3cret with space' user=f",
                          "postgresql://db/fleet?user=f&password=s3cret&x=1", "redis://:s3cret@cache/0"}) {
    Config config;
    config.postgres_url = url;
    config.redis_url = url;
    const std::string printed = PrintConfig(config);
    EXPECT_EQ(printed.find("s3cret"), std::string::npos) << printed;
    EXPECT_THAT(printed, HasSubstr("***"));
    EXPECT_TRUE(Load(printed).has_value());
  }
}

TEST_F(ConfigTest, CheckNamesWhatIsWrong) {
  const auto error = [](auto change) {
    Config config;
    change(config);
    const Status status = CheckConfig(config);
    EXPECT_EQ(status.reason(), "BAD_CONFIG");
    return status.message();
  };
  EXPECT_THAT(error([](Config& c) { c.role = "server"; }), HasSubstr("it must be all, registry"));
  EXPECT_THAT(error([](Config& c) { c.role = "registry"; }), HasSubstr("peers.origin"));
  EXPECT_THAT(error([](Config& c) { c.role = "aggregator"; }), HasSubstr("peers.registry"));
  EXPECT_THAT(error([](Config& c) { c.listen.grpc = "7070"; }), HasSubstr("listen.grpc"));
  EXPECT_THAT(error([](Config& c) { c.listen.metrics = "host:70700"; }), HasSubstr("listen.metrics"));
  EXPECT_THAT(error([](Config& c) { c.listen.advertise_http = "host:80"; }), HasSubstr("http://"));
  EXPECT_THAT(error([](Config& c) { c.postgres_url = "mysql://x"; }), HasSubstr("postgres_url"));
  EXPECT_THAT(error([](Config& c) { c.redis_url = "rediss://x"; }), HasSubstr("redis_url"));
  EXPECT_THAT(error([](Config& c) { c.log.level = "loud"; }), HasSubstr("log.level"));
  EXPECT_THAT(error([](Config& c) { c.server.handler_threads = 0; }), HasSubstr("server.handler_threads is 0"));
  EXPECT_THAT(error([](Config& c) { c.data_dir = ""; }), HasSubstr("data_dir"));
}

TEST(HostPort, ParsesAndRefuses) {
  for (const char* good : {"127.0.0.1:0", "localhost:65535", "[::1]:80", "0.0.0.0:7070"}) {
    auto address = ParseHostPort(good);
    ASSERT_TRUE(address.has_value()) << good;
    EXPECT_EQ(address->ToString(), good);
  }
  for (const char* bad : {"", ":", ":80", "host", "host:", "host:65536", "host:-1", "host:8 0", "::1:80", "[::1:80", "a b:80",
                          "http://host:80", "host:80/x"}) {
    EXPECT_FALSE(ParseHostPort(bad).has_value()) << bad;
  }
  EXPECT_TRUE(ParseHostPort("0.0.0.0:1")->wildcard());
  EXPECT_FALSE(ParseHostPort("127.0.0.1:1")->wildcard());
}

}  // namespace
}  // namespace edgefleet::services
