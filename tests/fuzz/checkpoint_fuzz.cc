// Reads hostile checkpoints under a right digest, so that the parser sees them: one that is accepted is written the same again.
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "aggregator/aggregation/checkpoint.h"
#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/file.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

const aggregation::SumShape kShape{.round_id = "round", .elements = 9, .element_bits = 20};

std::filesystem::path File() {
  return std::filesystem::temp_directory_path() / ("edgefleet-checkpoint-fuzz-" + std::to_string(::getpid()));
}

// Without the digest.
Bytes MakeSeed() {
  const std::array<std::uint32_t, 9> words = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  if (!aggregation::WriteCheckpoint(File(), kShape, {"a", "device-1", "device-2"}, words).ok()) std::abort();
  const Bytes whole = *ReadFile(File(), 1 << 20);
  std::filesystem::remove(File());
  return ToBytes(ByteView(whole).first(whole.size() - sizeof(crypto::Sha256Digest)));
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = MakeSeed();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  Bytes content(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
  const auto digest = crypto::Sha256(content);
  content.insert(content.end(), digest.begin(), digest.end());
  std::ofstream(fuzz::File(), std::ios::binary | std::ios::trunc) << AsText(content);
  std::array<std::uint32_t, 9> words{};
  const auto devices = aggregation::ReadCheckpoint(fuzz::File(), fuzz::kShape, words);
  if (devices) {
    if (!aggregation::WriteCheckpoint(fuzz::File(), fuzz::kShape, *devices, words).ok()) std::abort();
    if (*ReadFile(fuzz::File(), 1 << 20) != content) std::abort();
  } else if (devices.error().reason() != "CHECKPOINT_DAMAGED") {
    std::abort();
  }
  std::filesystem::remove(fuzz::File());
  return 0;
}
