#include "tests/support/faulty_disk.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <string_view>

namespace edgefleet::testing {
namespace {

struct Fault {
  FaultyDisk::Call call;
  std::string path_end;
  int error = 0;
  std::function<void()> before;
};

std::mutex mutex;
std::shared_ptr<const Fault> present;  // under `mutex`
std::atomic<bool> armed = false;
std::atomic<std::uint64_t> failed = 0;

void Set(std::shared_ptr<const Fault> fault) {
  std::lock_guard lock(mutex);
  armed = fault != nullptr;
  present = std::move(fault);
}

bool IsOf(int fd, std::string_view path_end) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), path, sizeof path);
  return size > 0 && std::string_view(path, static_cast<std::size_t>(size)).ends_with(path_end);
}

// True with errno set if this call is to fail.
bool Fails(FaultyDisk::Call call, int fd) {
  if (!armed) return false;
  std::shared_ptr<const Fault> fault;
  {
    std::lock_guard lock(mutex);
    fault = present;
  }
  if (!fault || fault->call != call || !IsOf(fd, fault->path_end)) return false;
  if (fault->before) fault->before();
  if (fault->error == 0) return false;
  ++failed;
  errno = fault->error;
  return true;
}

}  // namespace

void FaultyDisk::Break(Call call, std::string path_end, int error) {
  failed = 0;
  Set(std::make_shared<const Fault>(Fault{call, std::move(path_end), error, nullptr}));
}
void FaultyDisk::Mend() { Set(nullptr); }
void FaultyDisk::WatchSyncs(std::string path_end, std::function<void()> before) {
  Set(std::make_shared<const Fault>(Fault{Call::kSync, std::move(path_end), 0, std::move(before)}));
}
std::uint64_t FaultyDisk::faults() const { return failed; }

}  // namespace edgefleet::testing

using edgefleet::testing::Fails;
using edgefleet::testing::FaultyDisk;

// The program's own definitions win over the C library's.
extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  return Fails(FaultyDisk::Call::kWrite, fd) ? -1 : ::syscall(SYS_write, fd, bytes, size);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return Fails(FaultyDisk::Call::kWrite, fd) ? -1 : ::syscall(SYS_pwrite64, fd, bytes, size, offset);
}
ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  return Fails(FaultyDisk::Call::kWrite, fd) ? -1 : ::syscall(SYS_pwritev, fd, parts, count, offset, 0);
}
int fsync(int fd) { return Fails(FaultyDisk::Call::kSync, fd) ? -1 : static_cast<int>(::syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { return Fails(FaultyDisk::Call::kSync, fd) ? -1 : static_cast<int>(::syscall(SYS_fdatasync, fd)); }

}  // extern "C"
