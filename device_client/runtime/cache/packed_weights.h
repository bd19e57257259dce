// Weights in the layout that a delegate's kernels want, kept on disk so that they are packed once and mapped afterwards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/file.h"
#include "base/status.h"

namespace edgefleet::runtime {

// Whatever the packed bytes depend on. Entries of another delegate version or CPU are never found.
struct PackedKey {
  crypto::Sha256Digest model{};  // of the model file
  std::string delegate;          // "onednn"
  std::string delegate_version;  // of its library and of its own packing
  std::string cpu;               // what the layout was chosen for: instruction sets, threads if they matter
  std::string part;              // which weights: a tensor's or a partition's name
};

// Packed bytes in a mapped file; they stay valid as long as this lives, also when the entry is removed.
class PackedWeights {
 public:
  PackedWeights(std::shared_ptr<const MappedFile> file, ByteView bytes) : file_(std::move(file)), bytes_(bytes) {}
  ByteView bytes() const { return bytes_; }  // 64-byte aligned
  const MappedFile& file() const { return *file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  ByteView bytes_;
};

// A folder of entries, one file each:
//
//   0    header, 64 bytes little-endian: magic "EFP1", u32 format version, u64 size of the key, u64 size of the packed bytes,
//        16 bytes XXH3-128 of the rest of the file, 24 zero bytes
//   64   the key: its fields, each preceded by its u32 size
//   ...  zero padding to a multiple of 64, then the packed bytes
//
// The name is the SHA-256 of the key. Entries appear by rename, so they are whole or absent unless the disk fails: what does
// not match its header, checksum or key is removed and not found. The checksum (against faults, not against attackers: whoever
// writes here may as well write the models) is verified when an entry is first used after Open; later it is only mapped.
//
// Thread-safe. One process at a time has a folder open.
class PackedWeightsCache {
 public:
  // Makes the folder if need be, removes what an interrupted Store left, and what is above `bytes_max`. PERMISSION_DENIED
  // [FILE_DENIED], INTERNAL [FILE_IO].
  static Result<std::unique_ptr<PackedWeightsCache>> Open(std::filesystem::path folder, std::uint64_t bytes_max);

  // The entry, mapped; callers that hold it share one mapping. Nothing when it is not there or was damaged.
  std::shared_ptr<const PackedWeights> Find(const PackedKey& key);
  // Writes the entry, first removing those used longest ago until all fit into `bytes_max`, and maps it.
  // RESOURCE_EXHAUSTED [PACKED_TOO_LARGE] when it alone is larger, [DISK_FULL]; the caller then goes on with its own copy.
  Result<std::shared_ptr<const PackedWeights>> Store(const PackedKey& key, ByteView packed);

  // Of all entries on disk.
  std::uint64_t bytes() const;

 private:
  struct Entry {
    std::uint64_t size = 0;  // of the file
    std::uint64_t used = 0;  // order of the last use
    bool verified = false;
    std::weak_ptr<const PackedWeights> mapped;
  };

  PackedWeightsCache(std::filesystem::path folder, std::uint64_t bytes_max);
  Status Scan();
  // Nothing when the file is not what key and header say.
  std::shared_ptr<const PackedWeights> Map(const std::string& name, Entry& entry, ByteView key) const;
  void Remove(std::map<std::string, Entry>::iterator entry);
  // Removes entries until all fit beside `size` bytes more.
  void MakeRoom(std::uint64_t size);

  const std::filesystem::path folder_;
  const std::uint64_t bytes_max_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;  // by file name
  std::uint64_t bytes_ = 0;
  std::uint64_t uses_ = 0;
};

}  // namespace edgefleet::runtime
