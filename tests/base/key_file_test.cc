#include "base/crypto/key_file.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::crypto {
namespace {

namespace fs = std::filesystem;

TEST(KeyFile, ASecretKeyIsReadAgainAndIsTheOwnersAlone) {
  const test::TempDir folder;
  const auto key = Ed25519SecretKey::Generate();
  const fs::path file = folder.path() / "a.key";
  ASSERT_TRUE(WriteEd25519SecretKey(file, key).ok());
  EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  const auto read = ReadEd25519SecretKey(file);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->seed(), key.seed());
  ASSERT_TRUE(WriteEd25519PublicKey(folder.path() / "a.pub", key.public_key()).ok());
  EXPECT_EQ(*ReadEd25519PublicKey(folder.path() / "a.pub"), key.public_key());
}

TEST(KeyFile, AnythingElseIsRefused) {
  const test::TempDir folder;
  const fs::path file = folder.path() / "bad.key";
  for (const std::string& text : {std::string(), std::string("not hex"), std::string(62, 'a'), std::string(66, 'a')}) {
    ASSERT_TRUE(WriteFileAtomic(file, AsBytes(text)).ok());
    EXPECT_EQ(ReadEd25519SecretKey(file).error().reason(), "BAD_KEY") << text;
  }
  EXPECT_EQ(ReadEd25519SecretKey(folder.path() / "absent").error().reason(), "FILE_MISSING");
  EXPECT_EQ(WriteEd25519SecretKey(folder.path() / "no" / "such", Ed25519SecretKey::Generate()).reason(), "FILE_MISSING");
}

}  // namespace
}  // namespace edgefleet::crypto
