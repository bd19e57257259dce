// Digests over lists of fields.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/crypto/crypto.h"

namespace edgefleet::secagg {

// SHA-256 over a label and fields; each field is preceded by its length, so no two lists of fields give the same input.
class FieldDigest {
 public:
  explicit FieldDigest(std::string_view label) { Add(AsBytes(label)); }
  FieldDigest& Add(std::uint64_t number) {
    std::array<std::byte, sizeof number> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i, number >>= 8) bytes[i] = static_cast<std::byte>(number);
    stream_.Update(bytes);
    return *this;
  }
  FieldDigest& Add(ByteView bytes) {
    Add(bytes.size());
    stream_.Update(bytes);
    return *this;
  }
  crypto::Sha256Digest Finish() { return stream_.Finish(); }

 private:
  crypto::Sha256Stream stream_;
};

}  // namespace edgefleet::secagg
