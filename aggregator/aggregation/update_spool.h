// Uploaded masked updates on disk: one file for each (round, device), written in resumable chunks, verified when complete.
//
// Folder layout: <folder>/<round>/<device>.<size>.<sha256>.{part,done,used}; round and device names are the first 32
// hexadecimal digits of the SHA-256 of the ids. The file name carries everything, so Open() finds after a crash what was there.
// A done file is synced before it gets that name; a part file is verified as a whole before it becomes done, so nothing
// half-written is counted.
//
// Thread-safe; one writer at a time per upload. All calls block on the disk.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::aggregation {

struct UploadKey {
  std::string round_id;  // 1 to 256 bytes each
  std::string device_id;
};

struct UploadProgress {
  std::uint64_t received = 0;
  std::uint64_t size = 0;
  bool complete = false;  // verified and durable
};

class UpdateSpool {
 public:
  struct Options {
    std::filesystem::path folder;        // created if absent
    std::uint64_t bytes_max = 0;         // declared sizes of all uploads held at once
    std::uint64_t upload_bytes_max = 0;  // declared size of one
  };
  // Takes up what an earlier process left in the folder.
  static Result<std::unique_ptr<UpdateSpool>> Open(Options options);
  ~UpdateSpool();
  UpdateSpool(const UpdateSpool&) = delete;
  UpdateSpool& operator=(const UpdateSpool&) = delete;

  // Declares an upload and reserves its size; again with the same size and digest: where it stands. INVALID_ARGUMENT
  // [BAD_UPDATE] (size 0 or above upload_bytes_max; digest not 32 bytes; bad ids), ALREADY_EXISTS
  // [ALREADY_SUBMITTED] (other size or digest), RESOURCE_EXHAUSTED [SPOOL_FULL] with retry-after.
  Result<UploadProgress> Begin(const UploadKey& key, std::uint64_t size, ByteView sha256);

  // NOT_FOUND [UPLOAD_UNKNOWN] before Begin and after RemoveRound.
  Result<UploadProgress> Progress(const UploadKey& key) const;

  // Writes the next chunk; `offset` must be what has been received, else OUT_OF_RANGE [BAD_OFFSET] (ask Progress and go on from
  // there). The last chunk verifies: DATA_LOSS [CHECKSUM_MISMATCH] empties the upload, which then starts anew from offset 0;
  // so does one whose last sync or renaming fails.
  // INVALID_ARGUMENT [BAD_UPDATE] (empty chunk, or beyond the declared size); NOT_FOUND [UPLOAD_UNKNOWN]; ALREADY_EXISTS
  // [ALREADY_SUBMITTED] after completion; the errors of FileError.
  Result<UploadProgress> Append(const UploadKey& key, std::uint64_t offset, ByteView chunk);

  // The file of a complete upload; FAILED_PRECONDITION [UPLOAD_INCOMPLETE], [UPLOAD_USED] after Discard; NOT_FOUND
  // [UPLOAD_UNKNOWN].
  Result<std::filesystem::path> CompleteFile(const UploadKey& key) const;

  // Frees a complete upload's bytes. The upload stays known as submitted, so the device cannot send another in this round.
  Status Discard(const UploadKey& key);

  // Where the round's uploads lie. Other files of the round may lie there too, under names without a second dot.
  std::filesystem::path RoundFolder(const std::string& round_id) const;

  // Forgets every upload of a round and removes its folder. A round without uploads succeeds.
  Status RemoveRound(const std::string& round_id);

  std::uint64_t bytes_reserved() const;
  // More than half of bytes_max is reserved: complete uploads should make room.
  bool Crowded() const;

 private:
  struct Impl;
  explicit UpdateSpool(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace edgefleet::aggregation
