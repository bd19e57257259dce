#include "base/bytes.h"

#include <gtest/gtest.h>

#include "base/crypto/crypto.h"

namespace edgefleet {
namespace {

TEST(Hex, RoundTripsAndRefusesForeignText) {
  EXPECT_EQ(HexEncode(AsBytes("\x01\xab\xff")), "01abff");
  EXPECT_EQ(ToString(HexDecode("01ABff").value()), "\x01\xab\xff");
  EXPECT_EQ(HexDecode("").value().size(), 0U);
  EXPECT_EQ(HexDecode("abc").error().reason(), "BAD_HEX");
  EXPECT_EQ(HexDecode("zz").error().reason(), "BAD_HEX");
}

// FIPS 180-4's example, whole and in pieces.
TEST(Sha256, MatchesTheStandard) {
  const std::string expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(crypto::Sha256Hex(AsBytes("abc")), expected);
  crypto::Sha256Stream stream;
  stream.Update(AsBytes("a"));
  stream.Update(AsBytes("bc"));
  EXPECT_EQ(HexEncode(stream.Finish()), expected);
}

// RFC 8032, section 7.1, test 2.
TEST(Ed25519, MatchesTheStandardAndRefusesForgeries) {
  const auto seed = HexDecode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").value();
  const auto key = crypto::Ed25519SecretKey::FromSeed(seed).value();
  EXPECT_EQ(HexEncode(key.public_key()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const Bytes message = HexDecode("72").value();
  auto signature = key.Sign(message);
  EXPECT_EQ(
      HexEncode(signature),
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d2916"
      "12bb0c00");
  EXPECT_TRUE(crypto::Ed25519Verify(key.public_key(), message, signature));
  EXPECT_FALSE(crypto::Ed25519Verify(key.public_key(), AsBytes("s"), signature));
  signature[5] ^= std::byte{1};
  EXPECT_FALSE(crypto::Ed25519Verify(key.public_key(), message, signature));
  EXPECT_FALSE(crypto::Ed25519Verify(key.public_key(), message, ByteView(signature).first(63)));
  EXPECT_EQ(crypto::Ed25519SecretKey::FromSeed(ByteView(seed).first(31)).error().reason(), "BAD_KEY");
  EXPECT_EQ(key.seed(), seed);
}

TEST(Random, IdsDifferAndComparisonIsExact) {
  EXPECT_NE(crypto::RandomId(), crypto::RandomId());
  EXPECT_EQ(crypto::RandomId().size(), 32U);
  EXPECT_TRUE(crypto::ConstantTimeEqual(AsBytes("abc"), AsBytes("abc")));
  EXPECT_FALSE(crypto::ConstantTimeEqual(AsBytes("abc"), AsBytes("abd")));
  EXPECT_FALSE(crypto::ConstantTimeEqual(AsBytes("abc"), AsBytes("ab")));
}

TEST(SeededRandom, ReplaysFromItsSeedAndBelowCoversItsRange) {
  SeededRandom a(7);
  SeededRandom b(7);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a(), b());
  std::array<int, 5> seen{};
  for (int i = 0; i < 1000; ++i) ++seen.at(a.Below(5));
  for (int count : seen) EXPECT_GT(count, 100);
  for (int i = 0; i < 1000; ++i) {
    const double unit = a.Unit();
    EXPECT_TRUE(unit >= 0 && unit < 1);
  }
}

}  // namespace
}  // namespace edgefleet
