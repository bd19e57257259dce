#include "load_tests/secagg/calibration.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "secagg/mask/engine.h"
#include "secagg/mask/kernel.h"
#include "secagg/mask/mask.h"

namespace edgefleet::load_tests {
namespace {

using secagg::AesKeySize;
using secagg::MaskCipher;
using secagg::MaskPath;

constexpr std::array<unsigned char, 32> kSomeKey{1, 2, 3};

struct FreePkey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};

}  // namespace

std::function<void(std::size_t)> OpenSslKeyStream(MaskCipher cipher) {
  const std::shared_ptr<EVP_CIPHER_CTX> context(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  const std::array<unsigned char, 16> counter{};
  EVP_EncryptInit_ex(context.get(), cipher == MaskCipher::kAes256Ctr ? EVP_aes_256_ctr() : EVP_aes_128_ctr(), nullptr,
                     kSomeKey.data(), counter.data());
  const auto buffer = std::make_shared<std::vector<unsigned char>>(16 * 1024);
  return [context, buffer](std::size_t bytes) {
    for (std::size_t done = 0; done < bytes; done += buffer->size()) {
      int written = 0;
      EVP_EncryptUpdate(context.get(), buffer->data(), &written, buffer->data(), static_cast<int>(buffer->size()));
    }
  };
}

std::function<void(std::size_t)> BareKeyStream(MaskCipher cipher) {
#ifdef __x86_64__
  if (const MaskPath path = secagg::BestMaskPath(); path != MaskPath::kPortable) {
    const auto key_size = cipher == MaskCipher::kAes256Ctr ? AesKeySize::k256 : AesKeySize::k128;
    const auto kernel = path == MaskPath::kVaes512 ? secagg::MaskVaes512 : secagg::MaskAesNi;
    const auto schedule = std::make_shared<secagg::AesSchedule>();
    ExpandKeyAesNi(kSomeKey.data(), key_size, schedule.get());
    const auto scratch = std::make_shared<secagg::KernelScratch>();
    const auto stream = std::make_shared<std::vector<std::uint32_t>>(secagg::kMaskBlockWords);
    return [=](std::size_t bytes) {
      const std::size_t pieces = (bytes / sizeof(std::uint32_t) + stream->size() - 1) / stream->size();
      for (std::size_t i = 0; i < pieces; ++i) {
        kernel(*schedule, key_size, secagg::WordOp::kStore, i * stream->size() / 4, stream->data(), stream->size(),
               scratch.get());
      }
    };
  }
#endif
  return OpenSslKeyStream(cipher);
}

std::function<void(std::size_t)> BareX25519() {
  std::array<unsigned char, 32> point{};
  crypto_scalarmult_base(point.data(), kSomeKey.data());
  return [point](std::size_t count) {
    std::array<unsigned char, 32> agreed = point;  // each from the one before, so that none can be left out
    for (std::size_t i = 0; i < count; ++i) {
      const std::array<unsigned char, 32> from = agreed;
      if (crypto_scalarmult(agreed.data(), kSomeKey.data(), from.data()) != 0) std::abort();
    }
  };
}

std::function<void(std::size_t)> OpenSslX25519() {
  const std::unique_ptr<EVP_PKEY, FreePkey> own(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, kSomeKey.data(), kSomeKey.size()));
  const std::shared_ptr<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new(own.get(), nullptr), FreePkey());
  const std::shared_ptr<EVP_PKEY> peer(EVP_PKEY_dup(own.get()), FreePkey());
  if (EVP_PKEY_derive_init(context.get()) != 1 || EVP_PKEY_derive_set_peer(context.get(), peer.get()) != 1) std::abort();
  return [context, peer](std::size_t count) {
    std::array<unsigned char, 32> agreed;
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t size = agreed.size();
      if (EVP_PKEY_derive(context.get(), agreed.data(), &size) != 1) std::abort();
    }
  };
}

}  // namespace edgefleet::load_tests
