// Published vectors for what the protocol is built of, and the sealing of shares.
#include "secagg/keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

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
