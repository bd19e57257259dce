// Content-addressed storage of the origin: whole files under their SHA-256, written in resumable pieces.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/file_handle.h"
#include "base/status.h"

namespace edgefleet::blobs {

inline constexpr std::uint64_t kBlobBytesMax = 4ULL << 30;

struct BlobState {
  std::uint64_t received = 0;  // bytes held; where to go on
  std::uint64_t size = 0;      // 0: not known, since nothing is here
  bool complete = false;
};

// One upload. Not thread-safe. Dropping it keeps what was appended.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // INVALID_ARGUMENT [TOO_LARGE] past the announced size, ABORTED [SUPERSEDED] once a later Put of the same blob has begun,
  // RESOURCE_EXHAUSTED [DISK_FULL].
  virtual Status Append(ByteView chunk) = 0;
  // With all bytes there: makes the blob durable and visible, or DATA_LOSS [CHECKSUM_MISMATCH] and the bytes are dropped.
  // With fewer: only tells how many.
  virtual Result<BlobState> Finish() = 0;
};

// Thread-safe. A blob is visible whole or not at all, at every moment and after every crash.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  virtual Result<BlobState> Stat(const crypto::Sha256Digest& sha256) = 0;
  // Starts, or goes on with, an upload at `offset`, which must be what Stat tells: OUT_OF_RANGE [BAD_OFFSET] otherwise. Offset
  // 0 with another `size` than before starts anew. A blob that is complete accepts any offset and swallows what comes.
  // INVALID_ARGUMENT [TOO_LARGE] above kBlobBytesMax, RESOURCE_EXHAUSTED [TOO_MANY_UPLOADS].
  virtual Result<std::unique_ptr<BlobWriter>> Put(const crypto::Sha256Digest& sha256, std::uint64_t size,
                                                  std::uint64_t offset) = 0;
  // NOT_FOUND [BLOB_UNKNOWN].
  virtual Result<FileHandle> Open(const crypto::Sha256Digest& sha256) = 0;
};

}  // namespace edgefleet::blobs
