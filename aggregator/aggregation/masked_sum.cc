#include "aggregator/aggregation/masked_sum.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"
#include "base/file_handle.h"
#include "secagg/words.h"

namespace edgefleet::aggregation {
namespace {

// Reads until `bytes` is full.
Status ReadAll(int fd, std::span<std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t got = ::read(fd, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return FileError("read", path, got < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return OkStatus();
}

}  // namespace

MaskedSum::MaskedSum(std::uint64_t vector_length)
    : words_(vector_length), block_(std::min<std::uint64_t>(vector_length, kBlockBytes / sizeof(std::uint32_t))) {}

Status MaskedSum::Add(const UpdateSpool& spool, const UploadKey& key) {
  if (spoilt_) return FailedPrecondition("SUM_SPOILT", "an update could not be read to its end; start the sum anew");
  if (counted_.contains(key.device_id)) return AlreadyExists("ALREADY_COUNTED", "this device's update is in the sum");
  EF_ASSIGN_OR_RETURN(const std::filesystem::path path, spool.CompleteFile(key));
  EF_RETURN_IF_ERROR(AddFile(path));
  counted_.insert(key.device_id);
  return OkStatus();
}

Status MaskedSum::AddFile(const std::filesystem::path& path) {
  EF_ASSIGN_OR_RETURN(const FileHandle file, FileHandle::Open(path));
  if (file.size() != words_.size() * sizeof(std::uint32_t)) {
    return InvalidArgument("BAD_UPDATE", "the update has " + std::to_string(file.size()) + " bytes, the round takes " +
                                             std::to_string(words_.size() * sizeof(std::uint32_t)));
  }
  ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
  for (std::size_t begin = 0; begin < words_.size(); begin += block_.size()) {
    const auto block = std::span(block_).first(std::min(block_.size(), words_.size() - begin));
    if (Status status = ReadAll(file.fd(), std::as_writable_bytes(block), path); !status.ok()) {
      spoilt_ = begin > 0;
      return status;
    }
    secagg::AddWords(std::span(words_).subspan(begin, block.size()), block);
  }
  return OkStatus();
}

}  // namespace edgefleet::aggregation
