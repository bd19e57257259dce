#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/crypto/crypto.h"
#include "cdn_origin/http/range.h"
#include "cdn_origin/http/resource.h"
#include "cdn_origin/http/responder.h"
#include "cdn_origin/manifest/manifest.h"
#include "tests/support/origin_in_process.h"
#include "tests/support/raw_socket.h"

namespace edgefleet::http {
namespace {

using test::RawClient;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// RFC 9110, section 14.1.2 and 14.2, for a file of 10 bytes.
TEST(ParseRangeTest, Table) {
  using Kind = ByteRange::Kind;
  const ByteRange whole{};
  const ByteRange unsatisfiable{Kind::kUnsatisfiable, 0, 0};
  const auto part = [](std::uint64_t first, std::uint64_t length) { return ByteRange{Kind::kPart, first, length}; };
  const std::vector<std::pair<const char*, ByteRange>> cases = {
      {"bytes=0-0", part(0, 1)},
      {"bytes=0-9", part(0, 10)},
      {"bytes=3-5", part(3, 3)},
      {"bytes=3-", part(3, 7)},
      {"bytes=3-100", part(3, 7)},
      {"bytes=9-18446744073709551615", part(9, 1)},
      {"bytes=9-99999999999999999999999", part(9, 1)},
      {"bytes=-1", part(9, 1)},
      {"bytes=-10", part(0, 10)},
      {"bytes=-11", part(0, 10)},
      {"bytes=-99999999999999999999999", part(0, 10)},
      {"bytes=10-", unsatisfiable},
      {"bytes=10-20", unsatisfiable},
      {"bytes=99999999999999999999999-", unsatisfiable},
      {"bytes=-0", unsatisfiable},
      {"", whole},
      {"bytes", whole},
      {"bytes=", whole},
      {"bytes=-", whole},
      {"bytes=5-3", whole},
      {"bytes=a-b", whole},
      {"bytes=+1-2", whole},
      {"bytes=1-2x", whole},
      {"bytes=0-1,3-4", whole},
      {"bytes= 1 - 2", whole},
      {"items=0-1", whole},
  };
  for (const auto& [value, expected] : cases) EXPECT_EQ(ParseRange(value, 10), expected) << value;
  EXPECT_EQ(ParseRange("bytes=0-", 0), unsatisfiable);
  EXPECT_EQ(ParseRange("bytes=-5", 0), unsatisfiable);
}

TEST(EtagTest, Lists) {
  EXPECT_TRUE(AnyEtagMatches("*", "\"a\""));
  EXPECT_TRUE(AnyEtagMatches("\"b\", W/\"a\"", "\"a\""));
  EXPECT_FALSE(AnyEtagMatches("\"b\", a", "\"a\""));
  EXPECT_FALSE(AnyEtagMatches(",,", "\"a\""));
}

TEST(ParseTargetTest, NothingOutsideThePrefixes) {
  const std::string hex(64, 'a');
  EXPECT_EQ(ParseTarget("/blobs/" + hex)->kind, ResourceKind::kBlob);
  EXPECT_EQ(ParseTarget("/deltas/" + hex + "-" + hex)->kind, ResourceKind::kDelta);
  EXPECT_EQ(ParseTarget("/manifests/m/stable.json")->path, "m/stable.json");
  const std::vector<std::string> bad = {"/blobs/",
                                        "/blobs/" + std::string(64, 'A'),
                                        "/blobs/" + hex + "/",
                                        "/blobs/" + hex + "?x",
                                        "/blobs/../" + hex,
                                        "/blobs/" + hex + "a",
                                        "/deltas/" + hex,
                                        "/deltas/" + hex + "+" + hex,
                                        "/manifests/",
                                        "/manifests/../x",
                                        "/manifests/m/../../etc/passwd",
                                        "/manifests/m%2f..",
                                        "/manifests//etc",
                                        "blobs/" + hex,
                                        "http://x/blobs/" + hex,
                                        "*",
                                        "",
                                        "/manifests/m?v=1"};
  for (const auto& target : bad) EXPECT_EQ(ParseTarget(target).error().reason(), "BAD_TARGET") << target;
  for (const char* target : {"/", "/blob/x", "/../blobs/x", "/metrics"}) {
    EXPECT_EQ(ParseTarget(target).error().reason(), "NO_SUCH_RESOURCE") << target;
  }
}

class HttpTest : public ::testing::Test {
 protected:
  explicit HttpTest(const ServerOptions& options = {}) : origin_(options) {}

  std::string BlobPath() { return manifest::BlobPath(digest_); }
  std::string Etag() { return "\"" + HexEncode(digest_) + "\""; }
  static std::string Request(const std::string& method, const std::string& path, const std::string& fields = "") {
    return method + " " + path + " HTTP/1.1\r\nHost: origin\r\n" + fields + "\r\n";
  }
  std::pair<std::string, std::string> Get(const std::string& path, const std::string& fields = "") {
    RawClient client(origin_.server->address());
    client.Send(Request("GET", path, fields));
    return client.ReadAnswer();
  }
  // The status line's code and the JSON reason of what raw bytes are answered with.
  std::string Raw(const std::string& bytes) {
    RawClient client(origin_.server->address());
    client.Send(bytes);
    client.FinishSending();
    return client.ReadAll();
  }

  test::OriginInProcess origin_;
  const std::string text_ = "0123456789";
  const crypto::Sha256Digest digest_ = origin_.PutBlob(AsBytes(text_));
};

TEST_F(HttpTest, WholeBlobWithItsFields) {
  const auto [head, body] = Get(BlobPath());
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nETag: " + Etag() + "\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nCache-Control: public, max-age=31536000, immutable\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nAccept-Ranges: bytes\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nDate: "));
  EXPECT_EQ(body, text_);
}

TEST_F(HttpTest, RangesAndConditions) {
  struct Case {
    std::string fields;
    std::string status;
    std::string content_range;
    std::string body;
  };
  const std::vector<Case> cases = {
      {"Range: bytes=2-4\r\n", "206", "bytes 2-4/10", "234"},
      {"Range: bytes=7-\r\n", "206", "bytes 7-9/10", "789"},
      {"Range: bytes=-2\r\n", "206", "bytes 8-9/10", "89"},
      {"Range: bytes=0-1,4-5\r\n", "200", "", text_},
      {"Range: lines=0-1\r\n", "200", "", text_},
      {"Range: bytes=2-4\r\nIf-Range: " + Etag() + "\r\n", "206", "bytes 2-4/10", "234"},
      {"Range: bytes=2-4\r\nIf-Range: W/" + Etag() + "\r\n", "200", "", text_},
      {"Range: bytes=2-4\r\nIf-Range: \"other\"\r\n", "200", "", text_},
      {"Range: bytes=2-4\r\nIf-Range: Sat, 29 Oct 1994 19:43:31 GMT\r\n", "200", "", text_},
      {"If-None-Match: \"other\"\r\n", "200", "", text_},
      {"If-Match: " + Etag() + "\r\n", "200", "", text_},
  };
  for (const auto& c : cases) {
    const auto [head, body] = Get(BlobPath(), c.fields);
    EXPECT_THAT(head, StartsWith("HTTP/1.1 " + c.status)) << c.fields;
    if (!c.content_range.empty()) {
      EXPECT_THAT(head, HasSubstr("\r\nContent-Range: " + c.content_range + "\r\n")) << c.fields;
    } else {
      EXPECT_THAT(head, Not(HasSubstr("Content-Range"))) << c.fields;
    }
    EXPECT_EQ(body, c.body) << c.fields;
  }
}

TEST_F(HttpTest, UnsatisfiableNotModifiedAndFailedPrecondition) {
  EXPECT_THAT(Get(BlobPath(), "Range: bytes=10-\r\n").first, HasSubstr("Content-Range: bytes */10\r\n"));
  EXPECT_THAT(Get(BlobPath(), "Range: bytes=10-\r\n").first, StartsWith("HTTP/1.1 416"));
  EXPECT_THAT(Get(BlobPath(), "If-Match: \"other\"\r\n").first, StartsWith("HTTP/1.1 412"));
  for (const std::string& tags : {Etag(), "\"x\", W/" + Etag(), std::string("*")}) {
    const auto [head, body] = Get(BlobPath(), "If-None-Match: " + tags + "\r\nRange: bytes=1-2\r\n");
    EXPECT_THAT(head, StartsWith("HTTP/1.1 304 Not Modified\r\n")) << tags;
    EXPECT_THAT(head, HasSubstr("ETag: " + Etag()));
    EXPECT_EQ(body, "");
  }
}

TEST_F(HttpTest, HeadHasTheLengthButNoBody) {
  RawClient client(origin_.server->address());
  client.Send(Request("HEAD", BlobPath(), "Range: bytes=1-2\r\n") + Request("GET", BlobPath()));
  EXPECT_THAT(client.ReadHead(), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Length: 10\r\n")));
  EXPECT_THAT(client.ReadHead(), StartsWith("HTTP/1.1 200")) << "the next answer follows at once, on the same connection";
  EXPECT_EQ(client.Read(10), text_);
}

TEST_F(HttpTest, DeltasAndManifests) {
  const auto other = origin_.PutBlob(AsBytes("0123456789abc"));
  EXPECT_THAT(Get(manifest::DeltaPath(digest_, other)).first, StartsWith("HTTP/1.1 404"));
  const auto made = origin_.deltas->Make(digest_, other);
  ASSERT_TRUE(made);
  const auto [head, patch] = Get(manifest::DeltaPath(digest_, other));
  EXPECT_THAT(head, AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("immutable")));
  EXPECT_EQ(crypto::Sha256(AsBytes(patch)), made->sha256);

  EXPECT_THAT(Get("/manifests/m/stable.json").second, HasSubstr("MANIFEST_UNKNOWN"));
  const std::vector keys{crypto::Ed25519SecretKey::Generate()};
  const Bytes envelope = *manifest::Sign({"m", 1, "stable", 1, 1, 2, {{"int8", "int8", false, digest_, 10, {}}}}, keys);
  const auto etag = origin_.manifests->Put("m/stable.json", 1, envelope);
  const auto [manifest_head, manifest_body] = Get("/manifests/m/stable.json");
  EXPECT_THAT(manifest_head, AllOf(HasSubstr("Cache-Control: no-cache\r\n"), HasSubstr("ETag: " + *etag)));
  EXPECT_EQ(manifest_body, AsText(envelope));
  EXPECT_THAT(Get("/manifests/m/stable.json", "If-None-Match: " + *etag + "\r\n").first, StartsWith("HTTP/1.1 304"));
  EXPECT_EQ(Get("/manifests/m/stable.json", "Range: bytes=1-3\r\n").second, manifest_body.substr(1, 3));
}

TEST_F(HttpTest, MalformedAndForbiddenRequests) {
  const std::string get = "GET " + BlobPath() + " HTTP/1.1\r\nHost: x\r\n";
  const std::vector<std::tuple<std::string, std::string, std::string>> cases = {
      {Request("GET", "/nowhere", "Connection: close\r\n"), "404", "NO_SUCH_RESOURCE"},
      {Request("GET", "/blobs/" + std::string(64, '0'), "Connection: close\r\n"), "404", "BLOB_UNKNOWN"},
      {Request("GET", "/manifests/../../etc/passwd", "Connection: close\r\n"), "400", "BAD_TARGET"},
      {Request("DELETE", BlobPath(), "Connection: close\r\n"), "405", "METHOD_NOT_ALLOWED"},
      {Request("POST", BlobPath(), "Content-Length: 3\r\n") + "abc", "405", "METHOD_NOT_ALLOWED"},
      {get + "Content-Length: 3\r\n\r\nabc", "400", "BODY_NOT_ALLOWED"},
      {get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "BODY_NOT_ALLOWED"},
      {get + "Content-Length: 99999999999\r\n\r\n", "413", "BODY_NOT_ALLOWED"},
      {get + "X: " + std::string(9000, 'x') + "\r\n\r\n", "431", "HEADERS_TOO_LARGE"},
      {"GET " + BlobPath() + " HTTP/1.1\r\n\r\n", "400", "BAD_REQUEST"},
      {"GET " + BlobPath() + " HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", "BAD_REQUEST"},
      {"GET\r\n\r\n", "400", "BAD_REQUEST"},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "400", "BAD_REQUEST"},
      {"GET / HTTP/9.9\r\n\r\n", "400", "BAD_REQUEST"},
      {get + "Content-Length: abc\r\n\r\n", "400", "BAD_REQUEST"},
      {get + "no colon here\r\n\r\n", "400", "BAD_REQUEST"},
  };
  for (const auto& [request, status, reason] : cases) {
    const std::string answer = Raw(request);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + status)) << request.substr(0, 80);
    EXPECT_THAT(answer, HasSubstr("\"reason\": \"" + reason + "\"")) << request.substr(0, 80);
  }
  EXPECT_THAT(Raw(Request("PUT", BlobPath(), "Connection: close\r\n")), HasSubstr("Allow: GET, HEAD\r\n"));
  EXPECT_EQ(Get(BlobPath()).second, text_) << "the server goes on";
}

TEST_F(HttpTest, TruncatedRequestsGetNoAnswer) {
  const std::string request = Request("GET", BlobPath());
  for (std::size_t size = 0; size < request.size(); size += 9) EXPECT_EQ(Raw(request.substr(0, size)), "") << size;
}

TEST_F(HttpTest, Http10ClosesUnlessAsked) {
  EXPECT_THAT(Raw("GET " + BlobPath() + " HTTP/1.0\r\n\r\n"),
              AllOf(HasSubstr("Connection: close"), ::testing::EndsWith(text_)));
}

TEST_F(HttpTest, LargeFilesToManyClientsAtOnceAndPipelined) {
  std::string large(5'000'000, '\0');
  SeededRandom random(1);
  random.Fill(std::as_writable_bytes(std::span(large)));
  const std::string path = manifest::BlobPath(origin_.PutBlob(AsBytes(large)));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      RawClient client(origin_.server->address());
      client.Send(Request("GET", path) + Request("GET", path, "Range: bytes=4000000-\r\n"));
      const bool first = client.ReadAnswer().second == large;
      const bool second = client.ReadAnswer().second == large.substr(4'000'000);
      good += first && second;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 16);
}

TEST_F(HttpTest, StopLetsAnswersUnderWayComeToAnEnd) {
  const std::string large(8'000'000, 'x');
  const std::string path = manifest::BlobPath(origin_.PutBlob(AsBytes(large)));
  RawClient idle(origin_.server->address());
  idle.Send(Request("GET", BlobPath()));
  EXPECT_EQ(idle.ReadAnswer().second, text_);
  RawClient busy(origin_.server->address(), 4096);
  busy.Send(Request("GET", path));
  const std::string head = busy.ReadHead();
  std::thread stop([&] { origin_.server->Stop(std::chrono::seconds(60)); });
  EXPECT_EQ(idle.ReadAll(), "") << "an idle connection is closed";
  EXPECT_EQ(busy.Read(large.size()), large);
  EXPECT_EQ(busy.ReadAll(), "") << "and so is this one, after its answer";
  stop.join();
}

TEST_F(HttpTest, StopWithoutGraceCutsAnswers) {
  const std::string large(8'000'000, 'x');
  const std::string path = manifest::BlobPath(origin_.PutBlob(AsBytes(large)));
  RawClient busy(origin_.server->address(), 4096);
  busy.Send(Request("GET", path));
  busy.ReadHead();
  origin_.server->Stop(std::chrono::milliseconds(0));
  EXPECT_LT(busy.ReadAll().size(), large.size());
}

class LimitedHttpTest : public HttpTest {
 protected:
  static ServerOptions Options() {
    ServerOptions options;
    options.idle_timeout = std::chrono::milliseconds(100);
    options.header_timeout = std::chrono::milliseconds(100);
    return options;
  }
  LimitedHttpTest() : HttpTest(Options()) {}
};

TEST_F(LimitedHttpTest, SilentAndSlowClientsAreLetGo) {
  RawClient silent(origin_.server->address());
  EXPECT_EQ(silent.ReadAll(), "");
  RawClient half(origin_.server->address());
  half.Send("GET " + BlobPath() + " HTT");
  EXPECT_EQ(half.ReadAll(), "");
}

class StallHttpTest : public HttpTest {
 protected:
  static ServerOptions Options() {
    ServerOptions options;
    options.connections_max = 1;
    options.stall_timeout = std::chrono::milliseconds(100);
    return options;
  }
  StallHttpTest() : HttpTest(Options()) {}
};

TEST_F(StallHttpTest, AReaderThatStandsStillIsLetGo) {
  const std::string large(20'000'000, 'x');
  RawClient still(origin_.server->address(), 4096);
  still.Send(Request("GET", manifest::BlobPath(origin_.PutBlob(AsBytes(large)))));
  EXPECT_THAT(still.ReadHead(), StartsWith("HTTP/1.1 200"));
  // The only place is free again once the server has given up; nothing is read meanwhile.
  for (std::string answer; !answer.starts_with("HTTP/1.1 200");) {
    RawClient next(origin_.server->address());
    next.Send(Request("GET", BlobPath()));
    answer = next.ReadHead();
  }
  EXPECT_LT(still.ReadAll().size(), large.size());
}

class CrowdedHttpTest : public HttpTest {
 protected:
  static ServerOptions Options() {
    ServerOptions options;
    options.connections_max = 3;
    return options;
  }
  CrowdedHttpTest() : HttpTest(Options()) {}
};

TEST_F(CrowdedHttpTest, TheConnectionLimitIsAnsweredWith503) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawClient>(origin_.server->address()));
    clients.back()->Send(Request("GET", BlobPath()));
    EXPECT_EQ(clients.back()->ReadAnswer().second, text_);
  }
  RawClient refused(origin_.server->address());
  EXPECT_THAT(refused.ReadAll(),
              AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("Retry-After: 5\r\n"), HasSubstr("TOO_MANY_CONNECTIONS")));
  clients.pop_back();
  std::string answer;
  while (!answer.starts_with("HTTP/1.1 200")) {
    RawClient next(origin_.server->address());
    next.Send(Request("GET", BlobPath()));
    answer = next.ReadHead();
  }
}

TEST(ServerStartTest, BadAndTakenAddresses) {
  test::OriginInProcess origin;
  NullMetrics metrics;
  struct Nothing final : ContentSource {
    Result<Content> Open(const Resource&) override { return NotFound("NOTHING", "nothing"); }
  } nothing;
  ServerOptions options;
  options.listen = "no port";
  EXPECT_EQ(Server::Start(options, nothing, metrics).error().reason(), "BAD_ADDRESS");
  options.listen = origin.server->address();
  EXPECT_EQ(Server::Start(options, nothing, metrics).error().reason(), "ADDRESS_IN_USE");
}

}  // namespace
}  // namespace edgefleet::http
