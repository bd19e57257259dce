#include "secagg/seed_stream.h"

#include <sodium.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace edgefleet::secagg {
namespace {

constexpr std::size_t kWordsPerBlock = 16;
static_assert(std::endian::native == std::endian::little);

}  // namespace

SeedStream::SeedStream(const Seed& seed, std::string_view purpose) : seed_(seed) {
  // libsodium chooses the fastest code when it is initialized; the stream is the same without.
  static const bool ready = sodium_init() >= 0;
  if (!ready || purpose.size() != nonce_.size()) std::abort();
  std::ranges::copy(purpose, nonce_.begin());
}

void SeedStream::Fill(std::span<std::uint32_t> words) {
  std::ranges::fill(words, 0U);
  auto* bytes = reinterpret_cast<unsigned char*>(words.data());
  crypto_stream_chacha20_xor_ic(bytes, bytes, words.size_bytes(), nonce_.data(), block_,
                                reinterpret_cast<const unsigned char*>(seed_.data()));
  block_ += (words.size() + kWordsPerBlock - 1) / kWordsPerBlock;
}

}  // namespace edgefleet::secagg
