#include "base/trace.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/bytes.h"

namespace edgefleet {
namespace {

thread_local std::optional<TraceContext> current_trace;

template <std::size_t N>
bool IsZero(const std::array<std::byte, N>& id) {
  return std::all_of(id.begin(), id.end(), [](std::byte b) { return b == std::byte{0}; });
}

template <std::size_t N>
bool DecodeInto(std::string_view hex, std::array<std::byte, N>& out) {
  if (std::any_of(hex.begin(), hex.end(), [](unsigned char c) { return std::isupper(c) != 0; })) return false;
  auto bytes = HexDecode(hex);
  if (!bytes || bytes->size() != N) return false;
  std::copy(bytes->begin(), bytes->end(), out.begin());
  return !IsZero(out);
}

}  // namespace

TraceContext TraceContext::Generate(RandomSource& random) {
  TraceContext trace;
  while (IsZero(trace.trace_id)) random.Fill(trace.trace_id);
  while (IsZero(trace.span_id)) random.Fill(trace.span_id);
  return trace;
}

TraceContext TraceContext::Child(RandomSource& random) const {
  TraceContext child = *this;
  do random.Fill(child.span_id);
  while (IsZero(child.span_id));
  return child;
}

std::optional<TraceContext> TraceContext::Parse(std::string_view text) {
  constexpr std::size_t kLength = 55;  // 2 version + 32 trace id + 16 span id + 2 flags + 3 dashes
  if (text.size() < kLength || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  auto version = HexDecode(text.substr(0, 2));
  if (!version || (*version)[0] == std::byte{0xff}) return std::nullopt;
  const bool version_zero = (*version)[0] == std::byte{0};
  if (version_zero ? text.size() != kLength : (text.size() > kLength && text[kLength] != '-')) return std::nullopt;
  TraceContext trace;
  auto flags = HexDecode(text.substr(53, 2));
  if (!flags || !DecodeInto(text.substr(3, 32), trace.trace_id) || !DecodeInto(text.substr(36, 16), trace.span_id)) {
    return std::nullopt;
  }
  trace.sampled = ((*flags)[0] & std::byte{1}) != std::byte{0};
  return trace;
}

std::string TraceContext::ToTraceparent() const {
  return "00-" + HexEncode(trace_id) + "-" + HexEncode(span_id) + (sampled ? "-01" : "-00");
}

std::string TraceContext::TraceIdHex() const { return HexEncode(trace_id); }

const std::optional<TraceContext>& CurrentTrace() { return current_trace; }

TraceScope::TraceScope(std::optional<TraceContext> trace) : former_(std::exchange(current_trace, trace)) {}

TraceScope::~TraceScope() { current_trace = former_; }

}  // namespace edgefleet
