// An open file descriptor, read-only to its holder, closed with its last owner (POSIX).
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <utility>

#include "base/status.h"

namespace edgefleet {

// Move-only; the file's bytes stay readable while it lives, also when the file is removed.
class FileHandle {
 public:
  FileHandle() = default;
  FileHandle(int fd, std::uint64_t size) : fd_(fd), size_(size) {}
  FileHandle(FileHandle&& other) noexcept : fd_(std::exchange(other.fd_, -1)), size_(std::exchange(other.size_, 0)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~FileHandle() {
    if (fd_ >= 0) ::close(fd_);
  }

  // NOT_FOUND [FILE_MISSING], INVALID_ARGUMENT [NOT_A_FILE].
  static Result<FileHandle> Open(const std::filesystem::path& path);

  int fd() const { return fd_; }
  std::uint64_t size() const { return size_; }  // when it was opened

 private:
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace edgefleet
