// W3C Trace Context (https://www.w3.org/TR/trace-context/, section 3.2): the `traceparent` that crosses services.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/random.h"

namespace edgefleet {

struct TraceContext {
  std::array<std::byte, 16> trace_id{};
  std::array<std::byte, 8> span_id{};
  bool sampled = true;

  static TraceContext Generate(RandomSource& random);
  // The same trace, a fresh span.
  TraceContext Child(RandomSource& random) const;
  // Nothing for a malformed header or all-zero ids, as section 3.2.2 asks.
  static std::optional<TraceContext> Parse(std::string_view traceparent);
  std::string ToTraceparent() const;
  std::string TraceIdHex() const;
};

// The trace of the work that this thread is doing now, if any; loggers and outgoing calls pick it up.
const std::optional<TraceContext>& CurrentTrace();

// Sets the current trace for a scope and restores the former one. Work handed to another thread takes its own scope there.
class TraceScope {
 public:
  explicit TraceScope(std::optional<TraceContext> trace);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  std::optional<TraceContext> former_;
};

}  // namespace edgefleet
