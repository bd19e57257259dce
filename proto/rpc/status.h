// edgefleet::Status over gRPC: the code and message as they are, the stable reason in the trailing metadata `edgefleet-reason`,
// the retry hint in `edgefleet-retry-after-ms`. Used by servers, by the command and by the device's control-plane client alike.
#pragma once

#include <grpcpp/grpcpp.h>

#include "base/status.h"

namespace edgefleet::rpc {

inline constexpr char kReasonKey[] = "edgefleet-reason";
inline constexpr char kRetryAfterKey[] = "edgefleet-retry-after-ms";
inline constexpr char kTraceparentKey[] = "traceparent";

// Bytes and repeated fields are bounded per message; no message of any contract is larger than this.
inline constexpr int kMessageBytesMax = 4 * 1024 * 1024;
// Chunk of every streamed artifact, blob, parameter vector and update.
inline constexpr std::size_t kChunkBytes = 512 * 1024;
inline constexpr std::size_t kChunkBytesMax = 1024 * 1024;

// gRPC stops its threads when the process's last channel or server goes, and then waits up to 10 s for the one that nursed a
// slow write. After this call they stay until the process ends. Call it before the first channel or server, where it is the
// whole process's business.
void KeepGrpcRunning();

// Adds reason and retry hint to the call's trailing metadata and returns what the handler finishes with. Call once per RPC.
grpc::Status ToGrpc(const Status& status, grpc::ServerContextBase& context);

// What a client makes of a finished call. A failure without a reason gets the code's name; UNAVAILABLE of the transport gets
// [UNREACHABLE].
Status FromGrpc(const grpc::Status& status, const grpc::ClientContext& context);

// Sets the deadline and sends the current trace (base/trace.h), if any.
void PrepareCall(grpc::ClientContext& context, std::chrono::milliseconds timeout);

}  // namespace edgefleet::rpc
