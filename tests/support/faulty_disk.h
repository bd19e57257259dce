// A disk that fails on demand, for the whole test process: linking this replaces the C library's calls that write and sync
// files. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace edgefleet::testing {

class FaultyDisk {
 public:
  enum class Call : std::uint8_t { kWrite, kSync };  // write, pwrite, pwritev; fsync, fdatasync

  FaultyDisk() = default;
  ~FaultyDisk() { Mend(); }
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;

  // From now on these calls fail with `error` (an errno) on files whose path ends in `path_end`. One fault at a time.
  void Break(Call call, std::string path_end, int error);
  void Mend();
  // `before` runs, on its thread, before each sync of such a file reaches the disk. Replaces the fault.
  void WatchSyncs(std::string path_end, std::function<void()> before);
  // Calls that failed since Break.
  std::uint64_t faults() const;
};

}  // namespace edgefleet::testing
