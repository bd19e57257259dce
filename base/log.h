// The log port. Modules write structured events to a Logger they are given; services/runtime prints them as JSON lines.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace edgefleet {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  std::string_view key;
  std::string value;
  template <typename T>
  LogField(std::string_view k, const T& v) : key(k) {
    if constexpr (std::is_same_v<T, bool>) {
      value = v ? "true" : "false";
    } else if constexpr (std::is_arithmetic_v<T>) {
      value = std::to_string(v);
    } else {
      value = std::string(v);
    }
  }
};

// Thread-safe. `event` is a short constant phrase ("round committed"); what varies goes into fields. Never log secrets,
// updates or inputs. The current trace id (base/trace.h) is added by the implementation.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual void Write(LogLevel level, std::string_view event, std::span<const LogField> fields) = 0;

  void Debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kDebug, event, {fields.begin(), fields.size()});
  }
  void Info(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kInfo, event, {fields.begin(), fields.size()});
  }
  void Warn(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kWarn, event, {fields.begin(), fields.size()});
  }
  void Error(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kError, event, {fields.begin(), fields.size()});
  }
};

class NullLogger final : public Logger {
 public:
  void Write(LogLevel, std::string_view, std::span<const LogField>) override {}
};

}  // namespace edgefleet
