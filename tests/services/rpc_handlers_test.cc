#include "services/runtime/rpc_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "proto/rpc/status.h"
#include "tests/services/handler_server.h"

namespace edgefleet::services {
namespace {

using testing::HasSubstr;

constexpr auto kTimeout = std::chrono::minutes(1);

// One StatBlob call.
Status Stat(HandlerServer& server, pb::BlobState* out = nullptr) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  pb::BlobState response;
  const grpc::Status status = server.stub->StatBlob(&context, {}, &response);
  if (out != nullptr) *out = response;
  return rpc::FromGrpc(status, context);
}

TEST(Unary, AnswersAndIsCounted) {
  HandlerServer server;
  server.service.stat = [](const pb::StatBlobRequest&, pb::BlobState& response) -> Status {
    response.set_received(7);
    return {};
  };
  pb::BlobState response;
  ASSERT_TRUE(Stat(server, &response).ok());
  EXPECT_EQ(response.received(), 7u);
  server.Shutdown();
  const std::string metrics = server.metrics.Expose();
  EXPECT_THAT(metrics, HasSubstr(R"(edgefleet_rpc_requests_total{code="OK",method="OriginService/StatBlob"} 1)"));
  EXPECT_THAT(metrics, HasSubstr(R"(edgefleet_rpc_duration_seconds_count{method="OriginService/StatBlob"} 1)"));
}

TEST(Unary, ErrorCarriesReasonAndRetryHint) {
  HandlerServer server;
  server.service.stat = [](const pb::StatBlobRequest&, pb::BlobState&) -> Status {
    return FailedPrecondition("ROUND_CLOSED", "over").RetryAfter(std::chrono::milliseconds(250));
  };
  const Status status = Stat(server);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.reason(), "ROUND_CLOSED");
  EXPECT_EQ(status.message(), "over");
  EXPECT_EQ(status.retry_after(), std::chrono::milliseconds(250));
}

TEST(Unary, ExceptionBecomesInternalAndTheServerGoesOn) {
  HandlerServer server;
  bool first = true;
  server.service.stat = [&](const pb::StatBlobRequest&, pb::BlobState&) -> Status {
    if (std::exchange(first, false)) throw std::runtime_error("out of luck");
    return {};
  };
  const Status status = Stat(server);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_EQ(status.reason(), "UNEXPECTED");
  EXPECT_TRUE(Stat(server).ok());
}

TEST(Unary, FullPoolShedsWithRetryHint) {
  HandlerServer server(/*threads=*/1, /*queue_max=*/1);
  std::promise<void> entered;
  std::promise<void> release;
  // One task runs, one waits: the pool is full.
  ASSERT_TRUE(server.pool
                  .Submit([&] {
                    entered.set_value();
                    release.get_future().wait();
                  })
                  .ok());
  entered.get_future().wait();
  ASSERT_TRUE(server.pool.Submit([] {}).ok());
  server.service.stat = [](const pb::StatBlobRequest&, pb::BlobState&) -> Status { return {}; };
  const Status status = Stat(server);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.reason(), "OVERLOADED");
  EXPECT_TRUE(status.retry_after().has_value());
  release.set_value();
}

TEST(Unary, BeforeStartIsUnavailable) {
  HandlerServer server;
  server.service.stat = [](const pb::StatBlobRequest&, pb::BlobState&) -> Status { return {}; };
  server.handlers.serving = false;
  const Status status = Stat(server);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.reason(), "STARTING");
  server.handlers.serving = true;
  EXPECT_TRUE(Stat(server).ok());
}

TEST(Trace, CrossesTheCallWithAFreshSpan) {
  HandlerServer server;
  std::optional<TraceContext> seen;
  server.service.stat = [&](const pb::StatBlobRequest&, pb::BlobState&) -> Status {
    seen = CurrentTrace();
    return {};
  };
  crypto::SecureRandom random;
  const TraceContext mine = TraceContext::Generate(random);
  {
    const TraceScope scope(mine);
    ASSERT_TRUE(Stat(server).ok());
  }
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->trace_id, mine.trace_id);
  EXPECT_NE(seen->span_id, mine.span_id);
  ASSERT_TRUE(Stat(server).ok());  // without one, a new trace
  ASSERT_TRUE(seen.has_value());
  EXPECT_NE(seen->trace_id, mine.trace_id);
}

// ---- Deferred
// -----------------------------------------------------------------------------------------------------------------

// One pending GetEndpoint call.
struct Pending {
  explicit Pending(HandlerServer& server) {
    rpc::PrepareCall(context, kTimeout);
    outcome = std::async(std::launch::async, [this, &server] {
      const grpc::Status status = server.stub->GetEndpoint(&context, {}, &response);
      return rpc::FromGrpc(status, context);
    });
  }
  grpc::ClientContext context;
  pb::Endpoint response;
  std::future<Status> outcome;
};

using DeferredEndpoint = std::shared_ptr<Deferred<pb::Endpoint>>;

TEST(DeferredUnary, IsAnsweredLaterFromAnotherThread) {
  HandlerServer server;
  std::promise<DeferredEndpoint> arrived;
  server.service.endpoint = [&](const pb::GetEndpointRequest&, DeferredEndpoint deferred) { arrived.set_value(deferred); };
  Pending call(server);
  auto deferred = arrived.get_future().get();
  EXPECT_FALSE(deferred->done());
  pb::Endpoint endpoint;
  endpoint.set_base_url("http://here");
  deferred->Finish(endpoint);
  EXPECT_TRUE(deferred->done());
  deferred->Finish(Internal("LATE", "does nothing"));
  EXPECT_TRUE(call.outcome.get().ok());
  EXPECT_EQ(call.response.base_url(), "http://here");
}

TEST(DeferredUnary, CancelRunsTheCallbackAndLateAnswersDoNothing) {
  HandlerServer server;
  std::promise<DeferredEndpoint> arrived;
  server.service.endpoint = [&](const pb::GetEndpointRequest&, DeferredEndpoint deferred) { arrived.set_value(deferred); };
  Pending call(server);
  auto deferred = arrived.get_future().get();
  std::promise<void> cancelled;
  deferred->WhenCancelled([&] { cancelled.set_value(); });
  call.context.TryCancel();
  cancelled.get_future().wait();
  EXPECT_EQ(call.outcome.get().code(), StatusCode::kCancelled);
  deferred->Finish(pb::Endpoint());
  EXPECT_TRUE(deferred->done());
}

TEST(DeferredUnary, DroppedWithoutAnswerIsUnavailable) {
  HandlerServer server;
  server.service.endpoint = [](const pb::GetEndpointRequest&, DeferredEndpoint) {};
  Pending call(server);
  const Status status = call.outcome.get();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.reason(), "STOPPING");
}

// ---- Upload
// -------------------------------------------------------------------------------------------------------------------

// Hashes what comes; can refuse at the n-th message; tells when it goes.
class HashingSink final : public UploadSink<pb::PutBlobRequest, pb::BlobState> {
 public:
  struct Shared {
    std::atomic<int> active{0};
    std::atomic<int> active_max{0};
    std::atomic<std::uint64_t> messages{0};
    std::atomic<std::uint64_t> sent{0};
    std::atomic<std::uint64_t> ahead_max{0};
    std::uint64_t refuse_at = 0;
    std::promise<void> first;
    std::promise<std::string> gone;  // the digest so far
  };
  explicit HashingSink(Shared& shared) : shared_(shared) {}
  ~HashingSink() override { shared_.gone.set_value(HexEncode(digest_.Finish())); }

  Status Write(const pb::PutBlobRequest& message) override {
    shared_.active_max = std::max(shared_.active_max.load(), ++shared_.active);
    digest_.Update(AsBytes(message.chunk()));
    bytes_ += message.chunk().size();
    const std::uint64_t count = ++shared_.messages;
    const std::uint64_t sent = shared_.sent;
    if (sent > count) shared_.ahead_max = std::max(shared_.ahead_max.load(), sent - count);
    if (count == 1) shared_.first.set_value();
    --shared_.active;
    if (count == shared_.refuse_at) return InvalidArgument("BAD_UPDATE", "no more of this");
    return OkStatus();
  }
  Status Close(pb::BlobState& response) override {
    response.set_received(bytes_);
    return OkStatus();
  }

 private:
  Shared& shared_;
  crypto::Sha256Stream digest_;
  std::uint64_t bytes_ = 0;
};

TEST(Upload, BigStreamArrivesInOrderOneAtATimeUnderBackPressure) {
  HashingSink::Shared shared;
  HandlerServer server(/*threads=*/4);
  server.service.put = [&] { return std::make_unique<HashingSink>(shared); };
  constexpr std::uint64_t kMessages = 256;
  crypto::Sha256Stream expected;
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  pb::BlobState response;
  auto writer = server.stub->PutBlob(&context, &response);
  pb::PutBlobRequest message;
  for (std::uint64_t i = 0; i < kMessages; ++i) {
    message.mutable_chunk()->assign(rpc::kChunkBytes, static_cast<char>(i));
    expected.Update(AsBytes(message.chunk()));
    ASSERT_TRUE(writer->Write(message));
    ++shared.sent;
  }
  writer->WritesDone();
  const Status status = rpc::FromGrpc(writer->Finish(), context);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(response.received(), kMessages * rpc::kChunkBytes);
  EXPECT_EQ(shared.gone.get_future().get(), HexEncode(expected.Finish()));
  EXPECT_EQ(shared.active_max, 1);
  EXPECT_LT(shared.ahead_max, kMessages / 2);  // what is on the way is bounded by windows, not by the stream
}

TEST(Upload, RefusalEndsTheStreamEarly) {
  HashingSink::Shared shared;
  shared.refuse_at = 3;
  HandlerServer server;
  server.service.put = [&] { return std::make_unique<HashingSink>(shared); };
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  pb::BlobState response;
  auto writer = server.stub->PutBlob(&context, &response);
  pb::PutBlobRequest message;
  message.mutable_chunk()->assign(1024, 'x');
  while (writer->Write(message)) continue;
  const Status status = rpc::FromGrpc(writer->Finish(), context);
  EXPECT_EQ(status.reason(), "BAD_UPDATE");
  EXPECT_EQ(shared.messages, 3u);
}

TEST(Upload, CancelledStreamReleasesTheSink) {
  HashingSink::Shared shared;
  HandlerServer server;
  server.service.put = [&] { return std::make_unique<HashingSink>(shared); };
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  pb::BlobState response;
  auto writer = server.stub->PutBlob(&context, &response);
  pb::PutBlobRequest message;
  message.set_chunk("x");
  ASSERT_TRUE(writer->Write(message));
  shared.first.get_future().wait();
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  shared.gone.get_future().wait();
}

// ---- Download
// -----------------------------------------------------------------------------------------------------------------

// Reads a GetBlob stream to its end.
Status ReadAll(HandlerServer& server, std::vector<std::string>& chunks) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  auto reader = server.stub->GetBlob(&context, {});
  for (pb::BlobChunk chunk; reader->Read(&chunk);) chunks.push_back(chunk.chunk());
  return rpc::FromGrpc(reader->Finish(), context);
}

TEST(Download, SendsWhatTheProducerYieldsInOrder) {
  HandlerServer server;
  server.service.get = [](const pb::GetBlobRequest&) -> Result<Producer<pb::BlobChunk>> {
    return [next = 0](pb::BlobChunk& chunk) mutable -> Result<bool> {
      if (next == 100) return false;
      chunk.mutable_chunk()->assign(64 * 1024, static_cast<char>(next++));
      return true;
    };
  };
  std::vector<std::string> chunks;
  ASSERT_TRUE(ReadAll(server, chunks).ok());
  ASSERT_EQ(chunks.size(), 100u);
  for (std::size_t i = 0; i < chunks.size(); ++i) EXPECT_EQ(chunks[i], std::string(64 * 1024, static_cast<char>(i)));
}

TEST(Download, ErrorsAtTheStartAndInBetween) {
  HandlerServer server;
  server.service.get = [](const pb::GetBlobRequest&) -> Result<Producer<pb::BlobChunk>> {
    return NotFound("BLOB_UNKNOWN", "no such blob");
  };
  std::vector<std::string> chunks;
  EXPECT_EQ(ReadAll(server, chunks).reason(), "BLOB_UNKNOWN");
  EXPECT_TRUE(chunks.empty());
  server.service.get = [](const pb::GetBlobRequest&) -> Result<Producer<pb::BlobChunk>> {
    return [first = true](pb::BlobChunk& chunk) mutable -> Result<bool> {
      if (!std::exchange(first, false)) return DataLoss("DISK_FAILED", "unreadable");
      chunk.set_chunk("a");
      return true;
    };
  };
  EXPECT_EQ(ReadAll(server, chunks).reason(), "DISK_FAILED");
  EXPECT_EQ(chunks, std::vector<std::string>{"a"});
}

TEST(Download, CancelEndsAnEndlessStream) {
  auto released = std::make_shared<std::promise<void>>();
  HandlerServer server;
  server.service.get = [released](const pb::GetBlobRequest&) -> Result<Producer<pb::BlobChunk>> {
    auto guard = std::shared_ptr<void>(nullptr, [released](void*) { released->set_value(); });
    return [guard](pb::BlobChunk& chunk) -> Result<bool> {
      chunk.mutable_chunk()->assign(64 * 1024, 'x');
      return true;
    };
  };
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  auto reader = server.stub->GetBlob(&context, {});
  pb::BlobChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  context.TryCancel();
  while (reader->Read(&chunk)) continue;
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  released->get_future().wait();
}

// ---- Watch
// --------------------------------------------------------------------------------------------------------------------

using Writer = std::shared_ptr<EventWriter<pb::BlobChunk>>;

pb::BlobChunk Event(std::string text) {
  pb::BlobChunk event;
  event.set_chunk(std::move(text));
  return event;
}

TEST(Watch, EventsArriveInOrderAndCloseEndsTheStream) {
  HandlerServer server;
  std::promise<Writer> opened;
  server.service.watch = [&](const pb::GetBlobRequest&, Writer writer) -> Status {
    writer->Push(Event("0"));
    opened.set_value(writer);
    return {};
  };
  std::thread source([&] {
    Writer writer = opened.get_future().get();
    for (int i = 1; i < 100; ++i) EXPECT_TRUE(writer->Push(Event(std::to_string(i))));
    writer->Close(OkStatus());
    EXPECT_FALSE(writer->Push(Event("late")));
  });
  std::vector<std::string> events;
  EXPECT_TRUE(ReadAll(server, events).ok());
  source.join();
  ASSERT_EQ(events.size(), 100u);
  for (std::size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i], std::to_string(i));
}

TEST(Watch, ErrorOfOpeningAndDroppedWriterEndTheStream) {
  HandlerServer server;
  server.service.watch = [](const pb::GetBlobRequest&, const Writer&) -> Status { return NotFound("TASK_UNKNOWN", "no"); };
  std::vector<std::string> events;
  EXPECT_EQ(ReadAll(server, events).reason(), "TASK_UNKNOWN");
  server.service.watch = [](const pb::GetBlobRequest&, const Writer& writer) -> Status {
    writer->Push(Event("only"));
    return {};
  };
  EXPECT_EQ(ReadAll(server, events).reason(), "STOPPING");
  EXPECT_EQ(events, std::vector<std::string>{"only"});
}

TEST(Watch, SlowReaderIsToldToWatchAgain) {
  HandlerServer server;
  std::promise<Writer> opened;
  server.service.watch = [&](const pb::GetBlobRequest&, const Writer& writer) -> Status {
    opened.set_value(writer);
    return {};
  };
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  auto reader = server.stub->GetBlob(&context, {});
  Writer writer = opened.get_future().get();
  int pushed = 0;
  while (pushed < 100'000 && writer->Push(Event(std::string(64 * 1024, 'x')))) ++pushed;
  EXPECT_LT(pushed, 100'000);
  EXPECT_TRUE(writer->done());
  pb::BlobChunk event;
  while (reader->Read(&event)) continue;
  const Status status = rpc::FromGrpc(reader->Finish(), context);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.reason(), "SLOW_READER");
}

TEST(Watch, CancelTellsTheSource) {
  HandlerServer server;
  std::promise<Writer> opened;
  server.service.watch = [&](const pb::GetBlobRequest&, const Writer& writer) -> Status {
    opened.set_value(writer);
    return {};
  };
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  auto reader = server.stub->GetBlob(&context, {});
  Writer writer = opened.get_future().get();
  std::promise<void> cancelled;
  writer->WhenCancelled([&] { cancelled.set_value(); });
  context.TryCancel();
  cancelled.get_future().wait();
  EXPECT_FALSE(writer->Push(Event("late")));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// ---- Shutdown
// -----------------------------------------------------------------------------------------------------------------

TEST(Shutdown, EndsEveryCallThatIsInFlight) {
  HandlerServer server;
  std::promise<DeferredEndpoint> deferred_arrived;
  server.service.endpoint = [&](const pb::GetEndpointRequest&, DeferredEndpoint d) { deferred_arrived.set_value(d); };
  std::promise<Writer> watch_arrived;
  server.service.watch = [&](const pb::GetBlobRequest&, const Writer& writer) -> Status {
    watch_arrived.set_value(writer);
    return {};
  };
  std::promise<void> unary_entered;
  std::promise<void> release_unary;
  server.service.stat = [&](const pb::StatBlobRequest&, pb::BlobState&) -> Status {
    unary_entered.set_value();
    release_unary.get_future().wait();
    return {};
  };
  HashingSink::Shared upload;
  server.service.put = [&] { return std::make_unique<HashingSink>(upload); };

  Pending poll(server);
  auto deferred = deferred_arrived.get_future().get();
  auto unary = std::async(std::launch::async, [&] { return Stat(server); });
  unary_entered.get_future().wait();
  grpc::ClientContext watch_context;
  auto reader = server.stub->GetBlob(&watch_context, {});
  Writer writer = watch_arrived.get_future().get();
  grpc::ClientContext put_context;
  pb::BlobState put_response;
  auto uploader = server.stub->PutBlob(&put_context, &put_response);
  ASSERT_TRUE(uploader->Write(pb::PutBlobRequest()));
  upload.first.get_future().wait();

  // The handler that runs is waited for; it ends once the calls have been cancelled.
  deferred->WhenCancelled([&] { release_unary.set_value(); });
  server.Shutdown();

  EXPECT_FALSE(poll.outcome.get().ok());
  static_cast<void>(unary.get());  // answered or cut off
  pb::BlobChunk event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_FALSE(uploader->Finish().ok());
  upload.gone.get_future().wait();
  EXPECT_TRUE(deferred->done());
  EXPECT_FALSE(writer->Push(Event("late")));
}

}  // namespace
}  // namespace edgefleet::services
