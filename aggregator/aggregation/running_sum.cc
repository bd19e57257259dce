#include "aggregator/aggregation/running_sum.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <utility>

#include "base/file.h"
#include "base/file_handle.h"
#include "secagg/packing.h"

namespace edgefleet::aggregation {
namespace {

namespace fs = std::filesystem;

Status ReadAt(const FileHandle& file, std::uint64_t offset, std::span<std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(file.fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return FileError("read", path, got < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return OkStatus();
}

}  // namespace

RunningSum::RunningSum(UpdateSpool& spool, Options options)
    : spool_(spool),
      options_(std::move(options)),
      file_(spool.RoundFolder(options_.shape.round_id) / "sum"),
      words_(options_.shape.elements),
      block_(
          secagg::PackedSize(std::min<std::uint64_t>(options_.shape.elements, kBlockElements), options_.shape.element_bits)) {}

Result<std::unique_ptr<RunningSum>> RunningSum::Open(UpdateSpool& spool, Options options,
                                                     std::span<const std::string> devices) {
  const SumShape& shape = options.shape;
  if (shape.round_id.empty() || shape.elements == 0 || shape.element_bits < 1 || shape.element_bits > 32) {
    return InvalidArgument("BAD_SHAPE", "a sum needs a round and at least one element of 1 to 32 bits");
  }
  std::unique_ptr<RunningSum> sum(new RunningSum(spool, std::move(options)));
  std::error_code error;
  fs::create_directories(sum->file_.parent_path(), error);
  if (error) return MakeError(FileError("create", sum->file_.parent_path(), error.value()));
  EF_RETURN_IF_ERROR(SyncPath(sum->file_.parent_path().parent_path()));  // so the round's folder survives a lost machine
  EF_RETURN_IF_ERROR(sum->TakeUp(devices));
  return sum;
}

Status RunningSum::TakeUp(std::span<const std::string> devices) {
  auto saved = ReadCheckpoint(file_, options_.shape, words_);
  if (saved) {
    counted_ = std::move(*saved);
    saved_ = true;
    EF_RETURN_IF_ERROR(SyncPath(file_.parent_path()));  // the process may have ended before its last rename was durable
    DiscardSaved(counted_);
  } else if (saved.error().reason() != "FILE_MISSING") {
    return saved.error();
  }
  for (const std::string& device : devices) {
    if (counted_.contains(device)) continue;
    Status added = Add(device);
    if (added.reason() == "UPLOAD_USED") {
      return DataLoss("CHECKPOINT_DAMAGED",
                      file_.string() + ": an update that was counted is not in it; end the round as failed");
    }
    const bool absent = added.reason() == "UPLOAD_UNKNOWN" || added.reason() == "UPLOAD_INCOMPLETE";
    if (!added.ok() && !absent && added.reason() != "BAD_UPDATE") return added;
  }
  return OkStatus();
}

Status RunningSum::CheckOpen() const {
  if (spoilt_) return FailedPrecondition("SUM_SPOILT", "an update could not be read to its end; open the sum anew");
  if (finished_) return FailedPrecondition("SUM_FINISHED", "the round's collection has ended");
  return OkStatus();
}

Status RunningSum::Add(const std::string& device_id) {
  std::lock_guard lock(adding_);
  EF_RETURN_IF_ERROR(CheckOpen());
  if (Counted(device_id)) return AlreadyExists("ALREADY_COUNTED", "this device's update is in the sum");
  EF_ASSIGN_OR_RETURN(const fs::path path, spool_.CompleteFile({options_.shape.round_id, device_id}));
  EF_RETURN_IF_ERROR(AddFile(path));
  {
    std::lock_guard counted_lock(mutex_);
    counted_.insert(device_id);
  }
  unsaved_.insert(device_id);
  saved_ = false;
  if (unsaved_.size() >= options_.checkpoint_every || spool_.Crowded()) std::ignore = Save();
  return OkStatus();
}

Status RunningSum::AddFile(const fs::path& path) {
  const std::uint32_t bits = options_.shape.element_bits;
  EF_ASSIGN_OR_RETURN(const FileHandle file, FileHandle::Open(path));
  if (const std::uint64_t size = secagg::PackedSize(words_.size(), bits); file.size() != size) {
    return InvalidArgument("BAD_UPDATE",
                           "the update has " + std::to_string(file.size()) + " bytes, the round takes " + std::to_string(size));
  }
  // From the last block to the first: the tail is checked before anything is added.
  for (std::uint64_t end = words_.size(); end > 0;) {
    const std::uint64_t begin = (end - 1) / kBlockElements * kBlockElements;
    const auto packed = std::span(block_).first(secagg::PackedSize(end - begin, bits));
    if (Status status = ReadAt(file, begin / 8 * bits, packed, path); !status.ok()) {
      spoilt_ = end < words_.size();
      return status;
    }
    if (end == words_.size() && !secagg::HasCleanTail(packed, end - begin, bits)) {
      return InvalidArgument("BAD_UPDATE", "the bits after the update's last element must be zero");
    }
    secagg::UnpackAdd(packed, bits, std::span(words_).subspan(begin, end - begin));
    end = begin;
  }
  return OkStatus();
}

Status RunningSum::Checkpoint() {
  std::lock_guard lock(adding_);
  EF_RETURN_IF_ERROR(CheckOpen());
  return Save();
}

Status RunningSum::Save() {
  if (saved_) return OkStatus();
  EF_RETURN_IF_ERROR(WriteCheckpoint(file_, options_.shape, counted_, words_));
  saved_ = true;
  DiscardSaved(std::exchange(unsaved_, {}));
  return OkStatus();
}

// What cannot be discarded now is when the sum is opened the next time, and goes with the round at last.
void RunningSum::DiscardSaved(const std::set<std::string>& devices) {
  for (const std::string& device : devices) std::ignore = spool_.Discard({options_.shape.round_id, device});
}

Result<std::vector<std::string>> RunningSum::Finish() {
  std::lock_guard lock(adding_);
  EF_RETURN_IF_ERROR(CheckOpen());
  EF_RETURN_IF_ERROR(Save());
  finished_ = true;
  secagg::TruncateWords(words_, options_.shape.element_bits);
  return counted();
}

void RunningSum::Close() {
  std::lock_guard lock(adding_);
  finished_ = true;
  std::vector<std::uint32_t>().swap(words_);
}

bool RunningSum::Counted(const std::string& device_id) const {
  std::lock_guard lock(mutex_);
  return counted_.contains(device_id);
}

std::size_t RunningSum::count() const {
  std::lock_guard lock(mutex_);
  return counted_.size();
}

std::vector<std::string> RunningSum::counted() const {
  std::lock_guard lock(mutex_);
  return {counted_.begin(), counted_.end()};
}

}  // namespace edgefleet::aggregation
