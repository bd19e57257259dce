// Errors as values. Every fallible function of edgefleet returns Status or Result<T>; no exception crosses a module.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace edgefleet {

// gRPC's canonical codes, with gRPC's numbers.
enum class StatusCode {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on.
std::string_view StatusCodeName(StatusCode code);

// The outcome of an operation. `message` is for people and says what to do; `reason` is a stable identifier in
// UPPER_SNAKE_CASE (`ROUND_CLOSED`) that programs may compare; `retry_after`, where present, is the soonest useful retry.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string reason, std::string message)
      : code_(code), reason_(std::move(reason)), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& reason() const { return reason_; }
  const std::string& message() const { return message_; }
  std::optional<std::chrono::milliseconds> retry_after() const { return retry_after_; }

  Status WithRetryAfter(std::chrono::milliseconds delay) && {
    retry_after_ = delay;
    return std::move(*this);
  }
  // The same error, its message preceded by `context + ": "`.
  Status Annotate(std::string_view context) &&;

  // "NOT_FOUND [MODEL_UNKNOWN]: no model named 'x'"
  std::string ToString() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string reason_;
  std::string message_;
  std::optional<std::chrono::milliseconds> retry_after_;
};

template <typename T>
using Result = tl::expected<T, Status>;

inline Status OkStatus() { return {}; }

// The usual errors, each with its stable reason: `return InvalidArgument("BAD_SHAPE", "...");` serves Status and Result alike.
class [[nodiscard]] Error {
 public:
  explicit Error(Status status) : status_(std::move(status)) {}
  operator Status() && { return std::move(status_); }  // NOLINT(google-explicit-constructor)
  template <typename T>
  operator Result<T>() && {  // NOLINT(google-explicit-constructor)
    return tl::unexpected<Status>(std::move(status_));
  }
  Error RetryAfter(std::chrono::milliseconds delay) && { return Error(std::move(status_).WithRetryAfter(delay)); }

 private:
  Status status_;
};

inline Error MakeError(Status status) { return Error(std::move(status)); }
inline Error MakeError(StatusCode code, std::string reason, std::string message) {
  return Error(Status(code, std::move(reason), std::move(message)));
}
inline Error InvalidArgument(std::string reason, std::string message) {
  return MakeError(StatusCode::kInvalidArgument, std::move(reason), std::move(message));
}
inline Error NotFound(std::string reason, std::string message) {
  return MakeError(StatusCode::kNotFound, std::move(reason), std::move(message));
}
inline Error AlreadyExists(std::string reason, std::string message) {
  return MakeError(StatusCode::kAlreadyExists, std::move(reason), std::move(message));
}
inline Error PermissionDenied(std::string reason, std::string message) {
  return MakeError(StatusCode::kPermissionDenied, std::move(reason), std::move(message));
}
inline Error ResourceExhausted(std::string reason, std::string message) {
  return MakeError(StatusCode::kResourceExhausted, std::move(reason), std::move(message));
}
inline Error FailedPrecondition(std::string reason, std::string message) {
  return MakeError(StatusCode::kFailedPrecondition, std::move(reason), std::move(message));
}
inline Error Aborted(std::string reason, std::string message) {
  return MakeError(StatusCode::kAborted, std::move(reason), std::move(message));
}
inline Error Unimplemented(std::string reason, std::string message) {
  return MakeError(StatusCode::kUnimplemented, std::move(reason), std::move(message));
}
inline Error Internal(std::string reason, std::string message) {
  return MakeError(StatusCode::kInternal, std::move(reason), std::move(message));
}
inline Error Unavailable(std::string reason, std::string message) {
  return MakeError(StatusCode::kUnavailable, std::move(reason), std::move(message));
}
inline Error DeadlineExceeded(std::string reason, std::string message) {
  return MakeError(StatusCode::kDeadlineExceeded, std::move(reason), std::move(message));
}
inline Error DataLoss(std::string reason, std::string message) {
  return MakeError(StatusCode::kDataLoss, std::move(reason), std::move(message));
}

}  // namespace edgefleet

#define EDGEFLEET_CONCAT_INNER(a, b) a##b
#define EDGEFLEET_CONCAT(a, b) EDGEFLEET_CONCAT_INNER(a, b)

// Leaves the function with the error of `expr` (a Status), if it has one.
#define EF_RETURN_IF_ERROR(expr)                                                                                      \
  do {                                                                                                                \
    if (::edgefleet::Status ef_status = (expr); !ef_status.ok()) return ::edgefleet::MakeError(std::move(ef_status)); \
  } while (false)

// `EF_ASSIGN_OR_RETURN(auto x, F());` assigns the value of a Result, or leaves the function with its error.
#define EF_ASSIGN_OR_RETURN(lhs, expr) EF_ASSIGN_OR_RETURN_INNER(EDGEFLEET_CONCAT(ef_result_, __LINE__), lhs, expr)
#define EF_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr)                  \
  auto tmp = (expr);                                               \
  if (!tmp) return ::edgefleet::MakeError(std::move(tmp).error()); \
  lhs = std::move(*tmp)
