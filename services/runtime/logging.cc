#include "services/runtime/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/trace.h"

namespace edgefleet::services {
namespace {

constexpr std::size_t kValueBytesMax = 4096;
constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warn", "error"};

std::string Iso8601(WallTime time) {
  const std::int64_t millis = ToUnixMillis(time);
  const std::time_t seconds = millis / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", std::string_view(text, size), millis % 1000);
}

std::string Cut(std::string_view value) {
  if (value.size() <= kValueBytesMax) return std::string(value);
  return std::string(value.substr(0, kValueBytesMax)) + "...";
}

class JsonLogger final : public Logger {
 public:
  JsonLogger(LogLevel level, std::string role, const Clock& clock)
      : level_(level), role_(std::move(role)), clock_(clock), out_(role_, std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    out_.set_pattern("%v");
    out_.set_level(spdlog::level::trace);
  }

  void Write(LogLevel level, std::string_view event, std::span<const LogField> fields) override {
    if (level < level_) return;
    const std::string line = FormatLogLine(clock_.Now(), level, event, role_, fields);
    out_.log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }

 private:
  const LogLevel level_;
  const std::string role_;
  const Clock& clock_;
  spdlog::logger out_;
};

}  // namespace

std::string FormatLogLine(WallTime time, LogLevel level, std::string_view event, std::string_view role,
                          std::span<const LogField> fields) {
  nlohmann::ordered_json line;
  line["ts"] = Iso8601(time);
  line["level"] = kLevelNames[static_cast<std::size_t>(level)];
  line["event"] = Cut(event);
  line["role"] = role;
  if (const auto& trace = CurrentTrace()) line["trace_id"] = trace->TraceIdHex();
  if (!fields.empty()) {
    auto& object = line["fields"] = nlohmann::ordered_json::object();
    for (const LogField& field : fields) object[std::string(field.key)] = Cut(field.value);
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<LogLevel> ParseLogLevel(std::string_view name) {
  for (std::size_t i = 0; i < kLevelNames.size(); ++i) {
    if (name == kLevelNames[i]) return static_cast<LogLevel>(i);
  }
  return InvalidArgument("BAD_LEVEL", "the log level must be debug, info, warn or error");
}

std::unique_ptr<Logger> MakeJsonLogger(LogLevel level, std::string role, const Clock& clock) {
  return std::make_unique<JsonLogger>(level, std::move(role), clock);
}

}  // namespace edgefleet::services
