// Masks are AES in counter mode, the same on every path, at every position and on any number of threads.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "base/random.h"
#include "secagg/mask/mask.h"

namespace edgefleet::secagg {
namespace {

using Words = std::vector<std::uint32_t>;

Bytes Hex(std::string_view text) { return HexDecode(text).value(); }

std::string Name(MaskPath path) {
  return path == MaskPath::kPortable ? "Portable" : path == MaskPath::kAesNi ? "AesNi" : "Vaes512";
}
std::string Name(MaskCipher cipher) { return cipher == MaskCipher::kAes256Ctr ? "Aes256" : "Aes128"; }

// The key stream as OpenSSL gives it.
Bytes ReferenceStream(MaskCipher cipher, ByteView key, ByteView counter, std::size_t size) {
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  const auto bytes = [](ByteView view) { return reinterpret_cast<const unsigned char*>(view.data()); };
  Bytes stream(size);
  int written = 0;
  EXPECT_EQ(EVP_EncryptInit_ex(context.get(), cipher == MaskCipher::kAes256Ctr ? EVP_aes_256_ctr() : EVP_aes_128_ctr(), nullptr,
                               bytes(key), bytes(counter)),
            1);
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), reinterpret_cast<unsigned char*>(stream.data()), &written, bytes(stream),
                              static_cast<int>(size)),
            1);
  return stream;
}

// Applies the terms to copies of `words` that lie at `offset`.
Words Reference(std::span<const MaskTerm> terms, MaskCipher cipher, std::uint64_t offset, Words words) {
  Bytes counter(16);
  std::uint64_t block = offset / 4;
  for (std::size_t i = 0; i < 8; ++i, block >>= 8) counter[15 - i] = static_cast<std::byte>(block);
  for (const MaskTerm& term : terms) {
    const Bytes stream = ReferenceStream(cipher, term.key.bytes(), counter, words.size() * 4);
    for (std::size_t i = 0; i < words.size(); ++i) {
      std::uint32_t word = 0;
      for (std::size_t byte = 0; byte < 4; ++byte) word |= std::to_integer<std::uint32_t>(stream[4 * i + byte]) << (8 * byte);
      words[i] += term.sign == MaskSign::kAdd ? word : -word;
    }
  }
  return words;
}

std::vector<MaskTerm> RandomTerms(std::size_t count, RandomSource& random) {
  std::vector<MaskTerm> terms;
  for (std::size_t i = 0; i < count; ++i) {
    terms.push_back({Secret::Random(random), i % 2 == 0 ? MaskSign::kAdd : MaskSign::kSubtract});
  }
  return terms;
}

Words RandomWords(std::size_t count, RandomSource& random) {
  Words words(count);
  random.Fill(std::as_writable_bytes(std::span(words)));
  return words;
}

TEST(MaskReference, Sp800Dash38aCounterMode) {  // appendix F.5.1 and F.5.5, without the plaintext
  const Bytes counter = Hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  EXPECT_EQ(HexEncode(ReferenceStream(MaskCipher::kAes128Ctr, Hex("2b7e151628aed2a6abf7158809cf4f3c"), counter, 64)),
            "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae"
            "6a2cc3787889374fbeb4c81b17ba6c44e89c399ff0f198c6d40a31db156cabfe");
  EXPECT_EQ(HexEncode(ReferenceStream(MaskCipher::kAes256Ctr,
                                      Hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"), counter, 64)),
            "0bdf7df1591716335e9a8b15c860c5025a6e699d536119065433863c8f657b94"
            "1bc12c9c01610d5d0d8bd6a3378eca622956e1c8693536b1bee99c73a31576b6");
}

TEST(MaskPaths, BestIsSupported) {
  EXPECT_TRUE(IsSupported(MaskPath::kPortable));
  EXPECT_TRUE(IsSupported(BestMaskPath()));
}

class MaskPathTest : public ::testing::TestWithParam<std::tuple<MaskPath, MaskCipher>> {
 protected:
  void SetUp() override {
    if (!IsSupported(path())) GTEST_SKIP() << "this processor does not have it";
  }
  MaskPath path() const { return std::get<0>(GetParam()); }
  MaskCipher cipher() const { return std::get<1>(GetParam()); }

  Words Masked(std::span<const MaskTerm> terms, std::uint64_t offset, Words words) const {
    MaskSet(terms, cipher(), path()).Apply(offset, words);
    return words;
  }

  SeededRandom random_{7};
};

TEST_P(MaskPathTest, PublishedVectors) {
  // The zero block under the KeySbox and VarKey keys of NIST AESAVS, appendices C and E: the first four words of a mask.
  struct Case {
    MaskCipher cipher;
    const char* key;
    const char* stream;
  };
  const Case cases[] = {
      {MaskCipher::kAes128Ctr, "10a58869d74be5a374cf867cfb473859", "6d251e6944b051e04eaa6fb4dbf78465"},
      {MaskCipher::kAes128Ctr, "80000000000000000000000000000000", "0edd33d3c621e546455bd8ba1418bec8"},
      {MaskCipher::kAes256Ctr, "c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558",
       "46f2fb342d6f0ab477476fc501242c5f"},
      {MaskCipher::kAes256Ctr, "8000000000000000000000000000000000000000000000000000000000000000",
       "e35a6dcb19b201a01ebcfa8aa22b5759"},
      {MaskCipher::kAes256Ctr, "0000000000000000000000000000000000000000000000000000000000000000",
       "dc95c078a2408989ad48a21492842087"},
  };
  for (const Case& c : cases) {
    if (c.cipher != cipher()) continue;
    Bytes key = Hex(c.key);
    key.resize(kKeySize, std::byte{0xA5});  // what AES-128 does not read
    const MaskTerm term{Secret(std::span(key).first<kKeySize>()), MaskSign::kAdd};
    const Words mask = Masked({&term, 1}, 0, Words(4));
    EXPECT_EQ(HexEncode(std::as_bytes(std::span(mask))), c.stream);
  }
}

TEST_P(MaskPathTest, IsCounterModeAtEveryPositionLengthAndSign) {
  // Starts around where one, two, four and five bytes of the block counter change; lengths around vectors and groups.
  const std::uint64_t blocks[] = {0, 1, 3, 129, 255, 256, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF0, kMaskWordsMax / 4 - 0x500};
  const std::size_t lengths[] = {0,  1,   2,   3,   4,   5,   15,   16,   17,   63,   64,
                                 65, 127, 128, 129, 255, 511, 1023, 1024, 1025, 1491, 5000};
  const std::vector<MaskTerm> terms = RandomTerms(2, random_);
  for (const std::uint64_t block : blocks) {
    for (const std::size_t length : lengths) {
      for (const MaskTerm& term : terms) {
        const Words words = RandomWords(length, random_);
        const Words expected = Reference({&term, 1}, cipher(), 4 * block, words);
        ASSERT_EQ(Masked({&term, 1}, 4 * block, words), expected) << "block " << block << ", " << length << " words";
      }
    }
  }
}

TEST_P(MaskPathTest, WritesNothingBesideItsWords) {
  const std::vector<MaskTerm> terms = RandomTerms(3, random_);
  const MaskSet masks(terms, cipher(), path());
  const Words plain = RandomWords(700, random_);
  for (std::size_t begin = 0; begin < 20; ++begin) {  // also places words at every alignment
    for (std::size_t size = 0; size < 600; size += 1 + size / 7) {
      Words words = plain;
      masks.Apply(8, std::span(words).subspan(begin, size));
      Words inner(plain.begin() + static_cast<std::ptrdiff_t>(begin),
                  plain.begin() + static_cast<std::ptrdiff_t>(begin + size));
      inner = Reference(terms, cipher(), 8, inner);
      Words expected = plain;
      std::ranges::copy(inner, expected.begin() + static_cast<std::ptrdiff_t>(begin));
      ASSERT_EQ(words, expected) << begin << " + " << size;
    }
  }
}

TEST_P(MaskPathTest, ManyTermsInOnePieceInPartsAndOnAnyNumberOfThreads) {
  const std::vector<MaskTerm> terms = RandomTerms(5, random_);
  const MaskSet masks(terms, cipher(), path());
  const Words plain = RandomWords(100'003, random_);
  const Words expected = Reference(terms, cipher(), 0, plain);
  for (const std::size_t part : {std::size_t{1'000}, std::size_t{4'096}, std::size_t{65'540}, plain.size()}) {
    Words words = plain;
    for (std::size_t begin = 0; begin < words.size(); begin += part) {
      masks.Apply(begin, std::span(words).subspan(begin, std::min(part, words.size() - begin)));
    }
    ASSERT_EQ(words, expected) << "parts of " << part;
  }
  for (std::size_t threads = 0; threads <= 4; ++threads) {
    const auto pool = threads == 0 ? nullptr : std::make_unique<ThreadPool>("mask", threads, 16);
    Words words = plain;
    masks.Apply(words, pool.get());
    ASSERT_EQ(words, expected) << threads << " helpers";
  }
}

TEST_P(MaskPathTest, ManyCallersShareOneSet) {
  const std::vector<MaskTerm> terms = RandomTerms(3, random_);
  const MaskSet masks(terms, cipher(), path());
  const Words plain = RandomWords(30'000, random_);
  const Words expected = Reference(terms, cipher(), 0, plain);
  std::vector<Words> results(4, plain);
  {
    std::vector<std::jthread> callers;
    for (Words& words : results) callers.emplace_back([&] { masks.Apply(0, words); });
  }
  for (const Words& words : results) EXPECT_EQ(words, expected);
}

TEST_P(MaskPathTest, OppositeSignsCancel) {
  const MaskTerm add{Secret::Random(random_), PairwiseSign(2, 1)};
  const MaskTerm undo{Secret(add.key.bytes()), Opposite(add.sign)};
  const Words plain = RandomWords(10'000, random_);
  EXPECT_EQ(undo.sign, PairwiseSign(1, 2));
  const Words masked = Masked({&add, 1}, 0, plain);
  EXPECT_NE(masked, plain);
  EXPECT_EQ(Masked({&undo, 1}, 0, masked), plain);
}

TEST_P(MaskPathTest, NoTermsNoChange) {
  const Words plain = RandomWords(100, random_);
  EXPECT_EQ(Masked({}, 0, plain), plain);
}

TEST_P(MaskPathTest, RefusesAPositionInsideOfACipherBlock) {
  const std::vector<MaskTerm> terms = RandomTerms(1, random_);
  EXPECT_DEATH(Masked(terms, 2, Words(8)), "");
  EXPECT_DEATH(Masked(terms, kMaskWordsMax - 4, Words(8)), "");
}

INSTANTIATE_TEST_SUITE_P(All, MaskPathTest,
                         ::testing::Combine(::testing::Values(MaskPath::kPortable, MaskPath::kAesNi, MaskPath::kVaes512),
                                            ::testing::Values(MaskCipher::kAes256Ctr, MaskCipher::kAes128Ctr)),
                         [](const auto& test) { return Name(std::get<0>(test.param)) + Name(std::get<1>(test.param)); });

}  // namespace
}  // namespace edgefleet::secagg
