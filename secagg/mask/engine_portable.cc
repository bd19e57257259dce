// Any processor: OpenSSL's counter mode into a piece of the first-level cache, then an addition.
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "secagg/mask/engine.h"
#include "secagg/words.h"

namespace edgefleet::secagg {
namespace {

constexpr std::size_t kPieceWords = 2048;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

class PortableEngine final : public MaskEngine {
 public:
  PortableEngine(std::span<const MaskTerm> terms, MaskCipher cipher) {
    const EVP_CIPHER* const mode = cipher == MaskCipher::kAes256Ctr ? EVP_aes_256_ctr() : EVP_aes_128_ctr();
    terms_.reserve(terms.size());
    for (const MaskTerm& term : terms) {
      Context context(EVP_CIPHER_CTX_new());
      if (!context || EVP_EncryptInit_ex(context.get(), mode, nullptr,
                                         reinterpret_cast<const unsigned char*>(term.key.bytes().data()), nullptr) != 1) {
        std::abort();
      }
      terms_.push_back({std::move(context), term.sign});
    }
  }

  void Apply(std::uint64_t block, std::span<std::uint32_t> words) const override {
    std::array<unsigned char, 16> counter{};
    for (std::size_t i = 0; i < 8; ++i, block >>= 8) counter[15 - i] = static_cast<unsigned char>(block);
    std::array<std::uint32_t, kPieceWords> stream;
    const Context context(EVP_CIPHER_CTX_new());
    if (!context) std::abort();
    for (const Term& term : terms_) {
      // A copy costs less than expanding the key again, and other threads use the original.
      if (EVP_CIPHER_CTX_copy(context.get(), term.context.get()) != 1 ||
          EVP_EncryptInit_ex(context.get(), nullptr, nullptr, nullptr, counter.data()) != 1) {
        std::abort();
      }
      for (std::size_t begin = 0; begin < words.size(); begin += kPieceWords) {
        Add(context.get(), term.sign, words.subspan(begin, std::min(kPieceWords, words.size() - begin)), stream);
      }
    }
    Wipe(std::as_writable_bytes(std::span(stream)));
  }

 private:
  struct Term {
    Context context;
    MaskSign sign;
  };

  static void Add(EVP_CIPHER_CTX* context, MaskSign sign, std::span<std::uint32_t> words,
                  std::array<std::uint32_t, kPieceWords>& stream) {
    static constexpr std::array<std::uint32_t, kPieceWords> kZeros{};
    int written = 0;
    if (EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(stream.data()), &written,
                          reinterpret_cast<const unsigned char*>(kZeros.data()), static_cast<int>(words.size_bytes())) != 1) {
      std::abort();
    }
    const auto part = std::span<const std::uint32_t>(stream).first(words.size());
    sign == MaskSign::kAdd ? AddWords(words, part) : SubtractWords(words, part);
  }

  std::vector<Term> terms_;
};

}  // namespace

std::unique_ptr<const MaskEngine> MakePortableEngine(std::span<const MaskTerm> terms, MaskCipher cipher) {
  return std::make_unique<PortableEngine>(terms, cipher);
}

}  // namespace edgefleet::secagg
