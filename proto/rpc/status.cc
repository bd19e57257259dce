#include "proto/rpc/status.h"

#include <grpc/grpc.h>

#include <charconv>
#include <string>

#include "base/crypto/crypto.h"
#include "base/trace.h"

namespace edgefleet::rpc {
namespace {

std::string TrailingValue(const grpc::ClientContext& context, const char* key) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

}  // namespace

void KeepGrpcRunning() {
  static const bool kept = (grpc_init(), true);
  static_cast<void>(kept);
}

grpc::Status ToGrpc(const Status& status, grpc::ServerContextBase& context) {
  if (status.ok()) return grpc::Status::OK;
  if (!status.reason().empty()) context.AddTrailingMetadata(kReasonKey, status.reason());
  if (status.retry_after()) context.AddTrailingMetadata(kRetryAfterKey, std::to_string(status.retry_after()->count()));
  return {static_cast<grpc::StatusCode>(status.code()), status.message()};
}

Status FromGrpc(const grpc::Status& status, const grpc::ClientContext& context) {
  if (status.ok()) return OkStatus();
  const auto code = static_cast<StatusCode>(status.error_code());
  std::string reason = TrailingValue(context, kReasonKey);
  if (reason.empty()) reason = code == StatusCode::kUnavailable ? "UNREACHABLE" : std::string(StatusCodeName(code));
  Status result(code, std::move(reason), status.error_message());
  const std::string retry = TrailingValue(context, kRetryAfterKey);
  long long millis = 0;
  if (std::from_chars(retry.data(), retry.data() + retry.size(), millis).ec == std::errc() && millis >= 0) {
    return std::move(result).WithRetryAfter(std::chrono::milliseconds(millis));
  }
  return result;
}

void PrepareCall(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  if (const auto& trace = CurrentTrace()) {
    crypto::SecureRandom random;
    context.AddMetadata(kTraceparentKey, trace->Child(random).ToTraceparent());
  }
}

}  // namespace edgefleet::rpc
