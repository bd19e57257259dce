// A round's running sum as a file, so that it outlives the process.
//
// Layout, little-endian: magic "EFSUMCKP", format version (u32), element bits (u32), elements (u64), size of the table (u64);
// the table: the round's id, then the ids of the counted devices in ascending order, each as size (u16) and bytes; the sum,
// one u32 an element; SHA-256 over all of that. A file that is not exactly this for exactly the expected round is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>

#include "base/status.h"

namespace edgefleet::aggregation {

struct SumShape {
  std::string round_id;            // 1 to 256 bytes, as the device ids
  std::uint64_t elements = 0;      // of one update; at least 1
  std::uint32_t element_bits = 0;  // 1 to 32
};

// Atomic and durable: after a crash `path` holds the former or the new sum. `words` has `shape.elements` words. One writer of a
// path at a time: the temporary file is <path>.tmp. The errors of FileError.
Status WriteCheckpoint(const std::filesystem::path& path, const SumShape& shape, const std::set<std::string>& devices,
                       std::span<const std::uint32_t> words);

// Reads the sum straight into `words` (`shape.elements` of them) and returns the devices. NOT_FOUND [FILE_MISSING];
// DATA_LOSS [CHECKPOINT_DAMAGED] for anything but a whole checkpoint of this round, and the errors of FileError: `words` holds
// rubbish then.
Result<std::set<std::string>> ReadCheckpoint(const std::filesystem::path& path, const SumShape& shape,
                                             std::span<std::uint32_t> words);

}  // namespace edgefleet::aggregation
