// Applies hostile patches: the output is the expected file or none.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "cdn_origin/delta/decoder.h"
#include "cdn_origin/delta/encoder.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

Bytes Pattern(std::size_t size, unsigned step) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * step / 7);
  return bytes;
}

const Bytes kBase = Pattern(4000, 3);
const Bytes kTarget = [] {
  Bytes target = Pattern(4000, 3);
  for (std::size_t i = 0; i < target.size(); i += 97) target[i] ^= std::byte{0x5a};
  return target;
}();

std::filesystem::path OutFile() {
  return std::filesystem::temp_directory_path() / ("edgefleet-delta-fuzz-" + std::to_string(::getpid()));
}

Bytes MakeSeed() {
  const auto file = OutFile();
  if (!delta::Encode(kBase, kTarget, file)) std::abort();
  Bytes patch = *ReadFile(file, 1 << 20);
  std::filesystem::remove(file);
  return patch;
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = MakeSeed();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const auto out = fuzz::OutFile();
  const delta::ExpectedFile expected{fuzz::kTarget.size(), crypto::Sha256(fuzz::kTarget)};
  const Status applied = delta::Apply(fuzz::kBase, {reinterpret_cast<const std::byte*>(data), size}, expected, out);
  if (std::filesystem::exists(out) != applied.ok()) std::abort();
  if (applied.ok() && *ReadFile(out, 1 << 20) != fuzz::kTarget) std::abort();
  std::filesystem::remove(out);
  return 0;
}
