// Templates for handlers of gRPC's callback API (1.51). A reactor never blocks: the work runs on the role's bounded pool, and
// when that is full the call is answered RESOURCE_EXHAUSTED [OVERLOADED] with a retry hint. Every call runs in a trace scope
// (from `traceparent`, or a new trace), is counted by method and code, timed, and written to the log at level debug. An
// override of a generated CallbackService is one line:
//
//   grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const GetModelRequest* request, Model* response)
//       override {
//     return RunUnary(handlers_, context, "RegistryService/GetModel", request, response,
//                     [this](const GetModelRequest& req, Model& res) { return GetModel(req, res); });
//   }
//
// Reactors own themselves and go with OnDone. The HandlerContext, and whatever handlers capture, must live until the gRPC
// server's Shutdown() has returned. An exception that leaves a handler becomes INTERNAL [UNEXPECTED].
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/executor.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "base/trace.h"

namespace edgefleet::services {

// What handlers of one role share. Each role has a pool of its own, so that a handler that waits for another role of the same
// process cannot starve it.
struct HandlerContext {
  ThreadPool& pool;
  Metrics& metrics;
  Logger& logger;
  std::atomic<bool> serving{true};  // false: calls are answered UNAVAILABLE [STARTING]
};

namespace internal {

// One call from arrival to end. Not thread-safe; End() exactly once.
class CallRecord {
 public:
  CallRecord(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method);
  // Runs `task` on the pool under the call's trace, or says why not.
  Status Submit(Task task);
  // Counts, times and logs the call; yields what its reactor finishes with.
  grpc::Status End(const Status& status);

 private:
  HandlerContext& handlers_;
  grpc::CallbackServerContext* const context_;
  const char* const method_;
  const TraceContext trace_;
  const std::chrono::steady_clock::time_point started_;
};

template <typename Work>
std::invoke_result_t<Work> Guarded(Work&& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return Internal("UNEXPECTED", error.what());
  } catch (...) {
    return Internal("UNEXPECTED", "unknown exception in a handler");
  }
}

inline Status CallCancelled() { return {StatusCode::kCancelled, "CANCELLED", "the client went away"}; }
inline Status CallDropped() { return Unavailable("STOPPING", "the server is stopping; send the request again"); }

}  // namespace internal

// ---- Unary: `handler` is Status(const Req&, Res&), runs once on the pool.
// -------------------------------------------------------

namespace internal {
template <typename Req, typename Res, typename Handler>
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  UnaryReactor(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method, const Req* request,
               Res* response, Handler handler)
      : record_(handlers, context, method), handler_(std::move(handler)) {
    Status submitted = record_.Submit([this, request, response] {
      const Status status = Guarded([&]() -> Status { return handler_(*request, *response); });
      this->Finish(record_.End(status));
    });
    if (!submitted.ok()) this->Finish(record_.End(submitted));
  }
  void OnDone() override { delete this; }

 private:
  CallRecord record_;
  Handler handler_;
};
}  // namespace internal

template <typename Req, typename Res, typename Handler>
grpc::ServerUnaryReactor* RunUnary(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method,
                                   const Req* request, Res* response, Handler handler) {
  return new internal::UnaryReactor<Req, Res, Handler>(handlers, context, method, request, response, std::move(handler));
}

// ---- Deferred unary: the answer comes later, from any thread (long polls).
// ------------------------------------------------------

namespace internal {
template <typename Res>
class DeferredReactor;
}

// The pending answer of one call. Thread-safe. Dropping the last reference without an answer ends the call as UNAVAILABLE
// [STOPPING].
template <typename Res>
class Deferred {
 public:
  explicit Deferred(internal::DeferredReactor<Res>* reactor) : reactor_(reactor) {}
  ~Deferred() { Finish(internal::CallDropped()); }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

  // The first call counts; later ones, and any after the client went away, do nothing.
  void Finish(Res response) { End(OkStatus(), &response); }
  void Finish(Status error) { End(error, nullptr); }
  // True once the call was answered or the client went away: nobody waits any more.
  bool done() const {
    std::lock_guard lock(mutex_);
    return reactor_ == nullptr;
  }
  // Runs `task` when the client goes away before the answer (at once if it has gone), on a gRPC thread: it must be quick.
  void WhenCancelled(Task task);

 private:
  friend class internal::DeferredReactor<Res>;
  void End(const Status& status, Res* response);
  void Cancel();

  mutable std::mutex mutex_;
  internal::DeferredReactor<Res>* reactor_;  // null once the call has its end
  bool cancelled_ = false;
  Task when_cancelled_;
};

namespace internal {
template <typename Res>
class DeferredReactor final : public grpc::ServerUnaryReactor {
 public:
  DeferredReactor(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method, Res* response)
      : record_(handlers, context, method), response_(response) {}
  template <typename Req, typename Handler>
  void Begin(const Req& request, Handler handler) {
    auto deferred = std::make_shared<Deferred<Res>>(this);
    deferred_ = deferred;
    Status submitted = record_.Submit([request, handler = std::move(handler), deferred]() mutable {
      const Status status = Guarded([&]() -> Status {
        handler(std::as_const(request), deferred);
        return {};
      });
      if (!status.ok()) deferred->Finish(status);
    });
    if (!submitted.ok()) deferred->Finish(submitted);
  }
  void Complete(const Status& status, Res* response) {
    if (response != nullptr) *response_ = std::move(*response);
    this->Finish(record_.End(status));
  }
  void OnCancel() override {
    if (auto deferred = deferred_.lock()) deferred->Cancel();
  }
  void OnDone() override { delete this; }

 private:
  CallRecord record_;
  Res* const response_;
  std::weak_ptr<Deferred<Res>> deferred_;
};
}  // namespace internal

template <typename Res>
void Deferred<Res>::End(const Status& status, Res* response) {
  internal::DeferredReactor<Res>* reactor = nullptr;
  Task dropped;  // it may hold this object
  {
    std::lock_guard lock(mutex_);
    reactor = std::exchange(reactor_, nullptr);
    dropped = std::exchange(when_cancelled_, nullptr);
  }
  if (reactor != nullptr) reactor->Complete(status, response);
}

template <typename Res>
void Deferred<Res>::Cancel() {
  Task task;
  {
    std::lock_guard lock(mutex_);
    cancelled_ = reactor_ != nullptr;
    task = std::exchange(when_cancelled_, nullptr);
  }
  if (task && cancelled_) task();
  End(internal::CallCancelled(), nullptr);
}

template <typename Res>
void Deferred<Res>::WhenCancelled(Task task) {
  {
    std::lock_guard lock(mutex_);
    if (!cancelled_) {
      when_cancelled_ = std::move(task);
      return;
    }
  }
  task();
}

// `handler` is void(const Req&, std::shared_ptr<Deferred<Res>>), runs once on the pool with its own copy of the request.
template <typename Req, typename Res, typename Handler>
grpc::ServerUnaryReactor* RunDeferred(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method,
                                      const Req* request, Res* response, Handler handler) {
  auto* reactor = new internal::DeferredReactor<Res>(handlers, context, method, response);
  reactor->Begin(*request, std::move(handler));
  return reactor;
}

// ---- Upload: the client streams, the server answers once.
// -----------------------------------------------------------------------

// What one upload call writes to. Write() and Close() run on the pool, one at a time, in order; the next message is read only
// after the former was handled. Close() runs when the client says that it is done, and may also run when its stream broke:
// check that everything is there. An error ends the call at once. The destructor must be quick.
template <typename Req, typename Res>
class UploadSink {
 public:
  virtual ~UploadSink() = default;
  virtual Status Write(const Req& message) = 0;
  virtual Status Close(Res& response) = 0;
};

namespace internal {
template <typename Req, typename Res>
class UploadReactor final : public grpc::ServerReadReactor<Req> {
 public:
  UploadReactor(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method, Res* response,
                std::unique_ptr<UploadSink<Req, Res>> sink)
      : record_(handlers, context, method), response_(response), sink_(std::move(sink)) {
    this->StartRead(&message_);
  }
  void OnReadDone(bool ok) override {
    Status submitted = record_.Submit([this, ok] {
      Status status = Guarded([&]() -> Status { return ok ? sink_->Write(message_) : sink_->Close(*response_); });
      if (ok && status.ok()) {
        this->StartRead(&message_);
      } else {
        Complete(status);
      }
    });
    if (!submitted.ok()) Complete(submitted);
  }
  void OnDone() override { delete this; }

 private:
  void Complete(const Status& status) {
    sink_.reset();
    this->Finish(record_.End(status));
  }

  CallRecord record_;
  Res* const response_;
  std::unique_ptr<UploadSink<Req, Res>> sink_;
  Req message_;  // reused
};
}  // namespace internal

template <typename Req, typename Res>
grpc::ServerReadReactor<Req>* RunUpload(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method,
                                        Res* response, std::unique_ptr<UploadSink<Req, Res>> sink) {
  return new internal::UploadReactor<Req, Res>(handlers, context, method, response, std::move(sink));
}

// ---- Download: the server streams what a producer yields.
// -----------------------------------------------------------------------

// Fills the next message and returns true, or returns false at the end; an error ends the call. Runs on the pool, one at a
// time; the next message is asked for only after the former was taken by the transport. The message object is reused: set every
// field.
template <typename Res>
using Producer = std::function<Result<bool>(Res&)>;

namespace internal {
template <typename Res>
class DownloadReactor final : public grpc::ServerWriteReactor<Res> {
 public:
  DownloadReactor(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method, Producer<Res> producer)
      : record_(handlers, context, method), producer_(std::move(producer)) {
    Next();
  }
  void OnWriteDone(bool ok) override { ok ? Next() : Complete(CallCancelled()); }
  void OnDone() override { delete this; }

 private:
  void Next() {
    Status submitted = record_.Submit([this] {
      Result<bool> more = Guarded([&]() -> Result<bool> { return producer_(message_); });
      if (!more) {
        Complete(more.error());
      } else if (*more) {
        this->StartWrite(&message_);
      } else {
        Complete(OkStatus());
      }
    });
    if (!submitted.ok()) Complete(submitted);
  }
  void Complete(const Status& status) { this->Finish(record_.End(status)); }

  CallRecord record_;
  Producer<Res> producer_;
  Res message_;
};
}  // namespace internal

// `open` is Result<Producer<Res>>(const Req&), cheap or blocking as it likes: it runs on the pool before the first message,
// with its own copy of the request.
template <typename Res, typename Req, typename Open>
grpc::ServerWriteReactor<Res>* RunDownload(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method,
                                           const Req* request, Open open) {
  Producer<Res> producer = [request = *request, open = std::move(open), opened = Producer<Res>()](Res& message) mutable {
    if (!opened) {
      Result<Producer<Res>> result = open(std::as_const(request));
      if (!result) return Result<bool>(tl::unexpected<Status>(std::move(result).error()));
      opened = std::move(*result);
    }
    return opened(message);
  };
  return new internal::DownloadReactor<Res>(handlers, context, method, std::move(producer));
}

// ---- Watch: the server streams events as they happen.
// ---------------------------------------------------------------------------

namespace internal {
template <typename Res>
class WatchReactor;
}

// The sending end of one watch. Thread-safe. At most kQueueMax events wait; a client too slow for that gets RESOURCE_EXHAUSTED
// [SLOW_READER] and watches again. Dropping the last reference ends the call as UNAVAILABLE [STOPPING].
template <typename Res>
class EventWriter {
 public:
  static constexpr std::size_t kQueueMax = 256;

  explicit EventWriter(internal::WatchReactor<Res>* reactor) : state_(std::make_shared<State>()) { state_->reactor = reactor; }
  ~EventWriter() { Close(internal::CallDropped()); }
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  // False once nobody listens any more: forget this writer.
  bool Push(Res event);
  // Ends the call after the events that wait; the first call counts.
  void Close(Status status);
  bool done() const {
    std::lock_guard lock(state_->mutex);
    return state_->closed.has_value();
  }
  // Runs `task` when the client goes away (at once if it has gone), on a gRPC thread: it must be quick.
  void WhenCancelled(Task task);

 private:
  friend class internal::WatchReactor<Res>;
  struct State {
    void Step();  // with the mutex held: starts the next write, or finishes
    void WriteDone(bool ok);
    void Cancel();

    std::mutex mutex;
    internal::WatchReactor<Res>* reactor = nullptr;  // null once the call has its end
    std::deque<Res> queue;
    std::optional<Status> closed;
    bool writing = false;
    bool cancelled = false;
    Task when_cancelled;
  };
  const std::shared_ptr<State> state_;
};

namespace internal {
template <typename Res>
class WatchReactor final : public grpc::ServerWriteReactor<Res> {
 public:
  WatchReactor(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method)
      : record_(handlers, context, method) {}
  template <typename Req, typename Open>
  void Begin(const Req& request, Open open) {
    auto writer = std::make_shared<EventWriter<Res>>(this);
    state_ = writer->state_;
    Status submitted = record_.Submit([request, open = std::move(open), writer]() mutable {
      const Status status = Guarded([&]() -> Status { return open(std::as_const(request), writer); });
      if (!status.ok()) writer->Close(status);
    });
    if (!submitted.ok()) writer->Close(submitted);
  }
  void Send(Res event) {
    message_ = std::move(event);
    this->StartWrite(&message_);
  }
  void Complete(const Status& status) { this->Finish(record_.End(status)); }
  void OnWriteDone(bool ok) override { state_->WriteDone(ok); }
  void OnCancel() override { state_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  CallRecord record_;
  std::shared_ptr<typename EventWriter<Res>::State> state_;
  Res message_;
};
}  // namespace internal

// `open` is Status(const Req&, std::shared_ptr<EventWriter<Res>>), runs once on the pool with its own copy of the request: it
// pushes the present state and keeps the writer for the changes to come. An error ends the call.
template <typename Res, typename Req, typename Open>
grpc::ServerWriteReactor<Res>* RunWatch(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method,
                                        const Req* request, Open open) {
  auto* reactor = new internal::WatchReactor<Res>(handlers, context, method);
  reactor->Begin(*request, std::move(open));
  return reactor;
}

template <typename Res>
bool EventWriter<Res>::Push(Res event) {
  Task dropped;  // it may hold this writer
  std::lock_guard lock(state_->mutex);
  if (state_->closed) return false;
  if (state_->queue.size() >= kQueueMax) {
    dropped = std::exchange(state_->when_cancelled, nullptr);
    state_->queue.clear();
    state_->closed = Status(ResourceExhausted("SLOW_READER", "events come faster than they are read; watch again"))
                         .WithRetryAfter(std::chrono::seconds(1));
  } else {
    state_->queue.push_back(std::move(event));
  }
  state_->Step();
  return !state_->closed;
}

template <typename Res>
void EventWriter<Res>::Close(Status status) {
  Task dropped;  // it may hold this writer
  std::lock_guard lock(state_->mutex);
  if (state_->closed) return;
  dropped = std::exchange(state_->when_cancelled, nullptr);
  state_->closed = std::move(status);
  state_->Step();
}

template <typename Res>
void EventWriter<Res>::WhenCancelled(Task task) {
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->cancelled) {
      state_->when_cancelled = std::move(task);
      return;
    }
  }
  task();
}

template <typename Res>
void EventWriter<Res>::State::Step() {
  if (writing || reactor == nullptr) return;
  if (!queue.empty()) {
    writing = true;
    Res event = std::move(queue.front());
    queue.pop_front();
    reactor->Send(std::move(event));
  } else if (closed) {
    std::exchange(reactor, nullptr)->Complete(*closed);
  }
}

template <typename Res>
void EventWriter<Res>::State::WriteDone(bool ok) {
  std::lock_guard lock(mutex);
  writing = false;
  if (!ok) {
    queue.clear();
    if (!closed) closed = internal::CallCancelled();
  }
  Step();
}

template <typename Res>
void EventWriter<Res>::State::Cancel() {
  Task task;
  {
    std::lock_guard lock(mutex);
    cancelled = true;
    queue.clear();
    if (!closed) closed = internal::CallCancelled();
    task = std::exchange(when_cancelled, nullptr);
    Step();
  }
  if (task) task();
}

}  // namespace edgefleet::services
