#include "services/cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iostream>

namespace edgefleet::cli {
namespace {

struct Hint {
  std::string_view reason;
  std::string_view text;
};

constexpr Hint kHints[] = {
    {"UNREACHABLE",
     "is the server running there? start one with 'edgefleetd --data-dir DIR', or name it with --server HOST:PORT"},
    {"MODEL_UNKNOWN", "'edgefleet model list' shows the models"},
    {"VERSION_UNKNOWN", "'edgefleet model versions NAME' shows the versions and aliases of a model"},
    {"REPORT_MISSING", "'edgefleet model show NAME@VERSION' shows how far the version has got"},
    {"TASK_UNKNOWN", "'edgefleet task list' shows the tasks"},
    {"TRANSCRIPT_UNKNOWN",
     "'edgefleet task rounds TASK --json' shows rounds' ids; with several aggregators ask the one that ran it, by "
     "--aggregator"},
    {"NO_ENROLMENT_KEYS",
     "name an authority's public key in the aggregator's aggregator.enrolment_keys; see 'edgefleet device authority'"},
    {"VERSION_NOT_READY", "'edgefleet model show NAME@VERSION' shows its state; wait until it is READY"},
    {"VERSION_REFUSED", "'edgefleet model report NAME@VERSION' tells what was measured; see --max-accuracy-drop"},
    {kReasonModelRefused, "--report FILE keeps what was measured for each layer; see --max-accuracy-drop"},
    {"BAD_INPUT", "'edgefleet model inspect FILE' shows the model's inputs"},
    {"DELEGATE_UNKNOWN", "'edgefleet model inspect FILE' shows the delegates"},
    {"UPLOAD_UNKNOWN", "the upload has expired; run the same command again to start a new one"},
    {"CHECKSUM_MISMATCH", "the file changed while it was sent; run the same command again"},
    {"NO_EVALUATION_DATA", "publish the model with --evaluation DATA.npz"},
    {"REQUEST_ID_REUSED", "choose another --request-id"},
    {"BAD_TASK", "'edgefleet task create --help' explains each setting"},
    {"BAD_SIGNATURE", "--trust-key must hold the public key of this registry: DATA_DIR/keys/manifest.pub on its host"},
    {"POPULATION_UNKNOWN", "'edgefleet privacy ledger show' without --population lists the populations"},
    {"LEDGER_DAMAGED", "entries from there on prove nothing: compare with an export, or with a head, that was kept elsewhere"},
    {"TRANSCRIPT_INVALID", "the file was altered, or who signed it did not follow the protocol: do not rely on the round"},
    {kReasonUsage, "add --help to see the options and examples"},
};

std::string HintFor(const Status& status) {
  for (const Hint& hint : kHints) {
    if (hint.reason == status.reason()) return std::string(hint.text);
  }
  if (status.retry_after()) return "run the same command again in " + std::to_string(status.retry_after()->count()) + " ms";
  if (status.code() == StatusCode::kDeadlineExceeded) return "the server took too long; a longer --timeout may help";
  return {};
}

// Columns of UTF-8 text, near enough for our tables.
std::size_t Columns(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Padded(const std::string& text, std::size_t width) {
  const std::size_t columns = Columns(text);
  return columns < width ? text + std::string(width - columns, ' ') : text;
}

}  // namespace

ExitCode ExitCodeOf(const Status& status) {
  if (status.ok()) return kExitOk;
  if (status.reason() == kReasonUsage) return kExitUsage;
  if (status.reason() == kReasonRefused) return kExitRefused;
  switch (status.code()) {
    case StatusCode::kNotFound:
      return kExitNotFound;
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case StatusCode::kInvalidArgument:
    case StatusCode::kAlreadyExists:
    case StatusCode::kPermissionDenied:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kOutOfRange:
    case StatusCode::kUnauthenticated:
      return kExitRefused;
    default:
      return kExitFailure;
  }
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += (byte < 0x20 && c != '\n') || byte == 0x7F ? ' ' : c;
  }
  return out;
}

std::string FormatBytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string FormatTime(std::int64_t unix_ms) {
  if (unix_ms <= 0) return "-";
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return {text, size};
}

std::string FormatPercent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %%", share * 100);
  return text;
}

std::string FormatNumber(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

void Output::PrintJson(const Json& value) const {
  std::cout << value.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
}

void Output::PrintTable(const Row& headers, const std::vector<Row>& rows) const {
  std::vector<int> widths;
  for (std::size_t column = 0; column < headers.size(); ++column) {
    std::size_t width = Columns(headers[column]);
    for (const Row& row : rows) width = std::max(width, Columns(row[column]));
    widths.push_back(static_cast<int>(width));
  }
  PrintRow(headers, widths);
  for (const Row& row : rows) PrintRow(row, widths);
}

void Output::PrintRow(const Row& cells, const std::vector<int>& widths) const {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const bool last = i + 1 == cells.size();
    line += last ? Printable(cells[i]) : Padded(Printable(cells[i]), static_cast<std::size_t>(widths[i])) + "  ";
  }
  std::cout << line << std::endl;
}

void Output::PrintFields(const std::vector<std::pair<std::string, std::string>>& fields) const {
  std::size_t width = 0;
  for (const auto& [key, value] : fields) width = std::max(width, Columns(key) + 1);
  for (const auto& [key, value] : fields) std::cout << Padded(key + ":", width) << "  " << Printable(value) << "\n";
  std::cout.flush();
}

void Output::PrintLine(const std::string& text) const { std::cout << Printable(text) << std::endl; }

void Output::Note(const std::string& text) const {
  if (!json) std::cerr << Printable(text) << std::endl;
}

void Output::PrintError(const Status& status) const {
  const std::string hint = HintFor(status);
  if (json) {
    Json error{{"code", StatusCodeName(status.code())}, {"reason", status.reason()}, {"message", status.message()}};
    if (!hint.empty()) error["hint"] = hint;
    if (status.retry_after()) error["retry_after_ms"] = status.retry_after()->count();
    PrintJson({{"error", error}});
    return;
  }
  std::cerr << "error: " << Printable(status.message()) << " [" << Printable(status.reason()) << "]\n";
  if (!hint.empty()) std::cerr << "hint: " << hint << "\n";
}

Progress::Progress(const Output& output, std::string label, std::uint64_t total, bool bytes)
    : enabled_(!output.json), terminal_(isatty(STDERR_FILENO) == 1), label_(std::move(label)), total_(total), bytes_(bytes) {}

void Progress::Set(std::uint64_t done, const std::string& detail) {
  if (!enabled_) return;
  const int percent = total_ == 0 ? 100 : static_cast<int>(std::min(done, total_) * 100 / total_);
  if (!terminal_ && percent / 10 == percent_shown_ / 10 && percent_shown_ >= 0) return;
  percent_shown_ = percent;
  Draw(done, detail);
}

void Progress::Draw(std::uint64_t done, const std::string& detail) {
  constexpr int kBarWidth = 30;
  const std::string amount =
      bytes_ ? FormatBytes(done) + " of " + FormatBytes(total_) : std::to_string(done) + " of " + std::to_string(total_);
  const std::string tail = std::to_string(percent_shown_) + " %  " + amount + (detail.empty() ? "" : "  " + Printable(detail));
  if (!terminal_) {
    std::cerr << label_ << " " << tail << std::endl;
    return;
  }
  const int filled = percent_shown_ * kBarWidth / 100;
  const std::string line = label_ + " [" + std::string(static_cast<std::size_t>(filled), '#') +
                           std::string(static_cast<std::size_t>(kBarWidth - filled), '.') + "] " + tail;
  if (line == line_shown_) return;
  std::cerr << "\r\x1b[K" << line << std::flush;
  line_shown_ = line;
  open_ = true;
}

void Progress::End() {
  if (open_) std::cerr << std::endl;
  open_ = false;
}

}  // namespace edgefleet::cli
