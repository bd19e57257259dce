// The sum modulo 2^32 of masked updates that lie in a spool. Holds the accumulator and one block of one update, never a whole
// one.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "aggregator/aggregation/update_spool.h"
#include "base/status.h"

namespace edgefleet::aggregation {

// Not thread-safe.
class MaskedSum {
 public:
  // Memory: vector_length * 4 bytes and one block of kBlockBytes.
  explicit MaskedSum(std::uint64_t vector_length);

  // Adds a complete upload, once: ALREADY_EXISTS [ALREADY_COUNTED] otherwise. INVALID_ARGUMENT [BAD_UPDATE] if its size is not
  // vector_length * 4; those of UpdateSpool::CompleteFile; INTERNAL [FILE_IO]. The size is checked before the first word is
  // added; after FILE_IO the sum is spoilt, and every later call is FAILED_PRECONDITION [SUM_SPOILT].
  Status Add(const UpdateSpool& spool, const UploadKey& key);

  std::span<std::uint32_t> words() { return words_; }
  std::size_t count() const { return counted_.size(); }

  static constexpr std::size_t kBlockBytes = 1 << 20;

 private:
  Status AddFile(const std::filesystem::path& path);

  std::vector<std::uint32_t> words_;
  std::vector<std::uint32_t> block_;
  std::set<std::string> counted_;
  bool spoilt_ = false;
};

}  // namespace edgefleet::aggregation
