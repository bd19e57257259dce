// Reads hostile manifests, and checks that none is accepted but the one that was signed.
#include <cstdlib>

#include "base/crypto/crypto.h"
#include "cdn_origin/manifest/manifest.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

const crypto::Ed25519SecretKey& Key() {
  static const auto key = *crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{7}));
  return key;
}

manifest::Manifest Signed() {
  manifest::Manifest signed_manifest;
  signed_manifest.model = "fashion";
  signed_manifest.version = 3;
  signed_manifest.alias = "stable";
  signed_manifest.sequence = 9;
  signed_manifest.created_unix_ms = 1'800'000'000'000;
  signed_manifest.expires_unix_ms = 1'900'000'000'000;
  manifest::Target target{"int8", "int8", false, crypto::Sha256(AsBytes("file")), 4, {}};
  target.deltas.push_back({crypto::Sha256(AsBytes("old")), crypto::Sha256(AsBytes("patch")), 5});
  signed_manifest.targets.push_back(target);
  return signed_manifest;
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = *manifest::Sign(Signed(), std::span(&Key(), 1));
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  const ByteView bytes{reinterpret_cast<const std::byte*>(data), size};
  if (const auto read = manifest::ReadUnverified(bytes); read && !manifest::Check(*read).ok()) std::abort();
  const FakeClock clock;
  const auto key = fuzz::Key().public_key();
  const auto accepted = manifest::Verify(bytes, std::span(&key, 1), {.model = "fashion"}, clock);
  if (accepted && *accepted != fuzz::Signed()) std::abort();
  return 0;
}
