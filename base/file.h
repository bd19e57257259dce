// Files that are whole or absent: bounded reads, atomic writes, read-only mappings (POSIX).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet {

// What a failed system call on a file means: NOT_FOUND [FILE_MISSING], RESOURCE_EXHAUSTED [DISK_FULL], PERMISSION_DENIED
// [FILE_DENIED], INTERNAL [FILE_IO]. `action` is a verb ("write"), `error` an errno.
Status FileError(const std::string& action, const std::filesystem::path& path, int error);

// NOT_FOUND [FILE_MISSING], or INVALID_ARGUMENT [FILE_TOO_LARGE] above `size_max`.
Result<Bytes> ReadFile(const std::filesystem::path& path, std::uint64_t size_max);

// Writes a temporary file beside `path`, syncs it, renames it over `path` and syncs the folder: after a crash `path` holds the
// former or the new content, never a part.
Status WriteFileAtomic(const std::filesystem::path& path, ByteView content);

// Makes a finished file durable under a new name, on the same filesystem.
Status RenameDurably(const std::filesystem::path& from, const std::filesystem::path& to);

// fsync of a file, or of a folder.
Status SyncPath(const std::filesystem::path& path);

// What to do with pages of a mapping. Contents never change by it, only when and where they are in memory.
enum class PageAdvice {
  kWillNeed,  // read them from the disk in the background
  kPopulate,  // read and map them before the call returns
  kRelease,   // take them, and those that faults on them map besides, out of this process; they come back when touched
};

// A fault on a page may map the large folio of the page cache that holds it: up to this many bytes, and at a multiple of it.
inline constexpr std::size_t kFolioBytesMax = std::size_t{2} << 20;

// A read-only mapping; the bytes stay valid, and the file's blocks allocated, for as long as the object lives.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ByteView bytes() const { return bytes_; }
  // For every page that `range`, a part of bytes(), touches. Safe while others read them. OUT_OF_RANGE [NOT_MAPPED] for bytes
  // elsewhere, INTERNAL [FILE_IO] when pages cannot be read.
  Status Advise(ByteView range, PageAdvice advice) const;

 private:
  explicit MappedFile(ByteView bytes) : bytes_(bytes) {}
  ByteView bytes_;
};

}  // namespace edgefleet
