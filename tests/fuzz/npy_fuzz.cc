// Reads hostile .npy files; what is read can be written and read again, the same.
#include <cstdlib>
#include <vector>

#include "base/arrays/npy.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {

const Bytes& Seed() {
  static const Bytes seed = *arrays::WriteNpy(arrays::MakeArray<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const auto array = arrays::ReadNpy({reinterpret_cast<const std::byte*>(data), size});
  if (!array) return 0;
  const auto written = arrays::WriteNpy(*array);
  if (!written) std::abort();
  const auto again = arrays::ReadNpy(*written);
  if (!again || again->info() != array->info() || again->data != array->data) std::abort();
  return 0;
}
