// Deltas between two versions of a file: a zstd frame (RFC 8878) compressed with the former version as its prefix
// ("patch-from").
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::delta {

struct EncodedDelta {
  crypto::Sha256Digest sha256{};  // of the patch
  std::uint64_t size = 0;
};

// Writes the patch that turns `from` into `to` (1 byte to 4 GiB each) to the file `out`, durably; equal inputs give equal
// bytes. Memory beyond the two views and the patch's own pages is zstd's tables. On failure there is no file. INVALID_ARGUMENT
// [BAD_DELTA_INPUT].
Result<EncodedDelta> Encode(ByteView from, ByteView to, const std::filesystem::path& out);

}  // namespace edgefleet::delta
