// Hands hostile sealed shares to a device: only what the sender sealed opens, and the update stays untouched otherwise.
#include <cstdlib>
#include <memory>
#include <vector>

#include "secagg/client.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

// Two members of a round; the first receives what the fuzzer makes of the second's shares.
struct Pair {
  SeededRandom random{5};
  secagg::Client receiver{"fuzz", random};
  secagg::Client sender{"fuzz", random};
  Bytes sealed;

  Pair() {
    const auto first = *receiver.AdvertiseKeys();
    const auto second = *sender.AdvertiseKeys();
    const std::vector<secagg::RosterMember> roster = {{1, first.cipher_public_key, first.mask_public_key},
                                                      {2, second.cipher_public_key, second.mask_public_key}};
    if (!receiver.ShareKeys({1, 2, 4, roster})) std::abort();
    sealed = sender.ShareKeys({2, 2, 4, roster})->front().ciphertext;
  }
};

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = Pair().sealed;
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;  // NOLINT(google-build-using-namespace)
  static auto pair = std::make_unique<fuzz::Pair>();
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const secagg::SealedShares sealed{2, 1, Bytes(bytes, bytes + size)};
  std::vector<std::uint32_t> update = {1, 2, 3, 4};
  const auto before = update;
  const Status masked = pair->receiver.Mask(std::span(&sealed, 1), update);
  if (masked.ok() != (sealed.ciphertext == pair->sealed) || masked.ok() == (update == before)) std::abort();
  if (masked.ok()) pair = std::make_unique<fuzz::Pair>();  // the receiver has moved on
  return 0;
}
