// Published vectors for what the protocol is built of, and the sealing of shares.
#include "secagg/keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace edgefleet::secagg {
namespace {

Bytes Hex(std::string_view text) { return HexDecode(text).value(); }

std::string Hkdf(std::string_view salt, std::string_view key, std::string_view info, std::size_t size) {
  Bytes out(size);
  HkdfSha256(Hex(salt), Hex(key), Hex(info), out);
  return HexEncode(out);
}

TEST(Hkdf, Rfc5869TestCases) {
  EXPECT_EQ(Hkdf("000102030405060708090a0b0c", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "f0f1f2f3f4f5f6f7f8f9", 42),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  EXPECT_EQ(
      Hkdf(
          "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f90919293949596979899"
          "9a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
          "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233343536373839"
          "3a3b"
          "3c3d3e3f404142434445464748494a4b4c4d4e4f",
          "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9"
          "eaeb"
          "ecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
          82),
      "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9"
      "aca3"
      "db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
  EXPECT_EQ(Hkdf("", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", 42),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(X25519, Rfc7748Vectors) {  // section 5.2, but for the vector whose point is not canonically encoded
  const auto multiply = [](const Bytes& scalar, const Bytes& point) {
    return ToBytes(Agree(Secret(std::span(scalar).first<kKeySize>()), point).value().bytes());
  };
  EXPECT_EQ(HexEncode(multiply(Hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                               Hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"))),
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  Bytes scalar = Hex("0900000000000000000000000000000000000000000000000000000000000000"), point = scalar;
  for (int iteration = 1; iteration <= 1000; ++iteration) {
    Bytes next = multiply(scalar, point);
    point = std::exchange(scalar, std::move(next));
    if (iteration == 1) {
      EXPECT_EQ(HexEncode(scalar), "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }
  }
  EXPECT_EQ(HexEncode(scalar), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

TEST(X25519, Rfc7748DiffieHellman) {  // section 6.1
  const Bytes bytes = Hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  const Secret bob{std::span(bytes).first<kKeySize>()};
  EXPECT_EQ(HexEncode(PublicKeyOf(bob)), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const Secret agreed = Agree(bob, Hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")).value();
  EXPECT_EQ(HexEncode(agreed.bytes()), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

TEST(X25519, RefusesLowOrderPointsAndOtherEncodings) {
  SeededRandom random(1);
  const KeyPair pair = KeyPair::Generate(random);
  EXPECT_TRUE(IsUsablePublicKey(pair.public_key));
  const auto refused = [&](ByteView key) {
    EXPECT_FALSE(IsUsablePublicKey(key)) << HexEncode(key);
    const auto agreed = Agree(pair.secret, key);
    ASSERT_FALSE(agreed.has_value()) << HexEncode(key);
    EXPECT_EQ(agreed.error().reason(), "BAD_KEY");
  };
  for (const std::string_view point : {
           "0000000000000000000000000000000000000000000000000000000000000000",  // 0, of order 2
           "0100000000000000000000000000000000000000000000000000000000000000",  // 1, of order 4
           "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",  // of order 8
           "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",  // of order 8
           "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  // p - 1, of order 4 on the twist
           "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  // p, which is 0
           "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  // p + 1
       }) {
    Bytes key = Hex(point);
    refused(key);
    key[31] ^= std::byte{0x80};  // X25519 does not look at this bit
    refused(key);
  }
  for (const std::string_view point : {
           "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",  // those of order 8, plus p
           "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
           "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",  // 2p - 1, 2p, 2p + 1
           "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
           "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
       }) {
    refused(Hex(point));
  }
  for (int low = 0xED; low <= 0xFF; ++low) {  // every number from the prime to 2^255
    Bytes key(32, std::byte{0xFF});
    key[0] = static_cast<std::byte>(low);
    key[31] = std::byte{0x7F};
    refused(key);
  }
  Bytes largest = Hex("ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");  // p - 2
  EXPECT_TRUE(IsUsablePublicKey(largest));
  Bytes high_bit = pair.public_key;
  high_bit[31] |= std::byte{0x80};
  refused(high_bit);
  Bytes longer = pair.public_key;
  longer.push_back(std::byte{0});
  for (std::size_t size = 0; size < kKeySize; ++size) refused(ByteView(pair.public_key).first(size));
  refused(longer);
}

TEST(X25519, FreshKeysAreUsable) {
  SeededRandom random(2);
  for (int trial = 0; trial < 500; ++trial) {
    const KeyPair one = KeyPair::Generate(random), other = KeyPair::Generate(random);
    ASSERT_TRUE(Agree(one.secret, other.public_key).value() == Agree(other.secret, one.public_key).value());
  }
}

// Against an implementation of RFC 5869 and RFC 8439 from the text of the RFCs, which gives the RFCs' own vectors: what devices
// and servers of every build must agree on.
TEST(Keys, KnownAnswers) {
  const auto filled = [](int value) {
    std::array<std::byte, 32> bytes;
    bytes.fill(static_cast<std::byte>(value));
    return bytes;
  };
  const RoundDigest round = DigestOfRound("round-7");
  EXPECT_EQ(HexEncode(round), "e1fd19e4b9477cede88fb0ac6cde03a82f829c0150bbaf91452f061c82392c15");
  const SessionId session = filled(0x11);
  const auto one_key = filled(0x22), other_key = filled(0x33);
  const MemberPair pair{round, session, 3, 258, one_key, other_key};
  const Secret agreed(filled(0x44));
  const Secret key = SealKey(agreed, pair);
  EXPECT_EQ(HexEncode(key.bytes()), "5bd897110cd4814d5db8d0bd5a2dce6cf9e99f656d8f0620e5244cee26ca3dbe");
  EXPECT_EQ(HexEncode(PairwiseMaskKey(agreed, pair).bytes()),
            "2ddd19df2dc06d670c75e2315f2c71ff95e752f0804faa54f5d909f1e0dec20a");
  EXPECT_EQ(HexEncode(SelfMaskKey(agreed, session, 3).bytes()),
            "bf73bd0d6292d2c6bcdce17d7215e940f6b925642ea09dddcdf3822130b29aaf");
  EXPECT_EQ(HexEncode(SeedCommitment(agreed, session, 3)), "1d472d9ed308eccfb037270483786b4a58c664ac70e583ab5270ebc7734c4130");
  std::array<std::byte, 64> plain;
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<std::byte>(i);
  const SharePair shares{Secret(std::span(plain).first<kShareSize>()), Secret(std::span(plain).last<kShareSize>())};
  EXPECT_EQ(HexEncode(SealShares(key, shares, pair)),
            "12550bd57c57d7761427757a014781793a728d9ac1e069d49c7474382e22a8d5f1f76eff1f9d470e16061d746856ff12"
            "7f18d8d282548f3e954b6e55e3c154defd40fdd01354f31107d8b0e9ea8c8121");
}

// A pair, whole, and every way to alter one part of it.
class PairTest : public ::testing::Test {
 protected:
  PairTest() {
    random_.Fill(round_);
    random_.Fill(session_);
    random_.Fill(one_key_);
    random_.Fill(other_key_);
  }
  MemberPair Pair() const { return {round_, session_, 1, 2, one_key_, other_key_}; }
  MemberPair Swapped() const { return {round_, session_, 2, 1, other_key_, one_key_}; }
  // Calls `check` with each altered pair.
  template <typename Check>
  void ForEachAlteration(const Check& check) const {
    RoundDigest round = round_;
    SessionId session = session_;
    Bytes one_key = one_key_, other_key = other_key_;
    const auto flipped = [&](std::byte& byte, const char* name) {
      byte ^= std::byte{1};
      check(MemberPair{round, session, 1, 2, one_key, other_key}, name);
      byte ^= std::byte{1};
    };
    for (std::size_t i = 0; i < 32; ++i) {
      flipped(round[i], "round");
      flipped(session[i], "session");
      flipped(one_key[i], "key of one");
      flipped(other_key[i], "key of the other");
    }
    check(MemberPair{round_, session_, 3, 2, one_key_, other_key_}, "one");
    check(MemberPair{round_, session_, 1, 3, one_key_, other_key_}, "other");
    check(MemberPair{round_, session_, 1, 258, one_key_, other_key_}, "high byte of other");
    check(MemberPair{round_, session_, 2, 1, one_key_, other_key_}, "indices exchanged");
    check(MemberPair{round_, session_, 1, 2, other_key_, one_key_}, "keys exchanged");
    check(Swapped(), "the other way");
  }

  SeededRandom random_{3};
  RoundDigest round_;
  SessionId session_;
  Bytes one_key_ = Bytes(32), other_key_ = Bytes(32);
};

TEST_F(PairTest, KeysAreBoundToAllOfIt) {
  const Secret agreed = Secret::Random(random_), agreed_otherwise = Secret::Random(random_);
  const Secret seal = SealKey(agreed, Pair()), mask = PairwiseMaskKey(agreed, Pair());
  EXPECT_FALSE(seal == mask);
  EXPECT_FALSE(seal == SealKey(agreed_otherwise, Pair()));
  EXPECT_FALSE(mask == PairwiseMaskKey(agreed_otherwise, Pair()));
  EXPECT_TRUE(mask == PairwiseMaskKey(agreed, Swapped()));
  ForEachAlteration([&](const MemberPair& altered, std::string_view name) {
    EXPECT_FALSE(seal == SealKey(agreed, altered)) << name;
    if (name != "the other way") {
      EXPECT_FALSE(mask == PairwiseMaskKey(agreed, altered)) << name;
    }
  });
}

TEST_F(PairTest, SeedsAreBoundToPurposeSessionAndMember) {
  const Secret seed = Secret::Random(random_);
  SessionId other = session_;
  other[31] ^= std::byte{1};
  const Secret key = SelfMaskKey(seed, session_, 1);
  EXPECT_FALSE(key == SelfMaskKey(seed, session_, 2));
  EXPECT_FALSE(key == SelfMaskKey(seed, other, 1));
  const auto commitment = SeedCommitment(seed, session_, 1);
  EXPECT_EQ(commitment, SeedCommitment(seed, session_, 1));
  EXPECT_NE(commitment, SeedCommitment(seed, session_, 2));
  EXPECT_NE(commitment, SeedCommitment(seed, other, 1));
  EXPECT_NE(commitment, SeedCommitment(Secret::Random(random_), session_, 1));
  EXPECT_FALSE(std::ranges::equal(commitment, key.bytes()));
}

TEST(RoundDigests, DifferByRound) { EXPECT_NE(DigestOfRound("round"), DigestOfRound("rounc")); }

class SealedTest : public PairTest {
 protected:
  bool Opens(ByteView sealed, const MemberPair& pair) {
    const auto opened = OpenShares(key_, sealed, pair);
    if (!opened) {
      EXPECT_EQ(opened.error().reason(), "BAD_SEALED_SHARES");
    }
    return opened.has_value();
  }

  Secret key_ = Secret::Random(random_);
  SharePair pair_{Secret::Random(random_), Secret::Random(random_)};
  Bytes sealed_ = SealShares(key_, pair_, Pair());
};

TEST_F(SealedTest, OpensToWhatWasSealed) {
  EXPECT_EQ(sealed_.size(), kSealedSize);
  const SharePair opened = OpenShares(key_, sealed_, Pair()).value();
  EXPECT_TRUE(opened.mask_key == pair_.mask_key);
  EXPECT_TRUE(opened.self_mask == pair_.self_mask);
}

TEST_F(SealedTest, DoesNotOpenForAnotherPair) {
  ForEachAlteration([&](const MemberPair& altered, std::string_view name) { EXPECT_FALSE(Opens(sealed_, altered)) << name; });
}

TEST_F(SealedTest, DoesNotOpenWithAnotherKey) {
  for (std::size_t bit = 0; bit < 8 * kKeySize; ++bit) {
    Secret other(key_.bytes());
    other.mutable_bytes()[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_EQ(OpenShares(other, sealed_, Pair()).error().reason(), "BAD_SEALED_SHARES") << bit;
  }
}

TEST_F(SealedTest, DoesNotOpenAltered) {
  for (std::size_t i = 0; i < sealed_.size(); ++i) {
    Bytes altered = sealed_;
    altered[i] ^= std::byte{0x40};
    EXPECT_FALSE(Opens(altered, Pair())) << i;
  }
}

TEST_F(SealedTest, DoesNotOpenCutOrStretchedOrRandom) {
  for (std::size_t size = 0; size < sealed_.size(); ++size) EXPECT_FALSE(Opens(ByteView(sealed_).first(size), Pair()));
  Bytes longer = sealed_;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(Opens(longer, Pair()));
  for (int trial = 0; trial < 5000; ++trial) {
    Bytes noise(random_.Below(2 * kSealedSize));
    random_.Fill(noise);
    EXPECT_FALSE(Opens(noise, Pair()));
  }
}

TEST(Secret, LeavesNothingBehindWhenMoved) {
  SeededRandom random(5);
  Secret from = Secret::Random(random);
  const Secret to = std::move(from);
  EXPECT_TRUE(std::ranges::all_of(from.bytes(), [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_FALSE(std::ranges::all_of(to.bytes(), [](std::byte b) { return b == std::byte{0}; }));
}

}  // namespace
}  // namespace edgefleet::secagg
