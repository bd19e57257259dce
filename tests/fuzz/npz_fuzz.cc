// Reads hostile .npz archives; what is read can be written and read again.
#include <cstdlib>
#include <vector>

#include "base/arrays/npz.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

Bytes MakeSeed() {
  arrays::Archive archive;
  const std::vector<float> image = {1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> labels = {7, 9};
  archive["image"] = arrays::MakeArray<float>({2, 3}, image);
  archive["labels"] = arrays::MakeArray<std::int64_t>({2}, labels);
  return *arrays::WriteNpz(archive);
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = MakeSeed();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const arrays::NpzLimits limits{.bytes_max = 1 << 20};
  const auto archive = arrays::ReadNpz({reinterpret_cast<const std::byte*>(data), size}, limits);
  if (!archive) return 0;
  const auto written = arrays::WriteNpz(*archive);
  if (!written || !arrays::ReadNpz(*written, limits)) std::abort();
  return 0;
}
