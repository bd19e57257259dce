#include "secagg/mask.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "secagg/words.h"

namespace edgefleet::secagg {
namespace {

constexpr std::size_t kChunkWords = 4096;  // the key stream stays in the first-level cache
constexpr std::uint64_t kWordsPerBlock = 4;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

// A cipher that cannot start means no memory or a broken OpenSSL: going on would upload an update without its mask.
Context StartStream(const Secret& key, std::uint64_t offset) {
  std::array<unsigned char, 16> counter{};
  std::uint64_t block = offset / kWordsPerBlock;
  for (std::size_t i = 0; i < 8; ++i, block >>= 8) counter[15 - i] = static_cast<unsigned char>(block);
  Context context(EVP_CIPHER_CTX_new());
  if (!context || EVP_EncryptInit_ex(context.get(), EVP_aes_256_ctr(), nullptr,
                                     reinterpret_cast<const unsigned char*>(key.bytes().data()), counter.data()) != 1) {
    std::abort();
  }
  return context;
}

}  // namespace

void ApplyMask(const MaskTerm& term, std::uint64_t offset, std::span<std::uint32_t> words) {
  static constexpr std::array<std::uint32_t, kChunkWords> kZeros{};
  if (offset % kWordsPerBlock != 0) std::abort();
  std::array<std::uint32_t, kChunkWords> stream;
  const Context context = StartStream(term.key, offset);
  while (!words.empty()) {
    const std::size_t size = std::min(words.size(), kChunkWords);
    int written = 0;
    if (EVP_EncryptUpdate(context.get(), reinterpret_cast<unsigned char*>(stream.data()), &written,
                          reinterpret_cast<const unsigned char*>(kZeros.data()),
                          static_cast<int>(size * sizeof(std::uint32_t))) != 1) {
      std::abort();
    }
    const auto part = std::span<const std::uint32_t>(stream).first(size);
    if (term.sign == MaskSign::kAdd) {
      AddWords(words.first(size), part);
    } else {
      SubtractWords(words.first(size), part);
    }
    words = words.subspan(size);
  }
  Wipe(std::as_writable_bytes(std::span(stream)));
}

}  // namespace edgefleet::secagg
