#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/file_handle.h"
#include "base/mapped_output.h"

namespace edgefleet {

Status FileError(const std::string& action, const std::filesystem::path& path, int error) {
  const std::string message = action + " " + path.string() + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
      return NotFound("FILE_MISSING", message);
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted("DISK_FULL", message + "; free space and try again");
    case EACCES:
    case EPERM:
    case EROFS:
      return PermissionDenied("FILE_DENIED", message);
    default:
      return Internal("FILE_IO", message);
  }
}

namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

Status WriteAll(int fd, ByteView content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return FileError("write", path, errno);
    }
    content = content.subspan(static_cast<std::size_t>(written));
  }
  return OkStatus();
}

Status WriteSynced(const std::filesystem::path& path, ByteView content) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.valid()) return FileError("create", path, errno);
  EF_RETURN_IF_ERROR(WriteAll(file.get(), content, path));
  if (::fsync(file.get()) != 0) return FileError("sync", path, errno);
  return OkStatus();
}

}  // namespace

Result<Bytes> ReadFile(const std::filesystem::path& path, std::uint64_t size_max) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return MakeError(FileError("open", path, errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return MakeError(FileError("stat", path, errno));
  if (!S_ISREG(info.st_mode)) return InvalidArgument("NOT_A_FILE", path.string() + " is not a regular file");
  if (static_cast<std::uint64_t>(info.st_size) > size_max) {
    return InvalidArgument("FILE_TOO_LARGE", path.string() + " has " + std::to_string(info.st_size) + " bytes; at most " +
                                                 std::to_string(size_max) + " are accepted");
  }
  Bytes content(static_cast<std::size_t>(info.st_size));
  std::size_t have = 0;
  while (have < content.size()) {
    const ssize_t got = ::read(file.get(), content.data() + have, content.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return MakeError(FileError("read", path, errno));
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  content.resize(have);
  return content;
}

Status SyncPath(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return FileError("open", path, errno);
  if (::fsync(file.get()) != 0) return FileError("sync", path, errno);
  return OkStatus();
}

Status RenameDurably(const std::filesystem::path& from, const std::filesystem::path& to) {
  EF_RETURN_IF_ERROR(SyncPath(from));
  if (::rename(from.c_str(), to.c_str()) != 0) return FileError("rename to", to, errno);
  return SyncPath(to.has_parent_path() ? to.parent_path() : ".");
}

Status WriteFileAtomic(const std::filesystem::path& path, ByteView content) {
  static std::atomic<std::uint64_t> counter{0};
  auto temporary = path;
  temporary += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  Status status = WriteSynced(temporary, content);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = FileError("rename to", path, errno);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return SyncPath(path.has_parent_path() ? path.parent_path() : ".");
}

Result<FileHandle> FileHandle::Open(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return MakeError(FileError("open", path, errno));
  FileHandle opened(fd, 0);
  struct stat info {};
  if (::fstat(fd, &info) != 0) return MakeError(FileError("stat", path, errno));
  if (!S_ISREG(info.st_mode)) return InvalidArgument("NOT_A_FILE", path.string() + " is not a regular file");
  opened.size_ = static_cast<std::uint64_t>(info.st_size);
  return opened;
}

Result<std::unique_ptr<MappedOutput>> MappedOutput::Create(const std::filesystem::path& path, std::uint64_t size) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return MakeError(FileError("create", path, errno));
  std::unique_ptr<MappedOutput> output(new MappedOutput(path, fd));
  if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(size)); error != 0) {
    return MakeError(FileError("allocate", path, error));
  }
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return MakeError(FileError("map", path, errno));
  output->bytes_ = {static_cast<std::byte*>(address), size};
  return output;
}

MappedOutput::~MappedOutput() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  ::close(fd_);
  if (!committed_) ::unlink(path_.c_str());
}

Status MappedOutput::Commit(std::uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return FileError("truncate", path_, errno);
  if (::fsync(fd_) != 0) return FileError("sync", path_, errno);
  committed_ = true;
  return OkStatus();
}

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return MakeError(FileError("open", path, errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return MakeError(FileError("stat", path, errno));
  if (!S_ISREG(info.st_mode)) return InvalidArgument("NOT_A_FILE", path.string() + " is not a regular file");
  if (info.st_size == 0) return std::shared_ptr<const MappedFile>(new MappedFile({}));
  const auto size = static_cast<std::size_t>(info.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) return MakeError(FileError("map", path, errno));
  return std::shared_ptr<const MappedFile>(new MappedFile({static_cast<const std::byte*>(address), size}));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

namespace {

int MadviseOf(PageAdvice advice) {
  switch (advice) {
    case PageAdvice::kWillNeed:
      return MADV_WILLNEED;
    case PageAdvice::kPopulate:
      return MADV_POPULATE_READ;
    case PageAdvice::kRelease:
      break;
  }
  return MADV_DONTNEED;
}

}  // namespace

Status MappedFile::Advise(ByteView range, PageAdvice advice) const {
  if (range.empty()) return OkStatus();
  const auto start = reinterpret_cast<std::uintptr_t>(bytes_.data());  // of a page
  const auto first = reinterpret_cast<std::uintptr_t>(range.data());
  if (first < start || first + range.size() > start + bytes_.size()) {
    return MakeError(StatusCode::kOutOfRange, "NOT_MAPPED", "the bytes are not of this mapping");
  }
  static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t unit = advice == PageAdvice::kRelease ? kFolioBytesMax : page;
  const std::uintptr_t from = start + (first - start) / unit * unit;
  const std::uintptr_t to = std::min(start + (first - start + range.size() + unit - 1) / unit * unit,
                                     start + (bytes_.size() + page - 1) / page * page);
  if (::madvise(reinterpret_cast<void*>(from), to - from, MadviseOf(advice)) == 0) return OkStatus();
  if (advice != PageAdvice::kPopulate || errno != EINVAL) return FileError("advise", "a mapped file", errno);
  // Linux before 5.14: touching a page maps it.
  for (std::uintptr_t at = from; at < to; at += page) static_cast<void>(*reinterpret_cast<const volatile std::byte*>(at));
  return OkStatus();
}

}  // namespace edgefleet
