// Transcripts of real rounds verify; whatever is changed in one, by whoever, is found; a writer goes on after any crash.
#include "secagg/transcript/transcript.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "base/file.h"
#include "secagg/server_states.h"
#include "secagg/transcript/records.h"
#include "secagg/transcript/verify.h"
#include "tests/secagg/transcript_fleet.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::secagg {
namespace {

using ::testing::AllOf;
using testing::Dropouts;
using testing::Fleet;
using testing::FleetOptions;
using ::testing::HasSubstr;
using testing::LinesOf;
using ::testing::Not;
using testing::PlayWithTranscript;
using testing::Records;
using testing::Resealed;
using testing::Small;
using testing::TextOf;
using testing::TranscriptKey;

FleetOptions Sparse(Adversary adversary) {
  return {.members = 40, .graph = {20, 12}, .survivors_min = 34, .adversary = adversary};
}

std::string ReadText(const std::filesystem::path& path) { return ToString(ReadFile(path, 1 << 24).value()); }

std::unique_ptr<TranscriptWriter> OpenWriter(const std::filesystem::path& path) {
  auto writer = TranscriptWriter::Open(path, TranscriptKey());
  EXPECT_TRUE(writer.has_value()) << writer.error().ToString();
  return writer ? *std::move(writer) : nullptr;
}

std::string Play(Fleet& fleet, const Dropouts& dropouts = {}) {
  const test::TempDir dir;
  const auto path = dir.path() / "round.jsonl";
  const Status played = PlayWithTranscript(fleet, *OpenWriter(path), dropouts);
  EXPECT_TRUE(played.ok()) << played.ToString();
  return ReadText(path);
}

std::string PlayRound(const FleetOptions& options, const Dropouts& dropouts = {}) {
  Fleet fleet(options);
  return Play(fleet, dropouts);
}

Result<TranscriptSummary> VerifyText(const std::string& text, const VerifyOptions& options = {.corrupt_fraction = 0}) {
  std::istringstream stream(text);
  return VerifyTranscript(stream, options);
}

void ExpectInvalid(const std::string& text, const ::testing::Matcher<std::string>& message,
                   const VerifyOptions& options = {.corrupt_fraction = 0}) {
  const auto summary = VerifyText(text, options);
  ASSERT_FALSE(summary.has_value());
  EXPECT_EQ(summary.error().code(), StatusCode::kDataLoss);
  EXPECT_EQ(summary.error().reason(), "TRANSCRIPT_INVALID");
  EXPECT_THAT(summary.error().message(), message);
}

class EveryVariant : public ::testing::TestWithParam<Adversary> {};
INSTANTIATE_TEST_SUITE_P(Variants, EveryVariant, ::testing::Values(Adversary::kSemiHonest, Adversary::kActive),
                         [](const auto& test) { return test.param == Adversary::kActive ? "Active" : "SemiHonest"; });

// --- what verifies ---

TEST_P(EveryVariant, CommittedRoundsVerify) {
  const bool active = GetParam() == Adversary::kActive;
  struct Case {
    FleetOptions options;
    Dropouts dropouts;
    std::uint32_t sharers, survivors, answers;
  };
  const Case cases[] = {
      {Small(GetParam()), {}, 6, 6, 6},
      {Small(GetParam()), {.before_upload = {2}}, 6, 5, 5},
      {Sparse(GetParam()), {}, 40, 40, 40},
      {Sparse(GetParam()),
       {.before_sharing = {3}, .before_upload = {7, 11}, .before_confirming = {20}, .before_unmasking = {21}},
       39,
       37,
       35},
  };
  for (const auto& [options, dropouts, sharers, survivors, answers] : cases) {
    Fleet fleet(options);
    const std::string text = Play(fleet, dropouts);
    VerifyOptions checks{.signer = TranscriptKey().public_key(), .corrupt_fraction = 0};
    if (active) checks.authorities = {fleet.authority.public_key()};
    const auto summary = VerifyText(text, checks);
    ASSERT_TRUE(summary.has_value()) << summary.error().ToString();
    EXPECT_EQ(summary->config, fleet.server.ledger().options.config);
    EXPECT_EQ(summary->signer, TranscriptKey().public_key());
    EXPECT_EQ(summary->records, active ? 7 : 6);
    EXPECT_EQ(summary->members, options.members);
    EXPECT_EQ(summary->graph, options.graph);
    EXPECT_EQ(summary->survivors_min, options.survivors_min);
    EXPECT_EQ(summary->sharers, sharers);
    EXPECT_EQ(summary->survivors, survivors);
    EXPECT_EQ(summary->dropouts, options.members - survivors);
    EXPECT_EQ(summary->confirmations, fleet.server.confirmation_count());
    EXPECT_GE(summary->confirmations, active ? options.graph.threshold : 0);
    EXPECT_EQ(summary->answers, answers);
    EXPECT_TRUE(summary->blames.empty());
    EXPECT_EQ(summary->outcome, Outcome::kCommitted);
  }
}

TEST_P(EveryVariant, AFailedRoundVerifiesAsFarAsItGoes) {
  struct Case {
    Dropouts dropouts;
    std::uint64_t records;
    std::uint32_t members, sharers, survivors;
  };
  const Case cases[] = {
      {{.before_sharing = {1, 2, 3}}, 3, 6, 0, 0},
      {{.before_upload = {1, 2, 3}}, 4, 6, 6, 0},
  };
  for (const auto& [dropouts, records, members, sharers, survivors] : cases) {
    const auto summary = VerifyText(PlayRound(Small(GetParam()), dropouts));
    ASSERT_TRUE(summary.has_value()) << summary.error().ToString();
    EXPECT_EQ(summary->records, records);
    EXPECT_EQ(summary->members, members);
    EXPECT_EQ(summary->sharers, sharers);
    EXPECT_EQ(summary->survivors, survivors);
    EXPECT_EQ(summary->outcome, Outcome::kFailed);
    EXPECT_EQ(summary->reason, "BELOW_THRESHOLD");
  }
}

TEST_P(EveryVariant, AnUnfinishedTranscriptVerifiesWithoutAnOutcome) {
  const std::vector<std::string> lines = LinesOf(PlayRound(Small(GetParam())));
  for (std::size_t count = 1; count < lines.size(); ++count) {
    const auto summary = VerifyText(TextOf({lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(count)}));
    ASSERT_TRUE(summary.has_value()) << summary.error().ToString();
    EXPECT_EQ(summary->records, count);
    EXPECT_EQ(summary->outcome, std::nullopt);
  }
}

TEST(Transcript, HoldsWhoSentWhatWasWrong) {
  FleetOptions options = Small(Adversary::kActive);
  options.graph.threshold = 3;  // two shares to spare tell who sent one wrong one
  Fleet fleet(options);
  const test::TempDir dir;
  const auto writer = OpenWriter(dir.path() / "round.jsonl");
  ASSERT_TRUE(writer->Opened(fleet.server).ok());
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(writer->Roster(fleet.server).ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(writer->Shared(fleet.server).ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
  ASSERT_TRUE(writer->Uploads(fleet.server).ok());
  ASSERT_TRUE(fleet.ConfirmAndClose().ok());
  ASSERT_TRUE(writer->Confirmations(fleet.server).ok());
  for (std::uint32_t index = 1; index <= 6; ++index) {
    UnmaskAnswer answer = fleet.client(index).Unmask(fleet.server.Request(index).value()).value();
    if (index == 2) answer.shares[0] ^= std::byte{1};  // of member 1
    if (index == 4) {                                  // says that what member 6 sent, its last sender, did not open
      answer.held = testing::BitmapOf({1, 2, 3, 4}, 5);
      answer.shares.resize(answer.shares.size() - kShareSize);
    }
    ASSERT_TRUE(fleet.server.AddAnswer(index, answer).ok());
  }
  ASSERT_TRUE(fleet.server.Unmask(fleet.sum, nullptr).ok());
  ASSERT_TRUE(writer->Answers(fleet.server).ok());
  ASSERT_TRUE(writer->Ended(&fleet.server, Outcome::kCommitted, "").ok());
  const std::string text = ReadText(dir.path() / "round.jsonl");
  const auto summary = VerifyText(text);
  ASSERT_TRUE(summary.has_value()) << summary.error().ToString();
  EXPECT_THAT(summary->blames,
              ::testing::ElementsAre(Blame{6, 4, Blame::Kind::kComplaint}, Blame{1, 2, Blame::Kind::kBadShare}));

  // A blame must be about a share that was revealed, and is listed once.
  const auto blame = [&](std::uint32_t owner, std::uint32_t responder, const char* kind) {
    return Resealed(text, [&](Records& records) {
      records[6]["blames"] = {{{"kind", kind}, {"owner", owner}, {"responder", responder}}};
    });
  };
  EXPECT_TRUE(VerifyText(blame(5, 3, "bad_share")).has_value());
  ExpectInvalid(blame(6, 4, "bad_share"), HasSubstr("not revealed"));
  ExpectInvalid(blame(4, 4, "bad_share"), HasSubstr("not revealed"));
  ExpectInvalid(blame(0, 1, "bad_share"), HasSubstr("not revealed"));
  ExpectInvalid(blame(1, 7, "bad_share"), HasSubstr("not revealed"));
  ExpectInvalid(blame(1, 3, "bad_dealer"), HasSubstr("not revealed"));
  ExpectInvalid(blame(1, 0, "bad_dealer"), HasSubstr("a secret was not recovered"));
  ExpectInvalid(blame(1, 3, "complaint"), HasSubstr("`kind` is unknown"));
  ExpectInvalid(Resealed(text, [](Records& r) { r[6]["blames"].push_back(r[6]["blames"][0]); }), HasSubstr("listed once"));
  // Six members hold five shares of each secret, of which three must be right.
  ExpectInvalid(Resealed(text,
                         [](Records& r) {
                           for (const int who : {3, 4})
                             r[6]["blames"].push_back({{"kind", "bad_share"}, {"owner", 1}, {"responder", who}});
                         }),
                HasSubstr("2 shares of the secret of member 1 were revealed and right, 3 are needed"));
}

// --- what it must not hold ---

TEST_P(EveryVariant, HoldsNoShare) {
  Fleet fleet(Small(GetParam()));
  const std::string text = Play(fleet, {.before_upload = {3}});
  std::size_t shares = 0;
  for (const std::uint32_t index : fleet.server.survivors()) {
    UnmaskRequest request{.survivors = fleet.server.SurvivorBitmap().value()};
    const UnmaskAnswer answer = fleet.client(index).Unmask(request).value();  // the one it gave, again
    for (std::size_t at = 0; at < answer.shares.size(); at += kShareSize, ++shares) {
      EXPECT_THAT(text, Not(HasSubstr(HexEncode(std::span(answer.shares).subspan(at, kShareSize)))));
    }
    const Bytes& sealed = fleet.sent[index - 1]->sealed;
    for (std::size_t at = 0; at < sealed.size(); at += kSealedSize) {
      EXPECT_THAT(text, Not(HasSubstr(HexEncode(std::span(sealed).subspan(at, kSealedSize)))));
    }
    EXPECT_THAT(text, HasSubstr(crypto::Sha256Hex(sealed)));
  }
  EXPECT_EQ(shares, 5U * 5U);
}

// --- tampering by someone without the key ---

TEST_P(EveryVariant, EveryFlippedByteIsFound) {
  const std::string text = PlayRound(Small(GetParam()));
  for (std::size_t at = 0; at < text.size(); at += 5) {
    std::string flipped = text;
    flipped[at] = static_cast<char>(flipped[at] ^ (at % 2 == 0 ? 1 : 32));
    const auto summary = VerifyText(flipped);
    ASSERT_FALSE(summary.has_value()) << "byte " << at;
    ASSERT_EQ(summary.error().reason(), "TRANSCRIPT_INVALID");
  }
}

TEST_P(EveryVariant, DroppedMovedRepeatedAndCutRecordsAreFound) {
  const std::string text = PlayRound(Small(GetParam()));
  const std::vector<std::string> lines = LinesOf(text);
  const auto follows = [](std::size_t seq) {
    return AllOf(HasSubstr("record " + std::to_string(seq) + ":"), HasSubstr("does not follow the record before it"));
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::vector<std::string> changed = lines;
    changed.insert(changed.begin() + static_cast<std::ptrdiff_t>(i), lines[i]);
    ExpectInvalid(TextOf(changed), follows(i + 1));
    if (i + 1 == lines.size()) break;
    changed = lines;
    changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(i));
    ExpectInvalid(TextOf(changed), follows(i));
    changed = lines;
    std::swap(changed[i], changed[i + 1]);
    ExpectInvalid(TextOf(changed), follows(i));
  }
  ExpectInvalid(text.substr(0, text.size() - 1), HasSubstr("is cut off"));
  ExpectInvalid(text.substr(0, lines[0].size() / 2), HasSubstr("is cut off"));
  ExpectInvalid(text + "x", HasSubstr("is cut off"));
  ExpectInvalid(text + "\n", HasSubstr("does not end with the hash"));
  ExpectInvalid("", HasSubstr("no record"));
}

TEST_P(EveryVariant, OtherKeysAreFound) {
  const std::string text = PlayRound(Small(GetParam()));
  const auto other = crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{8})).value();
  const auto nothing = [](Records&) {};
  EXPECT_EQ(Resealed(text, nothing), text);
  ExpectInvalid(Resealed(text, nothing, other), HasSubstr("record 0: it is not signed by the key"));
  ExpectInvalid(text, HasSubstr("of another aggregator"), {.signer = other.public_key(), .corrupt_fraction = 0});
  // A whole transcript under another key is one, unless the key is known.
  const std::string imitated = Resealed(
      text, [&](Records& r) { r[0]["transcript_key"] = HexEncode(other.public_key()); }, other);
  EXPECT_TRUE(VerifyText(imitated).has_value());
  ExpectInvalid(imitated, HasSubstr("of another aggregator"), {.signer = TranscriptKey().public_key(), .corrupt_fraction = 0});
  // The chain's later records by another key.
  std::vector<std::string> lines = LinesOf(text);
  lines[3] = LinesOf(Resealed(text, nothing, other))[3];
  ExpectInvalid(TextOf(lines), HasSubstr("record 3: it is not signed by the key"));
}

TEST(Transcript, MembersMustBeEnrolledByTheVerifiersAuthorities) {
  const auto other = crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{8})).value().public_key();
  ExpectInvalid(PlayRound(Small(Adversary::kActive)), HasSubstr("record 1: member 1: session keys are not signed"),
                {.authorities = {other}, .corrupt_fraction = 0});
  ExpectInvalid(PlayRound(Small(Adversary::kSemiHonest)), HasSubstr("semi-honest"),
                {.authorities = {other}, .corrupt_fraction = 0});
}

TEST(Transcript, ParametersMustBePrivateUnderTheVerifiersAssumptions) {
  const std::string text = PlayRound(Sparse(Adversary::kSemiHonest));
  ExpectInvalid(text, AllOf(HasSubstr("record 1"), HasSubstr("degree 20")), {.corrupt_fraction = 0.4});
  for (const double fraction : {-0.1, 1.0, std::nan("")}) {
    const auto summary = VerifyText(text, {.corrupt_fraction = fraction});
    ASSERT_FALSE(summary.has_value());
    EXPECT_EQ(summary.error().reason(), "BAD_ASSUMPTIONS");
  }
}

// --- what an aggregator signs that did not follow the protocol ---

struct Lie {
  const char* name;
  std::function<void(Records&)> tell;
  const char* message;
};
std::ostream& operator<<(std::ostream& out, const Lie& lie) { return out << lie.name; }

// Records of an active round among 6 (t = 4), member 2 dropped after sharing: 0 opened, 1 roster, 2 shared, 3 uploads,
// 4 confirmations, 5 answers, 6 ended.
class SignedLie : public ::testing::TestWithParam<Lie> {};

TEST_P(SignedLie, IsFound) {
  static const std::string text = PlayRound(Small(Adversary::kActive), {.before_upload = {2}});
  ExpectInvalid(Resealed(text, GetParam().tell), HasSubstr(GetParam().message));
}

// Another value of the same form: the last hexadecimal digit flipped.
void Flip(nlohmann::ordered_json& value) {
  auto text = value.get<std::string>();
  text.back() = text.back() == '0' ? '1' : '0';
  value = text;
}

std::function<void(Records&)> Flipped(std::size_t record, const char* pointer) {
  return [=](Records& r) { Flip(r[record][nlohmann::ordered_json::json_pointer(pointer)]); };
}
std::function<void(Records&)> Set(std::size_t record, const char* pointer, const nlohmann::ordered_json& value) {
  return [=](Records& r) { r[record][nlohmann::ordered_json::json_pointer(pointer)] = value; };
}
std::function<void(Records&)> Erased(std::size_t record, const char* list, std::size_t place) {
  return [=](Records& r) { r[record][list].erase(place); };
}
// Other survivors, and of the signatures of their uploads the first ones.
std::function<void(Records&)> Survivors(const char* bitmap, std::size_t signatures) {
  return [=](Records& r) {
    r[3]["survivors"] = bitmap;
    while (r[3]["signatures"].size() > signatures) r[3]["signatures"].erase(signatures);
  };
}
std::function<void(Records&)> Dropped(std::size_t record) {
  return [=](Records& r) { r.erase(r.begin() + static_cast<std::ptrdiff_t>(record)); };
}

const Lie kLies[] = {
    {"Format", Set(0, "/format", 2), "the transcript's format is not 1"},
    {"FormatText", Set(0, "/format", "1"), "`format` is not a whole number"},
    {"Round", Set(0, "/round_id", "round-8"), "record 1: member 1: session keys are not signed"},
    {"NoRound", Set(0, "/round_id", ""), "round id"},
    {"UnprintableRound", Set(0, "/round_id", "a\nb"), "`round_id` is not a text"},
    {"Variant", Set(0, "/adversary", "semi-honest"), "member 1: rounds of the semi-honest variant take no identities"},
    {"UnknownVariant", Set(0, "/adversary", "covert"), "`adversary` is unknown"},
    {"Cipher", Set(0, "/mask_cipher", "aes-128-ctr"), "session id does not follow"},
    {"UnknownCipher", Set(0, "/mask_cipher", "rc4"), "`mask_cipher` is unknown"},
    {"Length", Set(0, "/vector_length", 9), "session id does not follow"},
    {"NoLength", Set(0, "/vector_length", 0), "elements"},
    {"NegativeLength", Set(0, "/vector_length", -1), "`vector_length` is not a whole number"},
    {"Bits", Set(0, "/element_bits", 31), "session id does not follow"},
    {"ManyBits", Set(0, "/element_bits", 33), "`element_bits` is not a whole number up to 32"},
    {"Nonce", Flipped(0, "/server_nonce"), "session id does not follow"},
    {"ShortNonce", Set(0, "/server_nonce", "00"), "nonce of 32 bytes"},
    {"TranscriptKey", Flipped(0, "/transcript_key"), "not signed by the key of the transcript"},
    {"ShortTranscriptKey", Set(0, "/transcript_key", "00"), "`transcript_key` has not 32 bytes"},
    {"Authority", Flipped(0, "/enrolment_keys/0"), "member 1: session keys are not signed"},
    {"NoAuthority", Set(0, "/enrolment_keys", nlohmann::ordered_json::array()), "at least one enrolment authority"},
    {"BadAuthority", Set(0, "/enrolment_keys/0", 7), "`enrolment_keys`"},
    {"Members", Set(1, "/members", 7), "`members` is not the number of adverts"},
    {"Degree", Set(1, "/degree", 4), "session id does not follow"},
    {"OddDegree", Set(1, "/degree", 3), "degree 3 makes no graph"},
    {"SmallerGraph", [](Records& r) { r[1]["degree"] = 2, r[1]["threshold"] = 2; }, "session id does not follow"},
    {"Threshold", Set(1, "/threshold", 3), "session id does not follow"},
    {"LowThreshold", Set(1, "/threshold", 2), "threshold must exceed half"},
    {"SurvivorsMin", Set(1, "/survivors_min", 5), "session id does not follow"},
    {"LowSurvivorsMin", Set(1, "/survivors_min", 3), "survivors_min 3 must be"},
    {"RosterDigest", Flipped(1, "/roster_digest"), "roster's digest"},
    {"Session", Flipped(1, "/session"), "session id does not follow"},
    {"CipherKey", Flipped(1, "/adverts/2/cipher_key"), "member 3: session keys are not signed"},
    {"MaskKey", Flipped(1, "/adverts/2/mask_key"), "member 3: session keys are not signed"},
    {"Identity", Flipped(1, "/adverts/2/identity"), "member 3: session keys are not signed"},
    {"Certificate", Flipped(1, "/adverts/2/certificate"), "member 3: session keys are not signed"},
    {"AdvertSignature", Flipped(1, "/adverts/2/signature"), "member 3: session keys are not signed"},
    {"LowOrderKey", Set(1, "/adverts/2/mask_key", std::string(64, '0')), "member 3: both keys must be"},
    {"ShortKey", Set(1, "/adverts/2/mask_key", "00"), "member 3: both keys must be"},
    {"NotHex", Set(1, "/adverts/2/mask_key", "zz"), "`adverts`, entry 3: `mask_key` is not hexadecimal"},
    {"RepeatedMember", [](Records& r) { r[1]["adverts"][2] = r[1]["adverts"][0]; }, "member 3: each key is used once"},
    {"SwappedMembers", [](Records& r) { std::swap(r[1]["adverts"][2], r[1]["adverts"][0]); }, "roster's digest"},
    {"AdvertIsNoObject", Set(1, "/adverts/2", 5), "entry 3: an entry is not an object"},
    {"LostMember",
     [](Records& r) {
       r[1]["adverts"].erase(5);
       r[1]["members"] = 5;
     },
     "degree 5 makes no graph of 5"},
    {"NoAdverts", [](Records& r) { r[1].erase("adverts"); }, "`adverts` is not a list"},
    {"Sharers", Set(2, "/sharers", "3d"), "not the largest set"},
    {"WideSharers", Set(2, "/sharers", "3f00"), "not the largest set"},
    {"LostSharer", Erased(2, "shares", 0), "not the largest set"},
    {"FewSharers",
     [](Records& r) {
       for (int i = 0; i < 3; ++i) r[2]["shares"].erase(0);
     },
     "are needed"},
    {"SharerOutside", Set(2, "/shares/5/member", 7), "member 7 is not in the roster"},
    {"SharerZero", Set(2, "/shares/0/member", 0), "member 0 is not in the roster"},
    {"SharerTwice", Set(2, "/shares/5/member", 5), "member 5 is not before the next one"},
    {"ShortCommitment", Set(2, "/shares/0/seed_commitment", "00"), "`seed_commitment` has not 32 bytes"},
    {"SurvivorNoSharer",
     [](Records& r) {
       r[2]["shares"].erase(0);
       r[2]["sharers"] = "3e";
     },
     "record 3: member 1 did not share keys"},
    {"UploadSignature", Flipped(3, "/signatures/0/signature"), "member 1 has not signed whom its update is masked for"},
    {"UploadOfOther", Set(3, "/signatures/0/member", 2), "record 3: member 1 has not signed whom"},
    {"UploadUnsigned", Erased(3, "signatures", 4), "member 6 has not signed whom its update is masked for"},
    {"UploadOutside", Set(3, "/signatures/4/member", 7), "member 6 has not signed whom its update is masked for"},
    {"UploadTwice", Set(3, "/signatures/4/member", 5), "member 5 is not before the next one"},
    {"FewSurvivors", Survivors("0d", 3), "record 3: 3 members have sent an update, 4 are needed"},
    {"SurvivorOutside", Set(3, "/survivors", "7d"), "not a bitmap over the roster"},
    {"MoreSurvivors", Set(3, "/survivors", "3f"), "record 3: member 2 has not signed whom its update is masked for"},
    {"SignerNoSurvivor", Set(3, "/survivors", "1d"), "member 6 has signed its upload, but is no survivor"},
    {"ConfirmationSignature", Flipped(4, "/signatures/0/signature"), "member 1 has not signed these survivors"},
    {"ConfirmationOfOther", Set(4, "/signatures/0/member", 2), "the update of member 2 is not in the sum"},
    {"ConfirmationOutside", Set(4, "/signatures/4/member", 7), "no member 7"},
    {"ConfirmationTwice", Set(4, "/signatures/4/member", 5), "member 5 is not before the next one"},
    {"FewConfirmations",
     [](Records& r) {
       r[4]["signatures"].erase(0);
       r[4]["signatures"].erase(0);
     },
     "3 members of the committee have confirmed the survivors, 4 are needed"},
    {"NoConfirmations", Dropped(4), "record 4: 'answers' may not follow 'uploads'"},
    {"AnswerOfDropped", Set(5, "/answers/0/member", 2), "the update of member 2 is not in the sum"},
    {"AnswerOutside", Set(5, "/answers/4/member", 7), "no member 7"},
    {"AnswerTwice", Set(5, "/answers/0/member", 3), "member 3 is not before the next one"},
    {"MissingTooMany", Set(5, "/answers/0/missing", "20"), "not a bitmap over the senders"},
    {"MissingNothing", Set(5, "/answers/0/missing", "00"), "not a bitmap over the senders"},
    {"FewAnswers",
     [](Records& r) {
       r[5]["answers"].erase(0);
       r[5]["answers"].erase(0);
     },
     "record 6: the round cannot be committed: 3 shares of the secret of member 1"},
    {"CommittedWithoutAnswers", Dropped(5), "no shares were revealed"},
    {"Outcome", Set(6, "/outcome", "perfect"), "`outcome` is unknown"},
    {"Reason", Set(6, "/reason", std::string(201, 'x')), "`reason` is not a text of at most 200"},
    {"TwoEnds", [](Records& r) { r.push_back(r.back()); }, "'ended' may not follow 'ended'"},
    {"NoOpening", Dropped(0), "a transcript begins with 'opened'"},
    {"NoRoster", Dropped(1), "'shared' may not follow 'opened'"},
    {"NoUploads", Dropped(3), "'confirmations' may not follow 'shared'"},
    {"Order", [](Records& r) { std::swap(r[2], r[3]); }, "'uploads' may not follow 'roster'"},
    {"UnknownType", Set(3, "/type", "updates"), "its type is unknown"},
    {"UnknownMember", Set(3, "/comment", "x"), "other members or another spelling"},
    {"UpperCase", Set(3, "/survivors", "3D"), "other members or another spelling"},
};
INSTANTIATE_TEST_SUITE_P(Table, SignedLie, ::testing::ValuesIn(kLies), [](const auto& test) { return test.param.name; });

TEST(Transcript, ASemiHonestRoundHasNoConfirmations) {
  const std::string text = PlayRound(Small(Adversary::kSemiHonest));
  ExpectInvalid(Resealed(text,
                         [](Records& r) {
                           r.insert(r.begin() + 4, r[3]);
                           r[4]["type"] = "confirmations";
                           r[4].erase("survivors");
                           r[4]["signatures"] = nlohmann::ordered_json::array();
                         }),
                HasSubstr("'confirmations' may not follow 'uploads'"));
}

TEST(Transcript, HostileSizesAreRefused) {
  const auto sealed = [](const std::string& members) {
    return SealedLine(R"({"seq":0,"previous":")" + std::string(64, '0') + R"(","type":"opened",)" + members, TranscriptKey());
  };
  ExpectInvalid(std::string(kLineBytesMax + 2, 'x'), HasSubstr("more than"));
  ExpectInvalid(sealed(R"("format":)" + std::string(100'000, '[') + std::string(100'000, ']')),
                HasSubstr("more than a record does"));
  std::string wide = R"("format":[0)";
  for (int i = 0; i < 1 << 20; ++i) wide += ",0";
  ExpectInvalid(sealed(wide + "]"), HasSubstr("more than a record does"));
  ExpectInvalid(sealed(R"("format":1,"format")"), HasSubstr("not a JSON object"));
}

// --- the writer ---

TEST_P(EveryVariant, GoesOnAfterACrashAtEachRecord) {
  const test::TempDir dir;
  const auto path = dir.path() / "round.jsonl";
  const std::string whole = PlayRound(Small(GetParam()), {.before_upload = {2}});
  const std::vector<std::string> lines = LinesOf(whole);
  for (std::size_t count = 0; count <= lines.size(); ++count) {
    const std::string kept = TextOf({lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(count)});
    std::vector<std::string> torn = {""};
    if (count < lines.size()) {
      torn = {"",
              "{",
              lines[count],
              lines[count].substr(0, lines[count].size() / 2),
              std::string(100, '\0'),
              std::string(lines[count].size() / 2, '\0') + lines[count].substr(lines[count].size() / 2) + "\n"};
    }
    for (const std::string& tail : torn) {
      ASSERT_TRUE(WriteFileAtomic(path, AsBytes(kept + tail)).ok());
      Fleet fleet(Small(GetParam()));  // the same messages again
      const Status played = PlayWithTranscript(fleet, *OpenWriter(path), {.before_upload = {2}});
      ASSERT_TRUE(played.ok()) << played.ToString();
      ASSERT_EQ(ReadText(path), whole);
    }
  }
}

TEST(TranscriptWriter, RefusesAnotherTale) {
  const test::TempDir dir;
  const auto path = dir.path() / "round.jsonl";
  const FleetOptions options = Small(Adversary::kSemiHonest);
  const auto reason_of = [&](const FleetOptions& other, const Dropouts& dropouts) {
    Fleet fleet(other);
    return PlayWithTranscript(fleet, *OpenWriter(path), dropouts).reason();
  };
  Fleet fleet(options);
  ASSERT_TRUE(PlayWithTranscript(fleet, *OpenWriter(path)).ok());
  const std::string before = ReadText(path);
  EXPECT_EQ(reason_of(options, {}), "");
  EXPECT_EQ(reason_of(options, {.before_upload = {2}}), "TRANSCRIPT_DIFFERS");
  FleetOptions other = options;
  other.vector_length = 9;
  EXPECT_EQ(reason_of(other, {}), "TRANSCRIPT_DIFFERS");
  const auto writer = OpenWriter(path);
  EXPECT_TRUE(writer->Ended(nullptr, Outcome::kCommitted, "").ok());
  EXPECT_EQ(writer->Ended(nullptr, Outcome::kFailed, "").reason(), "TRANSCRIPT_DIFFERS");
  EXPECT_EQ(ReadText(path), before);
}

TEST(TranscriptWriter, RefusesRecordsOutOfOrder) {
  const test::TempDir dir;
  Fleet fleet(Small(Adversary::kSemiHonest));
  const auto writer = OpenWriter(dir.path() / "round.jsonl");
  EXPECT_EQ(writer->Ended(nullptr, Outcome::kFailed, "X").reason(), "WRONG_PHASE");
  ASSERT_TRUE(writer->Opened(fleet.server).ok());
  for (const Status& status : {writer->Roster(fleet.server), writer->Shared(fleet.server), writer->Uploads(fleet.server),
                               writer->Confirmations(fleet.server), writer->Answers(fleet.server)}) {
    EXPECT_EQ(status.reason(), "WRONG_PHASE");
  }
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok() && fleet.ShareAndClose().ok());
  EXPECT_EQ(writer->Shared(fleet.server).reason(), "WRONG_PHASE");
  ASSERT_TRUE(writer->Roster(fleet.server).ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
  EXPECT_EQ(writer->Shared(fleet.server).reason(), "WRONG_PHASE");  // the sealed shares are gone
  EXPECT_EQ(writer->Confirmations(fleet.server).reason(), "WRONG_PHASE");
  ASSERT_TRUE(writer->Ended(nullptr, Outcome::kFailed, "AGGREGATOR_RESTARTED").ok());
  EXPECT_EQ(writer->Uploads(fleet.server).reason(), "WRONG_PHASE");
  const auto summary = VerifyText(ReadText(dir.path() / "round.jsonl"));
  ASSERT_TRUE(summary.has_value()) << summary.error().ToString();
  EXPECT_EQ(summary->reason, "AGGREGATOR_RESTARTED");
}

TEST(TranscriptWriter, RefusesAFileThatIsNotItsOwn) {
  const test::TempDir dir;
  const auto path = dir.path() / "round.jsonl";
  const std::string text = PlayRound(Small(Adversary::kSemiHonest));
  const auto other = crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{8})).value();
  std::vector<std::string> moved = LinesOf(text);
  std::swap(moved[1], moved[2]);
  std::string altered = text;
  altered[altered.find("round-7")] = 'R';
  for (const std::string& wrong : {Resealed(
                                       text, [](Records&) {}, other),
                                   TextOf(moved), altered}) {
    ASSERT_TRUE(WriteFileAtomic(path, AsBytes(wrong)).ok());
    const auto writer = TranscriptWriter::Open(path, TranscriptKey());
    ASSERT_FALSE(writer.has_value());
    EXPECT_EQ(writer.error().reason(), "TRANSCRIPT_INVALID");
    EXPECT_EQ(ReadText(path), wrong);
  }
  EXPECT_EQ(TranscriptWriter::Open(dir.path() / "none" / "x", TranscriptKey()).error().reason(), "FILE_MISSING");
}

TEST(TranscriptWriter, TakesPrintableTextOnly) {
  const test::TempDir dir;
  const auto server = [](const std::string& round_id) {
    return Server::Create(
               {.config = {.round_id = round_id, .vector_length = 1, .element_bits = 32}, .server_nonce = Bytes(kDigestSize)})
        .value();
  };
  const auto writer = OpenWriter(dir.path() / "round.jsonl");
  EXPECT_EQ(writer->Opened(server("r\xFF")).reason(), "BAD_SETUP");
  ASSERT_TRUE(writer->Opened(server(R"(a "b" \c)")).ok());
  ASSERT_TRUE(writer->Ended(nullptr, Outcome::kFailed, "GONE\n" + std::string(300, 'x')).ok());
  const auto summary = VerifyTranscript(dir.path() / "round.jsonl", {});
  ASSERT_TRUE(summary.has_value()) << summary.error().ToString();
  EXPECT_EQ(summary->config.round_id, R"(a "b" \c)");
  EXPECT_EQ(summary->reason, "GONE?" + std::string(195, 'x'));
  EXPECT_EQ(VerifyTranscript(dir.path() / "none.jsonl", {}).error().reason(), "FILE_MISSING");
}

}  // namespace
}  // namespace edgefleet::secagg
