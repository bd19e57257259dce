#include "cdn_origin/manifest/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "cdn_origin/manifest/dsse.h"

namespace edgefleet::manifest {
namespace {

using Json = nlohmann::json;
using crypto::Ed25519SecretKey;

constexpr char kType[] = "application/vnd.edgefleet.manifest.v1+json";

Ed25519SecretKey Key(int seed) { return *Ed25519SecretKey::FromSeed(Bytes(32, static_cast<std::byte>(seed))); }

crypto::Sha256Digest Digest(std::string_view text) { return crypto::Sha256(AsBytes(text)); }

Manifest Sample(const Clock& clock) {
  const std::int64_t now = ToUnixMillis(clock.Now());
  Target int8{"int8", "int8", false, Digest("new int8"), 1000, {{Digest("old int8"), Digest("patch"), 100}}};
  Target fp32{"fp32", "fp32", true, Digest("new fp32"), 4000, {}};
  return {"fashion", 7, "stable", 12, now, now + 60'000, {int8, fp32}};
}

class ManifestTest : public ::testing::Test {
 protected:
  Result<Manifest> Check(const Result<Bytes>& envelope, std::uint64_t sequence_min = 0) {
    const std::vector trusted{Key(1).public_key()};
    return Verify(*envelope, trusted, {"fashion", sequence_min}, clock_);
  }
  // The verdict on a correctly signed payload that `change` has altered.
  std::string ReasonAfter(const std::function<void(Json&)>& change) {
    const Bytes good = *Sign(sample_, keys_);
    Json payload = Json::parse(AsText(*dsse::OpenUnverified(good, kType)));
    change(payload);
    const auto verdict = Check(dsse::Seal(kType, AsBytes(payload.dump()), keys_));
    return verdict ? "accepted" : verdict.error().reason();
  }

  FakeClock clock_;
  std::vector<Ed25519SecretKey> keys_{Key(1)};
  Manifest sample_ = Sample(clock_);
};

TEST_F(ManifestTest, RoundTripKeepsEveryField) {
  const auto verified = Check(Sign(sample_, keys_));
  ASSERT_TRUE(verified) << verified.error().ToString();
  EXPECT_EQ(*verified, sample_);
  EXPECT_EQ(verified->FindTarget("fp32")->size, 4000u);
  EXPECT_EQ(verified->FindTarget("bf16"), nullptr);
  EXPECT_EQ(*ReadUnverified(*Sign(sample_, keys_)), sample_);
}

TEST_F(ManifestTest, PreAuthEncodingIsTheSpecificationsExample) {
  EXPECT_EQ(AsText(dsse::PreAuthEncode("http://example.com/HelloWorld", AsBytes("hello world"))),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

TEST_F(ManifestTest, AnyTrustedKeyOfSeveralSuffices) {
  const std::vector both{Key(9), Key(1)};
  EXPECT_TRUE(Check(Sign(sample_, both)));
}

TEST_F(ManifestTest, RefusesForeignKeyAndTouchedBytes) {
  const std::vector foreign{Key(2)};
  EXPECT_EQ(Check(Sign(sample_, foreign)).error().reason(), "BAD_SIGNATURE");

  Json envelope = Json::parse(AsText(*Sign(sample_, keys_)));
  Manifest other = sample_;
  other.version = 8;
  envelope["payload"] = Json::parse(AsText(*Sign(other, keys_)))["payload"];
  EXPECT_EQ(Check(ToBytes(AsBytes(envelope.dump()))).error().reason(), "BAD_SIGNATURE");
}

TEST_F(ManifestTest, KeyIdIsOnlyAHint) {
  Json envelope = Json::parse(AsText(*Sign(sample_, keys_)));
  envelope["signatures"][0].erase("keyid");
  EXPECT_TRUE(Check(ToBytes(AsBytes(envelope.dump()))));
}

TEST_F(ManifestTest, ExpiryAndSequenceAndModel) {
  const auto envelope = Sign(sample_, keys_);
  EXPECT_TRUE(Check(envelope, 12));
  EXPECT_EQ(Check(envelope, 13).error().reason(), "STALE_MANIFEST");
  clock_.Advance(Millis(60'000));
  EXPECT_EQ(Check(envelope).error().reason(), "MANIFEST_EXPIRED");
  Manifest other = sample_;
  other.model = "another";
  EXPECT_EQ(Check(Sign(other, keys_)).error().reason(), "WRONG_MODEL");
}

TEST_F(ManifestTest, UnknownMembersAreIgnored) {
  EXPECT_EQ(ReasonAfter([](Json& m) { m["later"] = 1; }), "accepted");
}

TEST_F(ManifestTest, EveryFieldIsValidated) {
  const std::vector<std::pair<const char*, std::function<void(Json&)>>> cases = {
      {"format", [](Json& m) { m["format"] = 2; }},
      {"no format", [](Json& m) { m.erase("format"); }},
      {"model", [](Json& m) { m["model"] = "../etc"; }},
      {"model type", [](Json& m) { m["model"] = 7; }},
      {"alias", [](Json& m) { m["alias"] = "A B"; }},
      {"version", [](Json& m) { m["version"] = 0; }},
      {"negative version", [](Json& m) { m["version"] = -1; }},
      {"fractional sequence", [](Json& m) { m["sequence"] = 1.5; }},
      {"sequence", [](Json& m) { m["sequence"] = 0; }},
      {"expires", [](Json& m) { m["expires_unix_ms"] = m["created_unix_ms"]; }},
      {"expires overflow", [](Json& m) { m["expires_unix_ms"] = UINT64_MAX; }},
      {"no targets", [](Json& m) { m["targets"] = Json::array(); }},
      {"targets type", [](Json& m) { m["targets"] = "int8"; }},
      {"too many targets", [](Json& m) { m["targets"] = Json::array_t(17, m["targets"][0]); }},
      {"same name twice", [](Json& m) { m["targets"][1]["name"] = "int8"; }},
      {"target type", [](Json& m) { m["targets"][0] = 1; }},
      {"target name", [](Json& m) { m["targets"][0]["name"] = ""; }},
      {"trainable", [](Json& m) { m["targets"][0]["trainable"] = "no"; }},
      {"short digest", [](Json& m) { m["targets"][0]["sha256"] = "abcd"; }},
      {"digest not hex", [](Json& m) { m["targets"][0]["sha256"] = std::string(64, 'g'); }},
      {"size", [](Json& m) { m["targets"][0]["size"] = 0; }},
      {"huge size", [](Json& m) { m["targets"][0]["size"] = kTargetBytesMax + 1; }},
      {"path", [](Json& m) { m["targets"][0]["path"] = "/blobs/../../secret"; }},
      {"foreign path", [](Json& m) { m["targets"][0]["path"] = "http://evil/x"; }},
      {"deltas type", [](Json& m) { m["targets"][0]["deltas"] = Json::object(); }},
      {"delta path", [](Json& m) { m["targets"][0]["deltas"][0]["path"] = "/x"; }},
      {"delta size", [](Json& m) { m["targets"][0]["deltas"][0]["size"] = 0; }},
      {"same base twice", [](Json& m) { m["targets"][0]["deltas"].push_back(m["targets"][0]["deltas"][0]); }},
      {"too many deltas", [](Json& m) { m["targets"][0]["deltas"] = Json::array_t(65, m["targets"][0]["deltas"][0]); }},
  };
  for (const auto& [name, change] : cases) EXPECT_EQ(ReasonAfter(change), "BAD_MANIFEST") << name;
}

TEST_F(ManifestTest, HostileEnvelopes) {
  const std::string good(AsText(*Sign(sample_, keys_)));
  Json many = Json::parse(good);
  many["signatures"] = Json::array_t(17, many["signatures"][0]);
  Json type = Json::parse(good);
  type["payloadType"] = "text/plain";
  Json padding = Json::parse(good);
  padding["payload"] = "AA=A";
  const std::vector<std::string> texts = {"",
                                          "{",
                                          "[]",
                                          "null",
                                          good.substr(0, good.size() / 2),
                                          "{}",
                                          many.dump(),
                                          type.dump(),
                                          padding.dump(),
                                          std::string(100'000, '['),
                                          good + "\0",
                                          "\xff\xfe",
                                          "{\"payload\":1}",
                                          std::string(kEnvelopeBytesMax + 1, ' ')};
  for (const auto& text : texts) {
    if (text == good) continue;
    EXPECT_EQ(Check(ToBytes(AsBytes(text))).error().reason(), "BAD_MANIFEST") << text.substr(0, 60);
  }
}

TEST_F(ManifestTest, SignRefusesWhatVerifyWouldRefuse) {
  Manifest bad = sample_;
  bad.targets.clear();
  EXPECT_EQ(Sign(bad, keys_).error().reason(), "BAD_MANIFEST");
  EXPECT_EQ(Sign(sample_, {}).error().reason(), "BAD_MANIFEST");
}

TEST(ManifestPath, AcceptsNamesBetweenSlashesOnly) {
  for (const char* good : {"fashion/stable.json", "a", "m/versions/3.json"}) EXPECT_TRUE(CheckPath(good).ok()) << good;
  for (const char* bad : {"", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".a", "A", "a b", "a\\b", "a%2fb"}) {
    EXPECT_EQ(CheckPath(bad).reason(), "BAD_PATH") << bad;
  }
  const std::string longest_name(63, 'n');
  EXPECT_TRUE(CheckPath(longest_name + "/" + longest_name + ".json").ok());
  for (const std::string& bad : {longest_name + "n.json", longest_name + ".json/a", std::string("a/.json")}) {
    EXPECT_EQ(CheckPath(bad).reason(), "BAD_PATH") << bad;
  }
  EXPECT_EQ(CheckPath(std::string("a") + std::string(1, '\0')).reason(), "BAD_PATH");
  std::string longest = "a";
  while (longest.size() < 201) longest += "/a";
  EXPECT_FALSE(CheckPath(longest).ok());
}

}  // namespace
}  // namespace edgefleet::manifest
