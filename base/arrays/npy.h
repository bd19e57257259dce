// NumPy's .npy files: one array (NEP 1 and numpy.lib.format, versions 1.0, 2.0 and 3.0).
//
// Read: every ElementType, little-endian, C or Fortran order; Fortran order is turned into C order. Anything else (other types,
// big-endian, structured or object arrays, bytes after the array) is refused with what to save instead. Files may come from
// anybody: nothing is allocated before the size of the file was held against the shape.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/status.h"

namespace edgefleet::arrays {

// "<f4", "|u1".
const char* DescrOf(ElementType type);

struct NpyHeader {
  ArrayInfo info;
  std::uint64_t data_bytes = 0;
  std::size_t data_offset = 0;  // from the beginning of the file
  bool fortran_order = false;
};

// Fills all of its argument with the next bytes of the file, or fails.
using ReadBytes = std::function<Status(std::span<std::byte>)>;

// Reads the header and not a byte more. INVALID_ARGUMENT [BAD_NPY], or an error of `read`.
Result<NpyHeader> ReadNpyHeader(const ReadBytes& read);

// The array's elements, `data` being in Fortran order, in C order.
Bytes ToRowMajor(const ArrayInfo& info, ByteView data);

// INVALID_ARGUMENT [BAD_NPY].
Result<Array> ReadNpy(ByteView file);

// Version 1.0, the data at a multiple of 64; the same array always gives the same bytes. INVALID_ARGUMENT [BAD_SHAPE] if shape
// and data do not match.
Result<Bytes> WriteNpy(const Array& array);

// A mapped file; elements in Fortran order are copied once.
class NpyFile {
 public:
  // INVALID_ARGUMENT [BAD_NPY] (the message names the file), or an error of MappedFile::Open.
  static Result<NpyFile> Open(const std::filesystem::path& path);

  const ArrayInfo& info() const { return info_; }
  // Valid as long as this object, and where it is moved to, lives.
  ByteView data() const { return data_; }
  // From the first element on; the stream keeps the file open.
  std::unique_ptr<ArrayStream> Stream() const;

 private:
  ArrayInfo info_;
  std::shared_ptr<const void> storage_;
  ByteView data_;
};

// A stream over bytes at hand, which `storage` keeps alive.
std::unique_ptr<ArrayStream> StreamOf(ArrayInfo info, std::shared_ptr<const void> storage, ByteView data);

}  // namespace edgefleet::arrays
