// A new file of known size that is written through memory (POSIX).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet {

// The blocks are allocated when it is made, so a full disk is an error there and never a signal later. Without Commit the file
// goes with the object. Not thread-safe.
class MappedOutput {
 public:
  // Replaces `path`. RESOURCE_EXHAUSTED [DISK_FULL], NOT_FOUND [FILE_MISSING] without the folder. `size` > 0.
  static Result<std::unique_ptr<MappedOutput>> Create(const std::filesystem::path& path, std::uint64_t size);
  ~MappedOutput();
  MappedOutput(const MappedOutput&) = delete;
  MappedOutput& operator=(const MappedOutput&) = delete;

  std::span<std::byte> bytes() { return bytes_; }
  // Cuts the file to its first `size` bytes and syncs it. `bytes()` must not be used above that afterwards.
  Status Commit(std::uint64_t size);

 private:
  MappedOutput(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::filesystem::path path_;
  const int fd_;
  std::span<std::byte> bytes_;
  bool committed_ = false;
};

}  // namespace edgefleet
