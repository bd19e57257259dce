// The device's half of encoder.h. Linked by devices: no server code.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::delta {

// What the caller knows, from signed metadata, about the file that a patch must yield.
struct ExpectedFile {
  std::uint64_t size = 0;
  crypto::Sha256Digest sha256{};
};

// Writes the file that `patch` makes of `base` to `out`, durably, or leaves no file. Base and patch are meant to be mapped
// files: the output is produced straight into a mapping of exactly `expected.size` bytes, allocated beforehand, so heap use
// does not grow with the sizes and a patch can yield no byte more. INVALID_ARGUMENT [BAD_PATCH]: not a single zstd frame of
// that size, or damaged; DATA_LOSS [WRONG_DELTA_RESULT]: it yields other bytes (another base, or another patch);
// RESOURCE_EXHAUSTED [DISK_FULL].
Status Apply(ByteView base, ByteView patch, const ExpectedFile& expected, const std::filesystem::path& out);

}  // namespace edgefleet::delta
