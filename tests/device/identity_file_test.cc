#include "device_client/federated/identity_file.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::device {
namespace {

namespace fs = std::filesystem;
using crypto::Ed25519SecretKey;

class IdentityFilesTest : public ::testing::Test {
 protected:
  std::string Reason() const {
    const auto identity = ReadIdentity(files_, authorities_);
    return identity ? "" : identity.error().reason();
  }
  void Certify(const Ed25519SecretKey& authority, const crypto::Ed25519PublicKey& device) {
    ASSERT_TRUE(WriteCertificate(files_.certificate, secagg::EnrolIdentity(authority, device)).ok());
  }

  test::TempDir dir_;
  const IdentityFiles files_{dir_.path() / "identity.key", dir_.path() / "identity.cert"};
  const Ed25519SecretKey authority_ = Ed25519SecretKey::Generate();
  const std::vector<crypto::Ed25519PublicKey> authorities_{Ed25519SecretKey::Generate().public_key(), authority_.public_key()};
};

TEST_F(IdentityFilesTest, TheKeyIsMadeOnceAndSecret) {
  const auto made = ReadOrMakeIdentityKey(files_.key).value();
  EXPECT_EQ(fs::status(files_.key).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(ReadOrMakeIdentityKey(files_.key)->public_key(), made.public_key());
}

TEST_F(IdentityFilesTest, ADamagedKeyIsNotReplaced) {
  ASSERT_TRUE(WriteFileAtomic(files_.key, AsBytes("not a seed")).ok());
  EXPECT_EQ(Reason(), "BAD_KEY");
  EXPECT_EQ(ToString(ReadFile(files_.key, 100).value()), "not a seed");
}

TEST_F(IdentityFilesTest, AnEnrolledDeviceHasItsIdentity) {
  const auto key = ReadOrMakeIdentityKey(files_.key).value();
  Certify(authority_, key.public_key());
  const auto identity = ReadIdentity(files_, authorities_);
  ASSERT_TRUE(identity) << identity.error().ToString();
  EXPECT_EQ(identity->key.public_key(), key.public_key());
  EXPECT_TRUE(secagg::IsEnrolled(authorities_, key.public_key(), identity->certificate));
}

TEST_F(IdentityFilesTest, WithoutAValidCertificateTheMessageSaysHowToEnrol) {
  const auto missing = ReadIdentity(files_, authorities_);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason(), "NO_IDENTITY");
  const auto key = ReadOrMakeIdentityKey(files_.key).value();
  EXPECT_NE(missing.error().message().find("--identity " + HexEncode(key.public_key())), std::string::npos);

  Certify(Ed25519SecretKey::Generate(), key.public_key());
  EXPECT_EQ(Reason(), "NO_IDENTITY") << "a foreign authority";
  Certify(authority_, Ed25519SecretKey::Generate().public_key());
  EXPECT_EQ(Reason(), "NO_IDENTITY") << "another device's certificate";
  for (const std::string& bad : {std::string(), std::string(127, 'a'), std::string(128, 'g'), std::string(2000, 'a')}) {
    ASSERT_TRUE(WriteFileAtomic(files_.certificate, AsBytes(bad)).ok());
    EXPECT_EQ(Reason(), "NO_IDENTITY") << bad;
  }
  Certify(authority_, key.public_key());
  EXPECT_EQ(Reason(), "");
  EXPECT_EQ(ReadIdentity(files_, {}).error().reason(), "NO_IDENTITY") << "no enrolment key";
}

}  // namespace
}  // namespace edgefleet::device
