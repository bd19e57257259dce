// What the command prints: results on stdout, progress on stderr, errors as text on stderr or, with --json, as an object on
// stdout.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "services/cli/json.h"

namespace edgefleet::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitUnreachable = 4,
  kExitRefused = 5,
};

// Reasons that the command itself gives.
inline constexpr char kReasonUsage[] = "BAD_USAGE";
inline constexpr char kReasonRefused[] = "VERSION_REFUSED";
inline constexpr char kReasonModelRefused[] = "MODEL_REFUSED";

ExitCode ExitCodeOf(const Status& status);

// Control characters of text that came from outside, made harmless for a terminal.
std::string Printable(std::string_view text);
std::string FormatBytes(std::uint64_t bytes);
std::string FormatTime(std::int64_t unix_ms);  // UTC; "-" for 0
std::string FormatPercent(double share);       // 0.8412 -> "84.12 %"
std::string FormatNumber(double value);        // up to 6 significant digits

using Row = std::vector<std::string>;

class Output {
 public:
  bool json = false;

  void PrintJson(const Json& value) const;  // one line
  void PrintTable(const Row& headers, const std::vector<Row>& rows) const;
  void PrintRow(const Row& cells, const std::vector<int>& widths) const;
  // "key: value" lines, keys aligned.
  void PrintFields(const std::vector<std::pair<std::string, std::string>>& fields) const;
  void PrintLine(const std::string& text) const;
  // What happens meanwhile, on stderr; silent with --json.
  void Note(const std::string& text) const;
  // The error, and where it helps a hint with the next command.
  void PrintError(const Status& status) const;
};

// A progress bar on stderr: drawn in place on a terminal, otherwise one line each 10 %; silent with --json. End() (also on
// destruction) leaves a finished line behind.
class Progress {
 public:
  Progress(const Output& output, std::string label, std::uint64_t total, bool bytes);
  ~Progress() { End(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void Set(std::uint64_t done, const std::string& detail = {});
  void End();

 private:
  void Draw(std::uint64_t done, const std::string& detail);

  const bool enabled_;
  const bool terminal_;
  const std::string label_;
  const std::uint64_t total_;
  const bool bytes_;
  int percent_shown_ = -1;
  std::string line_shown_;
  bool open_ = false;
};

}  // namespace edgefleet::cli
