// An append-only log of one round's events, from which the round can go on after its process has ended.
//
// Layout, little-endian. Header: magic "EFJOURNL", format version (u32), zero (u32), synced length (u64), its check (8 bytes of
// its SHA-256). Each record: payload size (u32), kind (u32), check of the two (8 bytes), link (16 bytes), payload. Check and
// link are the first bytes of SHA-256 over the former record's link and what goes before them in this one, the link's with the
// payload: a record that is altered, removed or moved breaks the chain.
//
// A record whose Append returned OK survives a killed process; Sync makes all records so far survive a lost machine, and notes
// so in the synced length. What is broken below the synced length is damage. Behind it, a last record that is not whole, or
// zeros up to the end of the file, is a write that was cut off: it is dropped. Anything else there is damage too.
//
// The records hold ciphertexts and shares: the file is readable by its owner only. It is removed with the round's folder, and
// nothing overwrites its blocks on the disk.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>

#include "base/bytes.h"
#include "base/file_handle.h"
#include "base/status.h"

namespace edgefleet::aggregation {

// Thread-safe. One object at a time for a path. All calls block on the disk.
class Journal {
 public:
  struct Options {
    std::uint64_t bytes_max = std::uint64_t{1} << 30;  // of the file
  };
  static constexpr std::size_t kRecordBytesMax = std::size_t{64} << 20;  // of one payload

  // Creates the file (mode 0600) in a folder that is there, or reads and checks all that it holds and cuts off a torn tail.
  // DATA_LOSS [JOURNAL_DAMAGED] for damage or another format: the round cannot be taken up. The errors of FileError.
  static Result<std::unique_ptr<Journal>> Open(const std::filesystem::path& path, Options options);
  static Result<std::unique_ptr<Journal>> Open(const std::filesystem::path& path) { return Open(path, Options()); }

  // Adds a record with one system call, all or nothing. INVALID_ARGUMENT [RECORD_TOO_LARGE]; RESOURCE_EXHAUSTED [JOURNAL_FULL];
  // the errors of FileError. If what a failed write left cannot be taken back, or after a failed Sync, every later Append and
  // Sync is FAILED_PRECONDITION [JOURNAL_BROKEN]; the journal can be opened anew.
  Status Append(std::uint8_t kind, ByteView record);

  // Makes the first `bytes` of the file durable: end() as it was after some Append. Calls at the same time share one system
  // call, and records can be appended meanwhile. The errors of FileError; then it is unknown what a lost machine would keep.
  Status SyncTo(std::uint64_t bytes);
  Status Sync() { return SyncTo(end()); }
  std::uint64_t end() const;

  // Passes all records on, in order; the bytes are valid during the call, which must not use the journal. Ends with the first
  // error of `visitor`, which is returned; DATA_LOSS [JOURNAL_DAMAGED]; the errors of FileError.
  using Visitor = std::function<Status(std::uint8_t kind, ByteView record)>;
  Status Replay(const Visitor& visitor);

 private:
  using Link = std::array<std::byte, 16>;
  struct RecordHead;
  enum class Found { kRecord, kTorn, kDamaged };

  Journal(std::filesystem::path path, FileHandle file, Options options)
      : path_(std::move(path)), file_(std::move(file)), options_(options) {}

  Status TakeUp();
  Result<Found> ReadRecord(std::uint64_t at, std::uint64_t end, const Link& former, RecordHead& head, Bytes& payload) const;
  Result<bool> ZerosOnly(std::uint64_t at, std::uint64_t end) const;
  Status ReadAt(std::uint64_t offset, std::span<std::byte> bytes) const;

  const std::filesystem::path path_;
  const FileHandle file_;
  const Options options_;

  std::mutex syncing_;        // held during a sync; taken before mutex_
  mutable std::mutex mutex_;  // of all below, and of the records in the file
  std::uint64_t end_ = 0;
  std::uint64_t synced_ = 0;
  Link link_{};  // of the last record
  bool broken_ = false;
};

}  // namespace edgefleet::aggregation
