// Opens hostile journals: what is accepted can be replayed, appended to and opened again, and nothing is invented.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "aggregator/aggregation/journal.h"
#include "base/file.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

using aggregation::Journal;
using Records = std::vector<std::pair<std::uint8_t, Bytes>>;

std::filesystem::path File() {
  return std::filesystem::temp_directory_path() / ("edgefleet-journal-fuzz-" + std::to_string(::getpid()));
}

Records WrittenRecords() {
  Records records;
  for (std::uint8_t i = 0; i < 6; ++i) records.emplace_back(i, Bytes(i * 5U, std::byte{i}));
  return records;
}

Bytes MakeSeed() {
  auto journal = Journal::Open(File());
  if (!journal) std::abort();
  for (const auto& [kind, bytes] : WrittenRecords()) {
    if (!(*journal)->Append(kind, bytes).ok() || (kind == 2 && !(*journal)->Sync().ok())) std::abort();
  }
  Bytes seed = *ReadFile(File(), 1 << 20);
  std::filesystem::remove(File());
  return seed;
}

Records ReadAll(Journal& journal) {
  Records records;
  const Status replayed = journal.Replay([&](std::uint8_t kind, ByteView bytes) {
    records.emplace_back(kind, ToBytes(bytes));
    return OkStatus();
  });
  if (!replayed.ok()) std::abort();
  return records;
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = MakeSeed();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  static const fuzz::Records written = fuzz::WrittenRecords();
  const ByteView input{reinterpret_cast<const std::byte*>(data), size};
  std::ofstream(fuzz::File(), std::ios::binary | std::ios::trunc) << AsText(input);
  auto journal = aggregation::Journal::Open(fuzz::File());
  if (journal) {
    fuzz::Records records = fuzz::ReadAll(**journal);
    // Their links cannot be guessed, so these are the first of what was written.
    if (records.size() > written.size() || !std::equal(records.begin(), records.end(), written.begin())) std::abort();
    records.emplace_back(9, Bytes(7));
    if (!(*journal)->Append(9, Bytes(7)).ok()) std::abort();
    journal = aggregation::Journal::Open(fuzz::File());
    if (!journal || fuzz::ReadAll(**journal) != records) std::abort();
  } else if (journal.error().reason() != "JOURNAL_DAMAGED") {
    std::abort();
  }
  std::filesystem::remove(fuzz::File());
  return 0;
}
