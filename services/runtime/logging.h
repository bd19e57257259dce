// The log port as JSON lines on stderr (spdlog inside):
//   {"ts":"2026-01-31T12:00:00.123Z","level":"info","event":"round committed","role":"aggregator","trace_id":"...",
//    "fields":{"round":"..."}}
// `trace_id` is there when the thread works under a trace (base/trace.h). Text that is not UTF-8 is repaired, values beyond 4
// KiB cut.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace edgefleet::services {

// One line, without the newline.
std::string FormatLogLine(WallTime time, LogLevel level, std::string_view event, std::string_view role,
                          std::span<const LogField> fields);

// INVALID_ARGUMENT [BAD_LEVEL] for anything but debug, info, warn, error.
Result<LogLevel> ParseLogLevel(std::string_view name);

// Writes events of `level` and above. Lines of several loggers of one process never mix. `clock` outlives the logger.
std::unique_ptr<Logger> MakeJsonLogger(LogLevel level, std::string role, const Clock& clock);

}  // namespace edgefleet::services
