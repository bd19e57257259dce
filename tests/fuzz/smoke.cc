// Drives a fuzz target over a fixed sequence of mutations of its seed: truncations, flips, overwritten words, copied stretches.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/random.h"
#include "tests/fuzz/target.h"

namespace {

constexpr int kInputs = 50'000;  // unless the first argument says otherwise

void Mutate(edgefleet::Bytes& bytes, edgefleet::SeededRandom& random) {
  const std::size_t at = random.Below(bytes.size());
  const std::size_t length = 1 + random.Below(std::min<std::size_t>(8, bytes.size() - at));
  switch (random.Below(4)) {
    case 0:
      bytes[at] ^= static_cast<std::byte>(1 << random.Below(8));
      break;
    case 1:
      random.Fill(std::span(bytes).subspan(at, length));
      break;
    case 2:
      std::memmove(bytes.data() + at, bytes.data() + random.Below(bytes.size() - length + 1), length);
      break;
    default:
      if (random.Below(8) == 0 && at > 0) bytes.resize(at);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int inputs = argc > 1 ? std::atoi(argv[1]) : kInputs;
  edgefleet::SeededRandom random(2026);
  for (int round = 0; round < inputs; ++round) {
    edgefleet::Bytes bytes = edgefleet::fuzz::Seed();
    for (std::uint64_t i = 0; i <= random.Below(4); ++i) Mutate(bytes, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  std::printf("%d inputs\n", inputs);
  return 0;
}
