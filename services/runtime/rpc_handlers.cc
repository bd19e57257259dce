#include "services/runtime/rpc_handlers.h"

#include <vector>

#include "base/crypto/crypto.h"
#include "proto/rpc/status.h"

namespace edgefleet::services::internal {
namespace {

const std::vector<double>& LatencyBuckets() {
  static const std::vector<double> buckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120};
  return buckets;
}

TraceContext TraceOf(const grpc::CallbackServerContext& context) {
  crypto::SecureRandom random;
  const auto& metadata = context.client_metadata();
  if (const auto found = metadata.find(rpc::kTraceparentKey); found != metadata.end()) {
    const auto trace = TraceContext::Parse({found->second.data(), found->second.size()});
    if (trace) return trace->Child(random);
  }
  return TraceContext::Generate(random);
}

// Errors that point at a fault of this server rather than at the request.
bool IsServerFault(StatusCode code) {
  return code == StatusCode::kInternal || code == StatusCode::kUnknown || code == StatusCode::kDataLoss;
}

}  // namespace

CallRecord::CallRecord(HandlerContext& handlers, grpc::CallbackServerContext* context, const char* method)
    : handlers_(handlers),
      context_(context),
      method_(method),
      trace_(TraceOf(*context)),
      started_(std::chrono::steady_clock::now()) {}

Status CallRecord::Submit(Task task) {
  if (!handlers_.serving.load(std::memory_order_acquire)) {
    return Unavailable("STARTING", "the service is not serving yet; retry").RetryAfter(std::chrono::milliseconds(500));
  }
  TraceScope scope(trace_);
  return handlers_.pool.Submit(std::move(task));
}

grpc::Status CallRecord::End(const Status& status) {
  TraceScope scope(trace_);
  const std::string code(StatusCodeName(status.code()));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started_;
  handlers_.metrics
      .GetCounter("edgefleet_rpc_requests_total", "Calls answered, by method and gRPC code.",
                  {{"method", method_}, {"code", code}})
      .Increment();
  handlers_.metrics
      .GetHistogram("edgefleet_rpc_duration_seconds", "Time from a call's arrival to its answer.", LatencyBuckets(),
                    {{"method", method_}})
      .Observe(took.count());
  const LogField fields[] = {{"method", method_},
                             {"code", code},
                             {"reason", status.reason()},
                             {"message", status.message()},
                             {"duration_ms", took.count() * 1e3}};
  handlers_.logger.Write(IsServerFault(status.code()) ? LogLevel::kWarn : LogLevel::kDebug, "call", fields);
  return rpc::ToGrpc(status, *context_);
}

}  // namespace edgefleet::services::internal
