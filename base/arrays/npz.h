// NumPy's .npz archives: a zip of .npy arrays (npy.h), stored or deflated, read with bounds.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::arrays {

// By array name, without the ".npy" of the member.
using Archive = std::map<std::string, Array>;

struct NpzLimits {
  std::size_t entries_max = 1024;
  std::uint64_t bytes_max = std::uint64_t{2} << 30;  // of all arrays, unpacked
  // Unpacked to packed bytes of one member above 1 MiB; deflate's own limit is about 1030.
  std::uint64_t ratio_max = 200;
};

// An archive whose arrays are read one by one, or in parts: memory is what the caller reads at a time, and one array where that
// is in Fortran order. For one thread at a time, streams included.
class NpzReader {
 public:
  // Reads names, types and shapes. `archive` (a file's mapping, say) must stay valid as long as the reader and its streams.
  //
  // INVALID_ARGUMENT [BAD_NPZ] for whatever is not such an archive (also: what npy.h refuses, encryption, foreign members,
  // duplicate names, members that add up to more than the archive), [TOO_LARGE] beyond the limits. Nothing larger than the
  // limits is ever allocated.
  static Result<std::unique_ptr<NpzReader>> Open(ByteView archive, const NpzLimits& limits = {});
  ~NpzReader();
  NpzReader(const NpzReader&) = delete;
  NpzReader& operator=(const NpzReader&) = delete;

  const std::map<std::string, ArrayInfo>& arrays() const;

  // From the first element on, as often as wanted. NOT_FOUND [ARRAY_MISSING]; INVALID_ARGUMENT [BAD_NPZ].
  Result<std::unique_ptr<ArrayStream>> Stream(const std::string& name) const;
  Result<Array> Read(const std::string& name) const;

 private:
  struct State;
  explicit NpzReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// All arrays at once; errors as of NpzReader.
Result<Archive> ReadNpz(ByteView archive, const NpzLimits& limits = {});

enum class Packing { kStored, kDeflated };

// In order of the names, with a fixed time stamp: the same arrays always give the same bytes. INVALID_ARGUMENT [BAD_SHAPE] if
// an array's shape and data do not match, [BAD_NPZ] if there is none or a name is empty or longer than 512 bytes.
Result<Bytes> WriteNpz(const Archive& archive, Packing packing = Packing::kDeflated);

}  // namespace edgefleet::arrays
