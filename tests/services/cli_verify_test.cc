// `edgefleet secagg verify`: what it prints and how it exits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/secagg/transcript_fleet.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
namespace fleet = secagg::testing;

class Verify : public ::testing::Test {
 protected:
  Verify() {
    const auto writer = secagg::TranscriptWriter::Open(File("round.jsonl"), fleet::TranscriptKey());
    EXPECT_TRUE(writer.has_value() && PlayWithTranscript(round_, **writer, {.before_upload = {2}}).ok());
    WriteKey("transcript.pub", fleet::TranscriptKey());
    WriteKey("authority.pub", round_.authority);
    WriteKey("other.pub", crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{5})).value());
  }

  std::string File(const std::string& name) const { return (dir_.path() / name).string(); }
  void Write(const std::string& name, const std::string& text) const {
    EXPECT_TRUE(WriteFileAtomic(File(name), AsBytes(text)).ok());
  }
  void WriteKey(const std::string& name, const crypto::Ed25519SecretKey& key) const {
    Write(name, HexEncode(key.public_key()) + "\n");
  }
  std::string Transcript() const { return ToString(ReadFile(File("round.jsonl"), 1 << 20).value()); }
  static test::RunResult Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {EDGEFLEET_PROGRAM, "secagg", "verify"});
    return test::RunProgram(arguments);
  }

  const test::TempDir dir_;
  fleet::Fleet round_{fleet::Small(secagg::Adversary::kActive)};
};

TEST_F(Verify, PrintsWhatTookPlace) {
  const auto plain = Run({File("round.jsonl"), "--key", File("transcript.pub"), "--enrolment-key", File("other.pub"),
                          "--enrolment-key", File("authority.pub")});
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_THAT(plain.out, AllOf(HasSubstr("round-7"), HasSubstr("active"), HasSubstr("committed"), HasSubstr("5, at least 4"),
                               HasSubstr("complete graph"), HasSubstr(HexEncode(fleet::TranscriptKey().public_key()))));
  EXPECT_THAT(plain.out, Not(HasSubstr("give --key")));
  EXPECT_THAT(Run({File("round.jsonl")}).out, HasSubstr("give --key to check whose it is"));
  const auto json = nlohmann::json::parse(Run({File("round.jsonl"), "--json"}).out);
  const nlohmann::json expected = {{"round_id", "round-7"},  {"variant", "active"},
                                   {"outcome", "committed"}, {"reason", ""},
                                   {"vector_length", 8},     {"element_bits", 32},
                                   {"members", 6},           {"degree", 5},
                                   {"threshold", 4},         {"survivors_min", 4},
                                   {"sharers", 6},           {"survivors", 5},
                                   {"dropouts", 1},          {"confirmations", 5},
                                   {"answers", 5},           {"blames", nlohmann::json::array()},
                                   {"records", 7},           {"signer", HexEncode(fleet::TranscriptKey().public_key())}};
  EXPECT_EQ(json, expected);
}

TEST_F(Verify, TellsWhoIsBlamedAndThatTheEndIsMissing) {
  Write("blamed.jsonl", fleet::Resealed(Transcript(), [](fleet::Records& records) {
          records[5]["answers"][0]["missing"] = "02";  // of member 1: what member 3 sent it
          records.pop_back();
        }));
  const auto plain = Run({File("blamed.jsonl")});
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_THAT(plain.out, AllOf(HasSubstr("unfinished"), HasSubstr("complaint")));
  const auto json = nlohmann::json::parse(Run({File("blamed.jsonl"), "--json"}).out);
  EXPECT_EQ(json["blames"], nlohmann::json::parse(R"([{"kind": "complaint", "owner": 3, "responder": 1}])"));
}

TEST_F(Verify, RefusesWithTheRecordAndTheReason) {
  std::string altered = Transcript();
  altered[altered.find("\"survivors\":\"") + 13] ^= 1;
  Write("altered.jsonl", altered);
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    const char* reason;
    const char* message;
  };
  const Case cases[] = {
      {{File("altered.jsonl")}, 1, "TRANSCRIPT_INVALID", "record 3: it does not end with the hash of its bytes"},
      {{File("round.jsonl"), "--key", File("other.pub")}, 1, "TRANSCRIPT_INVALID", "record 0: the transcript is of another"},
      {{File("round.jsonl"), "--enrolment-key", File("other.pub")}, 1, "TRANSCRIPT_INVALID", "record 1: member 1:"},
      {{File("round.jsonl"), "--corrupt", "0.5"}, 1, "TRANSCRIPT_INVALID", "record 1: "},
      {{File("round.jsonl"), "--corrupt", "1"}, 2, "BAD_USAGE", "--corrupt"},
      {{File("round.jsonl"), "--key", File("altered.jsonl")}, 2, "BAD_USAGE", "--key"},
      {{File("none.jsonl")}, 2, "BAD_USAGE", "does not exist"},
      {{}, 2, "BAD_USAGE", "TRANSCRIPT is required"},
  };
  for (auto [arguments, exit_code, reason, message] : cases) {
    const auto plain = Run(arguments);
    EXPECT_EQ(plain.exit_code, exit_code) << plain.err;
    EXPECT_THAT(plain.out, IsEmpty());
    EXPECT_THAT(plain.err, AllOf(HasSubstr(message), HasSubstr(reason), HasSubstr("hint: ")));
    arguments.push_back("--json");
    EXPECT_EQ(nlohmann::json::parse(Run(arguments).out)["error"]["reason"], reason);
  }
}

}  // namespace
}  // namespace edgefleet::cli
