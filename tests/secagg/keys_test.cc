// Published vectors for what the protocol is built of, and the sealing of shares.
#include "secagg/keys.h"

#include <gtest/gtest.h>

#include <algorithm>

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
  EXPECT_EQ(Hkdf("", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", 42),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(X25519, Rfc7748DiffieHellman) {  // section 6.1
  const Bytes bytes = Hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  const Secret bob{std::span(bytes).first<kKeySize>()};
  EXPECT_EQ(HexEncode(PublicKeyOf(bob)), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const Secret agreed = Agree(bob, Hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")).value();
  EXPECT_EQ(HexEncode(agreed.bytes()), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

TEST(X25519, RefusesLowOrderPointsAndOtherLengths) {
  SeededRandom random(1);
  const KeyPair pair = KeyPair::Generate(random);
  EXPECT_TRUE(IsUsablePublicKey(pair.public_key));
  for (const std::string_view point : {"0000000000000000000000000000000000000000000000000000000000000000",
                                       "0100000000000000000000000000000000000000000000000000000000000000",
                                       "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                                       "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                                       "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                       "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                       "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", ""}) {
    EXPECT_FALSE(IsUsablePublicKey(Hex(point))) << point;
    EXPECT_EQ(Agree(pair.secret, Hex(point)).error().reason(), "BAD_KEY") << point;
  }
  EXPECT_FALSE(IsUsablePublicKey(ByteView(pair.public_key).first(31)));
}

TEST(Keys, AreBoundToPurposeSessionAndMembers) {
  SeededRandom random(3);
  const Secret agreed = Secret::Random(random);
  const std::vector<RosterMember> roster{{1, Bytes(32), Bytes(32)}, {2, Bytes(32), Bytes(32)}};
  const SessionId session = MakeSessionId("round", 2, 10, roster);
  auto altered = roster;
  altered[1].mask_public_key[0] = std::byte{1};
  std::vector<Secret> keys;
  keys.push_back(SealKey(agreed, session, 1, 2));
  keys.push_back(SealKey(agreed, session, 2, 1));
  keys.push_back(PairwiseMaskKey(agreed, session, 1, 2));
  keys.push_back(SelfMaskKey(agreed, session, 1));
  keys.push_back(SelfMaskKey(agreed, session, 2));
  for (const SessionId& other : {MakeSessionId("rounc", 2, 10, roster), MakeSessionId("round", 1, 10, roster),
                                 MakeSessionId("round", 2, 11, roster), MakeSessionId("round", 2, 10, altered)}) {
    keys.push_back(SealKey(agreed, other, 1, 2));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_FALSE(std::ranges::equal(keys[i].bytes(), keys[j].bytes())) << i << " and " << j;
  }
  EXPECT_TRUE(
      std::ranges::equal(PairwiseMaskKey(agreed, session, 1, 2).bytes(), PairwiseMaskKey(agreed, session, 2, 1).bytes()));
}

class SealedTest : public ::testing::Test {
 protected:
  SealedTest() : key_(Secret::Random(random_)), pair_{Secret::Random(random_), Secret::Random(random_)} {
    session_.fill(std::byte{7});
    sealed_ = SealShares(key_, pair_, session_, 1, 2, random_);
  }
  bool Opens(ByteView sealed, const SessionId& session, std::uint32_t sender, std::uint32_t receiver) {
    const auto opened = OpenShares(key_, sealed, session, sender, receiver);
    if (!opened) {
      EXPECT_EQ(opened.error().reason(), "BAD_SEALED_SHARES");
    }
    return opened.has_value();
  }

  SeededRandom random_{4};
  Secret key_;
  SharePair pair_;
  SessionId session_;
  Bytes sealed_;
};

TEST_F(SealedTest, OpensToWhatWasSealed) {
  EXPECT_EQ(sealed_.size(), kSealedSize);
  const SharePair opened = OpenShares(key_, sealed_, session_, 1, 2).value();
  EXPECT_TRUE(std::ranges::equal(opened.mask_key.bytes(), pair_.mask_key.bytes()));
  EXPECT_TRUE(std::ranges::equal(opened.self_mask.bytes(), pair_.self_mask.bytes()));
}

TEST_F(SealedTest, DoesNotOpenForAnotherSessionSenderOrReceiver) {
  SessionId other = session_;
  other[31] ^= std::byte{1};
  EXPECT_FALSE(Opens(sealed_, other, 1, 2));
  EXPECT_FALSE(Opens(sealed_, session_, 3, 2));
  EXPECT_FALSE(Opens(sealed_, session_, 1, 3));
  EXPECT_FALSE(Opens(sealed_, session_, 2, 1));
}

TEST_F(SealedTest, DoesNotOpenAltered) {
  for (std::size_t i = 0; i < sealed_.size(); ++i) {
    Bytes altered = sealed_;
    altered[i] ^= std::byte{0x40};
    EXPECT_FALSE(Opens(altered, session_, 1, 2)) << i;
  }
}

TEST_F(SealedTest, DoesNotOpenCutOrStretchedOrRandom) {
  for (std::size_t size = 0; size < sealed_.size(); ++size) EXPECT_FALSE(Opens(ByteView(sealed_).first(size), session_, 1, 2));
  Bytes longer = sealed_;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(Opens(longer, session_, 1, 2));
  for (int trial = 0; trial < 5000; ++trial) {
    Bytes noise(random_.Below(2 * kSealedSize));
    random_.Fill(noise);
    EXPECT_FALSE(Opens(noise, session_, 1, 2));
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
