#include <stdlib.h>

#include <array>
#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "device_client/runtime/format/efm.h"
#include "load_tests/runtime/models.h"
#include "load_tests/runtime/ours.h"
#include "load_tests/runtime/section.h"

namespace edgefleet::load_tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::int64_t kWidth = 2048;
constexpr int kLayers = 6;  // 100.7 MB of weights
constexpr int kTries = 9;
constexpr double kOpenMsMax = 50;
constexpr double kRssMbMax = 20;

// What open_model prints.
Result<json> OpenInProcess(const std::string& runtime, const fs::path& model) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "open_model";
  const std::string command = program.string() + " " + runtime + " " + model.string();
  std::FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return Internal("OPEN_FAILED", "cannot run " + command);
  std::string text;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), static_cast<int>(buffer.size()), pipe) != nullptr) text += buffer.data();
  if (::pclose(pipe) != 0) return Internal("OPEN_FAILED", command + " failed");
  return json::parse(text);
}

// The try with the shortest time.
Result<json> BestOpen(const BenchSize& size, const std::string& runtime, const fs::path& model) {
  json best;
  for (int i = 0; i < (size.small ? 1 : kTries); ++i) {
    EF_ASSIGN_OR_RETURN(json opened, OpenInProcess(runtime, model));
    if (best.is_null() || opened["first_inference_ms"] < best["first_inference_ms"]) best = std::move(opened);
  }
  return best;
}

void AddOurs(const BenchSize& size, const fs::path& efm, json& rows) {
  const auto opened = BestOpen(size, "edgefleet", efm);
  if (!opened) {
    rows.push_back(Note("edgefleet", "does not open: " + opened.error().ToString()));
    return;
  }
  const json& o = *opened;
  rows.push_back(Row("edgefleet, open", o["open_ms"], "ms"));
  rows.push_back(RowAtMost(size, "edgefleet, open to first inference", o["first_inference_ms"], "ms", kOpenMsMax));
  rows.push_back(Row("edgefleet, second inference", o["second_inference_ms"], "ms"));
  rows.push_back(RowAtMost(size, "edgefleet, memory beyond activations and mapped file", o["private_mb"], "MB", kRssMbMax));
  rows.push_back(Row("edgefleet, resident pages of the mapped file", o["mapped_mb"], "MB"));
}

void AddPeer(const BenchSize& size, const fs::path& onnx, json& rows) {
  const json opened = Must(BestOpen(size, "ort", onnx));
  rows.push_back(Row("ONNX Runtime, open", opened["open_ms"], "ms"));
  rows.push_back(Row("ONNX Runtime, open to first inference", opened["first_inference_ms"], "ms"));
  rows.push_back(Row("ONNX Runtime, second inference", opened["second_inference_ms"], "ms"));
  rows.push_back(Row("ONNX Runtime, private memory", opened["private_mb"], "MB"));
}

}  // namespace

// The files were just written: their pages are in the page cache.
json ColdOpenSection(const BenchSize& size) {
  json rows = json::array();
  std::string folder = (fs::temp_directory_path() / "bench-runtime-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) Must(Internal("OPEN_FAILED", "cannot make a folder at " + folder));
  const Bytes onnx = MakeDense(1, size.small ? 256 : kWidth, kLayers);
  Must(WriteFileAtomic(fs::path(folder) / "dense.onnx", onnx));
  AddPeer(size, fs::path(folder) / "dense.onnx", rows);
  const Bytes efm = Must(runtime::WriteEfm(Must(CompileAsIs(onnx, nullptr))));
  rows.push_back(Row("model", static_cast<double>(efm.size()) / 1e6, "MB"));
  Must(WriteFileAtomic(fs::path(folder) / "dense.efm", efm));
  AddOurs(size, fs::path(folder) / "dense.efm", rows);
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return rows;
}

}  // namespace edgefleet::load_tests
