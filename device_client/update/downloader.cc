#include "device_client/update/downloader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/file.h"
#include "base/file_handle.h"

namespace edgefleet::update {
namespace fs = std::filesystem;
namespace {

constexpr int kFruitlessCutsMax = 3;
constexpr int kCutsMax = 1000;
constexpr std::uint64_t kEtagBytesMax = 256;

bool IsStrongEtag(const std::string& etag) {
  return etag.size() >= 2 && etag.size() <= kEtagBytesMax && etag.front() == '"' && etag.back() == '"';
}

// What has arrived so far, and the ETag it arrived under.
class Partial {
 public:
  explicit Partial(const fs::path& file) : path_(file.string() + ".part"), etag_path_(file.string() + ".part.etag") {}

  // Only bytes whose ETag is known can be gone on from.
  Status Load(std::uint64_t size_max) {
    file_ = FileHandle(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), 0);
    if (file_.fd() < 0) return FileError("open", path_, errno);
    const off_t end = ::lseek(file_.fd(), 0, SEEK_END);
    if (end < 0) return FileError("seek", path_, errno);
    received_ = static_cast<std::uint64_t>(end);
    if (const auto etag = ReadFile(etag_path_, kEtagBytesMax)) etag_ = ToString(*etag);
    if (received_ > size_max || !IsStrongEtag(etag_)) return Restart("");
    return OkStatus();
  }
  Status Restart(const std::string& etag) {
    if (::ftruncate(file_.fd(), 0) != 0) return FileError("truncate", path_, errno);
    received_ = 0;
    etag_ = IsStrongEtag(etag) ? etag : "";
    return WriteFileAtomic(etag_path_, AsBytes(etag_));
  }
  Status Append(ByteView bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(file_.fd(), bytes.data(), bytes.size(), static_cast<off_t>(received_));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError("write", path_, errno);
      received_ += static_cast<std::uint64_t>(written);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return OkStatus();
  }
  void Discard() {
    std::error_code ignored;
    fs::remove(path_, ignored);
    fs::remove(etag_path_, ignored);
  }
  Status Finish(const DownloadRequest& request) {
    EF_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(path_));
    if (crypto::Sha256(mapped->bytes()) != request.sha256) {
      return DataLoss("CHECKSUM_MISMATCH", request.path + " is not the file that the signed metadata names");
    }
    EF_RETURN_IF_ERROR(RenameDurably(path_, request.file));
    std::error_code ignored;
    fs::remove(etag_path_, ignored);
    return OkStatus();
  }
  std::uint64_t received() const { return received_; }
  const std::string& etag() const { return etag_; }

 private:
  const fs::path path_;
  const fs::path etag_path_;
  FileHandle file_;
  std::uint64_t received_ = 0;
  std::string etag_;
};

// Appends one answer to the partial file, if it is the answer to what was asked.
class AppendingSink final : public FetchSink {
 public:
  AppendingSink(const DownloadRequest& request, Partial& partial, std::uint64_t& transferred)
      : request_(request), partial_(partial), transferred_(transferred) {}

  Status OnHead(const FetchHead& head) override {
    if (head.total_size && *head.total_size != request_.size) {
      return DataLoss("SIZE_MISMATCH", request_.path + " has " + std::to_string(*head.total_size) +
                                           " bytes at the origin; the signed metadata says " + std::to_string(request_.size));
    }
    if (head.status == 200) return partial_.Restart(head.etag);  // changed meanwhile, or an origin without ranges
    if (head.status != 206 || head.offset != partial_.received()) {
      return DataLoss("BAD_RANGE", request_.path + ": the origin answered with another range than was asked for");
    }
    if (head.etag != partial_.etag()) {
      return DataLoss("CONTENT_CHANGED", request_.path + ": the file changed between two ranges");
    }
    return OkStatus();
  }

  Status OnBody(ByteView bytes) override {
    transferred_ += bytes.size();
    if (bytes.size() > request_.size - partial_.received()) {
      return DataLoss("BODY_TOO_LARGE", request_.path + ": more bytes than the signed metadata says");
    }
    return partial_.Append(bytes);
  }

 private:
  const DownloadRequest& request_;
  Partial& partial_;
  std::uint64_t& transferred_;
};

// Fetches until the partial file has its size.
Status Fill(HttpFetcher& fetcher, const DownloadRequest& request, Partial& partial, std::uint64_t& transferred) {
  std::uint64_t best = partial.received();
  int fruitless = 0;
  for (int cuts = 0; partial.received() < request.size; ++cuts) {
    AppendingSink sink(request, partial, transferred);
    const std::string if_range = partial.received() > 0 ? partial.etag() : "";
    const Status status = fetcher.Fetch({request.path, partial.received(), if_range, "", request.size}, sink);
    if (partial.received() == request.size) break;
    if (!status.ok() && status.reason() != "CONNECTION_LOST") return status;
    fruitless = partial.received() > best ? 0 : fruitless + 1;
    best = std::max(best, partial.received());
    if (fruitless < kFruitlessCutsMax && cuts < kCutsMax) continue;
    if (!status.ok()) return status;
    return DataLoss("SIZE_MISMATCH", request.path + " ends too early, again and again");
  }
  return OkStatus();
}

}  // namespace

Status Download(HttpFetcher& fetcher, const DownloadRequest& request, std::uint64_t& bytes_transferred) {
  std::error_code ignored;
  if (fs::is_regular_file(request.file, ignored)) return OkStatus();
  Partial partial(request.file);
  EF_RETURN_IF_ERROR(partial.Load(request.size));
  Status status = Fill(fetcher, request, partial, bytes_transferred);
  if (status.ok()) status = partial.Finish(request);
  // What an origin got wrong is not gone on from. Cuts and a full disk keep what arrived.
  if (status.code() == StatusCode::kDataLoss || status.code() == StatusCode::kOutOfRange) partial.Discard();
  return status;
}

}  // namespace edgefleet::update
