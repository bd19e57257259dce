// The updater against servers that err and lie: each time a clear reason, and the old version stays.
#include <functional>

#include "cdn_origin/delta/encoder.h"
#include "cdn_origin/http/range.h"
#include "tests/support/raw_socket.h"
#include "tests/update/update_fixture.h"

namespace edgefleet::update {
namespace {

using Answer = std::function<std::string(const std::string& head)>;

std::string FieldOf(const std::string& head, const std::string& name) {
  const std::size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const std::size_t from = at + name.size() + 4;
  return head.substr(from, head.find("\r\n", from) - from);
}

std::string Whole(const std::string& body, const std::string& etag = "\"e\"") {
  return "HTTP/1.1 200 OK\r\nETag: " + etag + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

std::string Part(const std::string& body, std::uint64_t first, std::uint64_t total, const std::string& etag = "\"e\"") {
  return "HTTP/1.1 206 Partial Content\r\nETag: " + etag + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nContent-Range: bytes " + std::to_string(first) + "-" + std::to_string(first + body.size() - 1) + "/" +
         std::to_string(total) + "\r\nConnection: close\r\n\r\n" + body;
}

// The beginning of an answer that promises more.
std::string Cut(const std::string& answer, std::size_t body_bytes) {
  return answer.substr(0, answer.find("\r\n\r\n") + 4 + body_bytes);
}

// Serves a file as an honest origin does.
std::string Serve(const std::string& head, const std::string& file) {
  const auto range = http::ParseRange(FieldOf(head, "Range"), file.size());
  if (range.kind != http::ByteRange::Kind::kPart) return Whole(file);
  return Part(file.substr(range.first, range.length), range.first, file.size());
}

class HostileTest : public ::testing::Test {
 protected:
  HostileTest() {
    manifest_ = ManifestOf(1, 5);
    files_ = {{manifest::BlobPath(TargetOf(1).sha256), ToString(FileOf(1))}};
    test::RawServer honest([this](const std::string& head) { return Honest(head); });
    EXPECT_EQ(device_.Poll(honest.url()).outcome, UpdateOutcome::kInstalled);
    manifest_ = ManifestOf(2, 6);
    files_[BlobPath()] = ToString(FileOf(2));
  }

  manifest::Manifest ManifestOf(std::uint64_t version, std::uint64_t sequence) {
    const std::int64_t now = ToUnixMillis(device_.clock().Now());
    return {kModel, version, "stable", sequence, now, now + 3'600'000, {TargetOf(version)}};
  }
  static std::string BlobPath() { return manifest::BlobPath(TargetOf(2).sha256); }
  static std::string PathOf(const std::string& head) { return head.substr(4, head.find(' ', 4) - 4); }

  std::string Honest(const std::string& head) {
    if (PathOf(head) == "/manifests/" + std::string(kPath)) return Whole(ToString(Envelope(manifest_)), "\"m\"");
    const auto file = files_.find(PathOf(head));
    return file == files_.end() ? "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" : Serve(head, file->second);
  }
  // One poll; `blob` answers requests for version 2's file, all else is honest. Counts those requests.
  UpdateReport PollWith(const Answer& blob) {
    test::RawServer server([&](const std::string& head) {
      if (PathOf(head) != BlobPath()) return Honest(head);
      ++blob_requests_;
      return blob(head);
    });
    return device_.Poll(server.url());
  }
  UpdateReport PollManifest(const std::string& answer) {
    test::RawServer server([&](const std::string&) { return answer; });
    return device_.Poll(server.url());
  }
  void ExpectStillOn1(const UpdateReport& report, const std::string& reason, const std::string& what) {
    EXPECT_EQ(report.outcome, UpdateOutcome::kFailed) << what;
    EXPECT_EQ(report.reason, reason) << what << ": " << report.message;
    EXPECT_FALSE(report.message.empty()) << what;
    EXPECT_EQ(device_.ActiveVersion(), 1u) << what;
    device_.Restart();
    EXPECT_EQ(device_.ActiveVersion(), 1u) << what;
  }
  void ExpectRecovery() {
    const auto report = PollWith([&](const std::string& head) { return Serve(head, text_); });
    EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason << report.message;
    EXPECT_EQ(device_.ActiveVersion(), 2u);
  }

  Device device_;
  manifest::Manifest manifest_;
  std::map<std::string, std::string> files_;
  int blob_requests_ = 0;
  const std::string text_ = ToString(FileOf(2));
};

TEST_F(HostileTest, CutsAreResumedWhereTheyHappened) {
  std::vector<std::string> ranges;
  const auto report = PollWith([&](const std::string& head) {
    ranges.push_back(FieldOf(head, "Range"));
    EXPECT_EQ(FieldOf(head, "If-Range"), ranges.back().empty() ? "" : "\"e\"");
    return Cut(Serve(head, text_), 9000);
  });
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason;
  EXPECT_THAT(ranges, ::testing::ElementsAre("", "bytes=9000-", "bytes=18000-", "bytes=27000-", "bytes=36000-"));
  EXPECT_EQ(report.bytes_transferred, text_.size() + Envelope(manifest_).size()) << "no byte twice";
  EXPECT_EQ(device_.ActiveVersion(), 2u);
}

TEST_F(HostileTest, OutageIsGoneOnFromByALaterPollAndAnotherProcess) {
  auto report =
      PollWith([&](const std::string& head) { return blob_requests_ == 1 ? Cut(Serve(head, text_), 12'345) : std::string(); });
  ExpectStillOn1(report, "CONNECTION_LOST", "outage");
  EXPECT_EQ(blob_requests_, 4) << "three fruitless tries in a row";
  std::string range;
  report = PollWith([&](const std::string& head) {
    range = FieldOf(head, "Range");
    return Serve(head, text_);
  });
  EXPECT_EQ(range, "bytes=12345-");
  EXPECT_EQ(device_.ActiveVersion(), 2u);
  EXPECT_EQ(device_.FileCount("pending"), 0u);
}

TEST_F(HostileTest, ChangedContentStartsAnewWhenTheOriginSaysSo) {
  const auto report = PollWith([&](const std::string&) {
    return blob_requests_ == 1 ? Cut(Whole(std::string(text_.size(), 'x'), "\"old\""), 500) : Whole(text_, "\"new\"");
  });
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason;
  EXPECT_EQ(device_.ActiveVersion(), 2u);
}

TEST_F(HostileTest, HostileAnswersForAFile) {
  struct Case {
    const char* what;
    const char* reason;
    Answer answer;  // to the first request; the rest of the file is asked for after a cut
  };
  const std::size_t size = text_.size();
  const auto after_cut = [&](std::string second) {
    return [this, second](const std::string&) { return blob_requests_ == 1 ? Cut(Whole(text_), 1000) : second; };
  };
  const auto always = [](std::string bytes) { return [bytes](const std::string&) { return bytes; }; };
  const std::string head = "HTTP/1.1 200 OK\r\n";
  const std::vector<Case> cases = {
      {"early range", "BAD_RANGE", after_cut(Part(text_.substr(900), 900, size))},
      {"late range", "BAD_RANGE", after_cut(Part(text_.substr(1100), 1100, size))},
      {"altered size", "SIZE_MISMATCH", after_cut(Part(text_.substr(1000), 1000, size + 1))},
      {"content changed under another tag", "CONTENT_CHANGED", after_cut(Part(text_.substr(1000), 1000, size, "\"other\""))},
      {"content changed under the same tag", "CHECKSUM_MISMATCH", after_cut(Part(std::string(size - 1000, 'x'), 1000, size))},
      {"range not satisfiable", "BAD_RANGE", after_cut("HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n")},
      {"part without Content-Range", "BAD_HTTP_RESPONSE", after_cut("HTTP/1.1 206 X\r\nContent-Length: 9\r\n\r\n123456789")},
      {"malformed Content-Range", "BAD_HTTP_RESPONSE", after_cut("HTTP/1.1 206 X\r\nContent-Range: bytes 9-1/x\r\n\r\n")},
      {"negative Content-Range", "BAD_HTTP_RESPONSE", after_cut("HTTP/1.1 206 X\r\nContent-Range: bytes -1-5/9\r\n\r\n")},
      {"a file of another size", "SIZE_MISMATCH", always(Whole(text_ + "x"))},
      {"a shorter file", "SIZE_MISMATCH", always(Whole(text_.substr(1)))},
      {"endless body", "BODY_TOO_LARGE", always(head + "ETag: \"e\"\r\n\r\n" + std::string(size * 20, 'x'))},
      {"wrong bytes", "CHECKSUM_MISMATCH", always(Whole(std::string(size, 'x')))},
      {"short body without length, always", "SIZE_MISMATCH", always(head + "\r\n" + text_.substr(0, 10))},
      {"no HTTP", "BAD_HTTP_RESPONSE", always("\x16\x03garbage, no HTTP at all\r\n\r\n")},
      {"malformed status", "BAD_HTTP_RESPONSE", always("HTTP/1.1 abc OK\r\n\r\n")},
      {"malformed length", "BAD_HTTP_RESPONSE", always(head + "Content-Length: ten\r\n\r\n")},
      {"endless headers", "BAD_HTTP_RESPONSE",
       always(head +
              [] {
                std::string fields;
                for (int i = 0; i < 5000; ++i) fields += "X-Field-" + std::to_string(i) + ": garbage garbage\r\n";
                return fields;
              }())},
      {"redirect", "BAD_HTTP_RESPONSE", always("HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")},
      {"compressed", "BAD_HTTP_RESPONSE", always(head + "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde")},
      {"unasked 304", "BAD_RANGE", always("HTTP/1.1 304 X\r\n\r\n")},
      {"gone", "FILE_UNKNOWN", always("HTTP/1.1 404 X\r\nContent-Length: 3\r\n\r\nabc")},
      {"busy", "ORIGIN_BUSY", always("HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")},
      {"nothing at all", "CONNECTION_LOST", always("")},
      {"cut in the head", "CONNECTION_LOST", always("HTTP/1.1 200 OK\r\nContent-")},
  };
  for (const auto& c : cases) {
    blob_requests_ = 0;
    ExpectStillOn1(PollWith(c.answer), c.reason, c.what);
    EXPECT_LE(blob_requests_, 6) << c.what;
  }
  ExpectRecovery();
}

TEST_F(HostileTest, HostileManifests) {
  const auto signed_with = [&](const std::function<void(manifest::Manifest&)>& change, int key = 1) {
    manifest::Manifest manifest = manifest_;
    change(manifest);
    return Whole(ToString(Envelope(manifest, key)));
  };
  const std::string good = ToString(Envelope(manifest_));
  const std::vector<std::tuple<const char*, const char*, std::string>> cases = {
      {"garbage", "BAD_MANIFEST", Whole("garbage")},
      {"empty", "BAD_MANIFEST", Whole("")},
      {"half", "BAD_MANIFEST", Whole(good.substr(0, good.size() / 2))},
      {"endless", "BODY_TOO_LARGE", Whole(std::string(2'000'000, ' '))},
      {"foreign key", "BAD_SIGNATURE", signed_with([](auto&) {}, 2)},
      {"replayed", "STALE_MANIFEST", signed_with([](auto& m) { m.sequence = 4; })},
      {"expired", "MANIFEST_EXPIRED", signed_with([](auto& m) { m.created_unix_ms = 1, m.expires_unix_ms = 2; })},
      {"another model", "WRONG_MODEL", signed_with([](auto& m) { m.model = "other"; })},
      {"another alias", "WRONG_MANIFEST", signed_with([](auto& m) { m.alias = "canary", m.sequence = 99; })},
      {"a single version", "WRONG_MANIFEST", signed_with([](auto& m) { m.alias.clear(); })},
      {"too large a file", "TARGET_TOO_LARGE", signed_with([](auto& m) { m.targets[0].size = 10'000'001; })},
      {"no variant of ours", "VARIANT_MISSING", signed_with([](auto& m) { m.targets[0].name = "bf16"; })},
      {"a part", "BAD_HTTP_RESPONSE", Part(good, 0, good.size())},
      {"304 unasked", "BAD_HTTP_RESPONSE", "HTTP/1.1 304 X\r\n\r\n"},
      {"missing", "FILE_UNKNOWN", "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"},
  };
  std::filesystem::remove_all(device_.dir() / "manifests");  // so that requests carry no condition
  std::filesystem::create_directories(device_.dir() / "manifests");
  for (const auto& [what, reason, answer] : cases) {
    const auto report = PollManifest(answer);
    EXPECT_EQ(report.outcome, UpdateOutcome::kFailed) << what;
    EXPECT_EQ(report.reason, reason) << what << report.message;
    EXPECT_EQ(device_.ActiveVersion(), 1u) << what;
    std::filesystem::remove_all(device_.dir() / "manifests");
    std::filesystem::create_directories(device_.dir() / "manifests");
  }
  ExpectRecovery();
}

TEST_F(HostileTest, AManifestThatLiesAboutItsFile) {
  manifest_.targets[0].size += 1;
  ExpectStillOn1(PollWith([&](const std::string& head) { return Serve(head, text_); }), "SIZE_MISMATCH", "size");
  manifest_.targets[0].size -= 1;
  manifest_.sequence += 1;
  ExpectRecovery();
}

class HostileDeltaTest : public HostileTest {
 protected:
  // Offers a patch from version 1 that the metadata describes truthfully, whatever it holds.
  void Offer(const std::string& patch) {
    const auto from = TargetOf(1).sha256;
    manifest_.targets[0].deltas = {{from, crypto::Sha256(AsBytes(patch)), patch.size()}};
    files_[manifest::DeltaPath(from, TargetOf(2).sha256)] = patch;
    manifest_.sequence += 1;
  }
  std::string PatchBetween(const Bytes& from, const Bytes& to) {
    test::TempDir dir;
    EXPECT_TRUE(delta::Encode(from, to, dir.path() / "p"));
    return ToString(*ReadFile(dir.path() / "p", 1 << 30));
  }
  UpdateReport PollHonest(bool full_file_there) {
    return PollWith([&](const std::string& head) {
      return full_file_there ? Serve(head, text_) : "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n";
    });
  }
};

TEST_F(HostileDeltaTest, GoodPatch) {
  Offer(PatchBetween(FileOf(1), FileOf(2)));
  const auto report = PollHonest(false);
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason;
  EXPECT_TRUE(report.by_delta);
  EXPECT_EQ(blob_requests_, 0);
}

TEST_F(HostileDeltaTest, BadPatchesAreFollowedByTheFullFile) {
  const std::string good = PatchBetween(FileOf(1), FileOf(2));
  for (const std::string& patch :
       {PatchBetween(FileOf(1), FileOf(3)), PatchBetween(FileOf(2), FileOf(2)), std::string("garbage"),
        good.substr(0, good.size() - 9), PatchBetween(FileOf(1), Bytes(9'000'000))}) {
    Offer(patch);
    auto report = PollHonest(false);
    EXPECT_EQ(report.reason, "FILE_UNKNOWN") << "the full file was asked for";
    EXPECT_EQ(device_.ActiveVersion(), 1u);
  }
  const auto report = PollHonest(true);
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason;
  EXPECT_FALSE(report.by_delta);
  EXPECT_EQ(device_.ActiveVersion(), 2u);
}

TEST_F(HostileDeltaTest, APatchThatIsNotWhatTheMetadataNames) {
  Offer(PatchBetween(FileOf(1), FileOf(2)));
  auto& served = files_[manifest::DeltaPath(TargetOf(1).sha256, TargetOf(2).sha256)];
  served[served.size() / 2] ^= 1;
  EXPECT_EQ(PollHonest(true).outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(blob_requests_, 1);
}

TEST_F(HostileDeltaTest, APatchLargerThanTheFileIsNotWorthIt) {
  Offer(PatchBetween(FileOf(1), FileOf(2)) + std::string(50'000, 'x'));
  EXPECT_EQ(PollHonest(true).outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(blob_requests_, 1);
}

TEST(CurlFetcherTest, OnlyOrigins) {
  for (const char* good : {"http://127.0.0.1:80", "https://cdn.example"})
    EXPECT_TRUE(MakeCurlFetcher({.base_url = good})) << good;
  for (const char* bad :
       {"", "ftp://x", "file:///etc/passwd", "http://", "http://x/path", "http://user@x", "http://x?y", "x:80"}) {
    const auto made = MakeCurlFetcher({.base_url = bad});
    ASSERT_FALSE(made) << bad;
    EXPECT_EQ(made.error().reason(), "BAD_URL");
  }
}

}  // namespace
}  // namespace edgefleet::update
