#include "secagg/identity.h"

#include <gtest/gtest.h>

namespace edgefleet::secagg {
namespace {

crypto::Ed25519SecretKey KeyOf(int number) {
  return crypto::Ed25519SecretKey::FromSeed(Bytes(32, static_cast<std::byte>(number))).value();
}

DeviceIdentity IdentityOf(int number, const crypto::Ed25519SecretKey& authority) {
  const auto key = KeyOf(number);
  return {key, EnrolIdentity(authority, key.public_key())};
}

// Every change of one bit, and every other length.
template <typename Check>
void ForEachAlteration(ByteView bytes, const Check& refused) {
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    Bytes altered = ToBytes(bytes);
    altered[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_TRUE(refused(altered)) << "bit " << bit;
  }
  for (const std::size_t size : {std::size_t{0}, bytes.size() - 1, bytes.size() + 1, 2 * bytes.size()}) {
    Bytes altered = ToBytes(bytes);
    altered.resize(size);
    EXPECT_TRUE(refused(altered)) << size << " bytes";
  }
}

// The layouts that devices of every version must agree on, written out.
TEST(Identity, SignsTheDocumentedBytes) {
  const auto authority = KeyOf(1);
  const DeviceIdentity device = IdentityOf(2, authority);
  const auto signed_by = [](const crypto::Ed25519SecretKey& key, std::string_view label, std::initializer_list<ByteView> fields,
                            ByteView signature) {
    Bytes statement = ToBytes(AsBytes(label));
    for (const ByteView field : fields) statement.insert(statement.end(), field.begin(), field.end());
    return crypto::Ed25519Verify(key.public_key(), statement, signature);
  };
  const Bytes cipher(32, std::byte{3}), mask(32, std::byte{4}), bitmap(5, std::byte{6});
  const SessionId session{std::byte{5}};
  EXPECT_TRUE(signed_by(authority, "edgefleet/device-identity/v1", {device.key.public_key()}, device.certificate));
  EXPECT_TRUE(signed_by(device.key, "edgefleet/secagg/v1/advert", {DigestOfRound("r"), cipher, mask},
                        SignAdvert(device, "r", cipher, mask)));
  const auto sharers = crypto::Sha256(Bytes(5, std::byte{7})), own = crypto::Sha256(Bytes(5, std::byte{8}));
  EXPECT_TRUE(
      signed_by(device.key, "edgefleet/secagg/v1/upload", {session, own, sharers}, SignUpload(device, session, own, sharers)));
  EXPECT_TRUE(signed_by(device.key, "edgefleet/secagg/v1/survivors", {session, sharers, crypto::Sha256(bitmap)},
                        SignSurvivors(device, session, sharers, bitmap)));
}

TEST(Identity, EnrolmentIsByAKnownAuthorityForOneDevice) {
  const auto one = KeyOf(1), two = KeyOf(2), stranger = KeyOf(3);
  const DeviceIdentity device = IdentityOf(4, two);
  const auto device_key = device.key.public_key();
  const std::vector<crypto::Ed25519PublicKey> both{one.public_key(), two.public_key()};
  EXPECT_TRUE(IsEnrolled(both, device_key, device.certificate));
  EXPECT_FALSE(IsEnrolled({}, device_key, device.certificate));
  EXPECT_FALSE(IsEnrolled(std::span(both).first(1), device_key, device.certificate));
  EXPECT_FALSE(IsEnrolled(both, KeyOf(5).public_key(), device.certificate));
  EXPECT_FALSE(IsEnrolled(both, device_key, EnrolIdentity(stranger, device_key)));
  EXPECT_FALSE(IsEnrolled(both, device_key, EnrolIdentity(device.key, device_key))) << "enrolled by itself";
  ForEachAlteration(device.certificate, [&](ByteView altered) { return !IsEnrolled(both, device_key, altered); });
}

TEST(Identity, AdvertsAreBoundToDeviceRoundAndKeys) {
  const DeviceIdentity device = IdentityOf(2, KeyOf(1));
  const auto key = device.key.public_key();
  SeededRandom random(1);
  Bytes cipher(32), mask(32);
  random.Fill(cipher);
  random.Fill(mask);
  const auto signature = SignAdvert(device, "round", cipher, mask);
  EXPECT_TRUE(VerifyAdvert(key, "round", cipher, mask, signature));
  EXPECT_FALSE(VerifyAdvert(KeyOf(3).public_key(), "round", cipher, mask, signature));
  EXPECT_FALSE(VerifyAdvert(key, "rounc", cipher, mask, signature));
  EXPECT_FALSE(VerifyAdvert(key, "", cipher, mask, signature));
  EXPECT_FALSE(VerifyAdvert(key, "round", mask, cipher, signature));
  ForEachAlteration(cipher, [&](ByteView altered) { return !VerifyAdvert(key, "round", altered, mask, signature); });
  ForEachAlteration(mask, [&](ByteView altered) { return !VerifyAdvert(key, "round", cipher, altered, signature); });
  ForEachAlteration(signature, [&](ByteView altered) { return !VerifyAdvert(key, "round", cipher, mask, altered); });
  // The same bytes in front of and behind another boundary.
  Bytes longer = cipher, shorter(mask.begin() + 1, mask.end());
  longer.push_back(mask[0]);
  EXPECT_FALSE(VerifyAdvert(key, "round", longer, shorter, signature));
}

TEST(Identity, UploadsAreBoundToDeviceSessionAdvertAndSharers) {
  const DeviceIdentity device = IdentityOf(2, KeyOf(1));
  const auto key = device.key.public_key();
  const SessionId session{std::byte{7}}, other{std::byte{8}};
  const crypto::Sha256Digest sharers{std::byte{9}}, others{std::byte{10}};
  const crypto::Sha256Digest advert{std::byte{11}};
  const auto signature = SignUpload(device, session, advert, sharers);
  EXPECT_TRUE(VerifyUpload(key, session, advert, sharers, signature));
  EXPECT_FALSE(VerifyUpload(key, other, advert, sharers, signature));
  EXPECT_FALSE(VerifyUpload(key, session, others, sharers, signature));
  EXPECT_FALSE(VerifyUpload(key, session, advert, others, signature));
  EXPECT_FALSE(VerifyUpload(KeyOf(3).public_key(), session, advert, sharers, signature));
  ForEachAlteration(signature, [&](ByteView altered) { return !VerifyUpload(key, session, advert, sharers, altered); });
}

TEST(Identity, SurvivorsAreBoundToDeviceSessionAndBitmaps) {
  const DeviceIdentity device = IdentityOf(2, KeyOf(1));
  const auto key = device.key.public_key();
  SessionId session{std::byte{7}}, other{std::byte{8}};
  const Bytes bitmap{std::byte{0xFF}, std::byte{0x0F}};
  const crypto::Sha256Digest sharers{std::byte{9}}, others{std::byte{10}};
  const auto signature = SignSurvivors(device, session, sharers, bitmap);
  EXPECT_TRUE(VerifySurvivors(key, session, sharers, bitmap, signature));
  EXPECT_FALSE(VerifySurvivors(key, other, sharers, bitmap, signature));
  EXPECT_FALSE(VerifySurvivors(key, session, others, bitmap, signature));
  EXPECT_FALSE(VerifySurvivors(KeyOf(3).public_key(), session, sharers, bitmap, signature));
  ForEachAlteration(bitmap, [&](ByteView altered) { return !VerifySurvivors(key, session, sharers, altered, signature); });
  ForEachAlteration(signature, [&](ByteView altered) { return !VerifySurvivors(key, session, sharers, bitmap, altered); });
}

// One kind of signature never serves as another, even where the signed fields have the same sizes.
TEST(Identity, SignaturesOfOnePurposeServeNoOther) {
  const DeviceIdentity device = IdentityOf(2, KeyOf(1));
  const auto key = device.key.public_key();
  const std::vector<crypto::Ed25519PublicKey> authorities{key};
  const Bytes cipher(32, std::byte{3}), mask(32, std::byte{4});
  const SessionId session = DigestOfRound("round");
  const auto advert = SignAdvert(device, "round", cipher, mask);
  const auto sharers = crypto::Sha256(cipher);
  const auto own = crypto::Sha256(mask);
  const auto upload = SignUpload(device, session, own, sharers);
  const auto survivors = SignSurvivors(device, session, sharers, cipher);
  EXPECT_FALSE(VerifySurvivors(key, session, sharers, cipher, advert));
  EXPECT_FALSE(VerifySurvivors(key, session, sharers, cipher, upload));
  EXPECT_FALSE(VerifyUpload(key, session, own, sharers, advert));
  EXPECT_FALSE(VerifyUpload(key, session, own, sharers, survivors));
  EXPECT_FALSE(VerifyAdvert(key, "round", cipher, mask, survivors));
  EXPECT_FALSE(IsEnrolled(authorities, KeyOf(5).public_key(), advert));
  EXPECT_FALSE(VerifyAdvert(key, "round", cipher, mask, EnrolIdentity(device.key, KeyOf(5).public_key())));
}

}  // namespace
}  // namespace edgefleet::secagg
