// libFuzzer without a corpus on disk: mutations start from the target's seed.
#include <algorithm>
#include <cstring>

#include "tests/fuzz/target.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t size_max, unsigned int) {
  const edgefleet::Bytes& seed = edgefleet::fuzz::Seed();
  if (size < 8 && seed.size() <= size_max) {
    std::memcpy(data, seed.data(), seed.size());
    size = seed.size();
  }
  return LLVMFuzzerMutate(data, size, size_max);
}
