// Decodes hostile records of a round's journal; what decodes is written as it was read.
#include <algorithm>
#include <cstdlib>

#include "aggregator/rounds/journal_records.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {

// The first byte is the kind.
const Bytes& Seed() {
  static const Bytes seed = [] {
    const rounds::JournalRecord record =
        rounds::PhaseClosed{rounds::Event::kUpdatesToConfirm, {18, 11}, 12, {"device-1", "device-2"}};
    Bytes bytes = {static_cast<std::byte>(rounds::KindOf(record))};
    const Bytes payload = rounds::EncodeRecord(record);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
  }();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const ByteView payload(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  for (const std::uint8_t kind : {data[0], static_cast<std::uint8_t>(data[0] % 12)}) {
    const auto record = rounds::DecodeRecord(kind, payload);
    if (!record) continue;
    if (rounds::KindOf(*record) != kind || !std::ranges::equal(rounds::EncodeRecord(*record), payload)) std::abort();
  }
  return 0;
}
