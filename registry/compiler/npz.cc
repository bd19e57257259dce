#include "registry/compiler/npz.h"

#include <zip.h>

#include <array>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>

namespace edgefleet::compiler {
namespace {

constexpr std::size_t kHeaderBytesMax = 64 << 10;
constexpr std::size_t kRankMax = 8;
constexpr std::size_t kNameMax = 256;
constexpr std::uint64_t kRatioFreeBytes = 1 << 20;
constexpr zip_uint16_t kDosDate1980 = 0x21;

struct ZipClose {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct ZipFileClose {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
struct ZipSourceFree {
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
using ZipArchive = std::unique_ptr<zip_t, ZipClose>;
using ZipFile = std::unique_ptr<zip_file_t, ZipFileClose>;
using ZipSource = std::unique_ptr<zip_source_t, ZipSourceFree>;

Error BadNpz(std::string message) { return InvalidArgument("BAD_NPZ", std::move(message)); }

std::string ErrorText(zip_error_t* error) {
  std::string text = zip_error_strerror(error);
  zip_error_fini(error);
  return text;
}

// ---- the .npy header: a Python dictionary literal of three known keys

// Reads the literal's few forms; every method leaves `ok` false on a surprise.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  bool Take(char c) {
    SkipSpace();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  std::optional<std::string_view> TakeString() {
    SkipSpace();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) return std::nullopt;
    const std::size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }
  std::optional<std::int64_t> TakeNumber() {
    SkipSpace();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0) return std::nullopt;
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return value;
  }
  std::optional<std::vector<std::int64_t>> TakeTuple() {
    if (!Take('(')) return std::nullopt;
    std::vector<std::int64_t> tuple;
    while (!Take(')')) {
      const auto number = TakeNumber();
      if (!number || tuple.size() == kRankMax) return std::nullopt;
      tuple.push_back(*number);
      if (!Take(',')) return Take(')') ? std::optional(tuple) : std::nullopt;
    }
    return tuple;
  }
  bool AtEnd() {
    SkipSpace();
    return text_.empty();
  }

 private:
  void SkipSpace() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) text_.remove_prefix(1);
  }
  std::string_view text_;
};

std::optional<NpyType> TypeOfDescr(std::string_view descr) {
  for (const NpyType type : {NpyType::kFloat32, NpyType::kUint8, NpyType::kInt32, NpyType::kInt64}) {
    if (descr == NpyDescr(type)) return type;
  }
  return std::nullopt;
}

// Type and shape; `data` stays empty.
Result<NpyArray> ParseHeader(std::string_view text) {
  HeaderParser parser(text);
  std::optional<std::string_view> descr;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<bool> fortran;
  if (!parser.Take('{')) return BadNpz("the .npy header is not a dictionary");
  while (!parser.Take('}')) {
    const auto key = parser.TakeString();
    if (!key || !parser.Take(':')) return BadNpz("the .npy header is malformed");
    if (*key == "descr" && !descr) {
      descr = parser.TakeString();
      if (!descr) return BadNpz("structured arrays are not supported; save plain ones");
    } else if (*key == "fortran_order" && !fortran) {
      fortran = parser.TakeWord("True");
      if (!*fortran && !parser.TakeWord("False")) return BadNpz("the .npy header's fortran_order is malformed");
    } else if (*key == "shape" && !shape) {
      shape = parser.TakeTuple();
      if (!shape) return BadNpz("the .npy header's shape is malformed or has more than 8 dimensions");
    } else {
      return BadNpz("the .npy header has an unknown or repeated key");
    }
    if (!parser.Take(',') && !parser.Take('}')) return BadNpz("the .npy header is malformed");
    if (parser.AtEnd()) break;
  }
  if (!parser.AtEnd() || !descr || !shape || !fortran) return BadNpz("the .npy header lacks descr, fortran_order or shape");
  if (*fortran) return BadNpz("Fortran order is not supported; save numpy.ascontiguousarray(x)");
  const auto type = TypeOfDescr(*descr);
  if (!type)
    return BadNpz("type '" + std::string(descr->substr(0, 16)) + "' is not supported; save float32, uint8, int32 or int64");
  return NpyArray{*type, std::move(*shape), {}};
}

// Bytes of the array, or nothing when they do not fit 63 bits.
std::optional<std::uint64_t> DataSize(const NpyArray& array) {
  std::uint64_t size = SizeOf(array.type);
  for (const std::int64_t dim : array.shape) {
    if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(dim), &size) || (size >> 62) != 0) return std::nullopt;
  }
  return size;
}

// ---- the container

Status ReadExactly(zip_file_t* file, std::span<std::byte> out) {
  while (!out.empty()) {
    const zip_int64_t count = zip_fread(file, out.data(), out.size());
    if (count <= 0) return BadNpz("the member ends early or is damaged; save the file again");
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return OkStatus();
}

std::uint32_t LittleEndian(std::span<const std::byte> bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(bytes[i]);
  return value;
}

// One .npy member of `size` unpacked bytes.
Result<NpyArray> ReadMember(zip_file_t* file, std::uint64_t size) {
  std::array<std::byte, 12> prefix{};
  const std::span<std::byte> all(prefix);
  EF_RETURN_IF_ERROR(ReadExactly(file, all.first(8)));
  if (AsText(all.first(6)) != "\x93NUMPY") return BadNpz("not a .npy array");
  const auto major = std::to_integer<int>(prefix[6]);
  if (major != 1 && major != 2)
    return BadNpz(".npy version " + std::to_string(major) + " is not supported; save version 1 or 2");
  const std::size_t length_size = major == 1 ? 2 : 4;
  EF_RETURN_IF_ERROR(ReadExactly(file, all.subspan(8, length_size)));
  const std::size_t header_size = LittleEndian(all.subspan(8, length_size));
  if (header_size > kHeaderBytesMax) return BadNpz("the .npy header is longer than 64 KiB");
  std::string header(header_size, '\0');
  EF_RETURN_IF_ERROR(ReadExactly(file, std::as_writable_bytes(std::span(header))));
  EF_ASSIGN_OR_RETURN(NpyArray array, ParseHeader(header));
  const auto data_size = DataSize(array);
  if (!data_size || *data_size + 8 + length_size + header_size != size) {
    return BadNpz("the array's shape does not match the member's size");
  }
  array.data.resize(*data_size);
  EF_RETURN_IF_ERROR(ReadExactly(file, array.data));
  std::byte extra{};
  // Reading on to the end makes libzip compare the checksum.
  if (zip_fread(file, &extra, 1) != 0) return BadNpz("the member's checksum or size is wrong; save the file again");
  return array;
}

struct Budget {
  std::uint64_t packed;
  std::uint64_t unpacked;
};

// The member's array name; takes its sizes off the budget. Packed sizes that add up to more than the archive betray overlapping
// members (Fifield 2019, "A better zip bomb").
Result<std::string> CheckMember(const zip_stat_t& stat, const NpzLimits& limits, Budget& budget) {
  constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if ((stat.valid & kNeeded) != kNeeded) return BadNpz("a member lacks its name or size");
  const std::string_view name(stat.name);
  if (name.size() > kNameMax || name.size() <= 4 || !name.ends_with(".npy")) {
    return BadNpz("member '" + std::string(name.substr(0, kNameMax)) + "' is not named <array>.npy");
  }
  if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && stat.encryption_method != ZIP_EM_NONE) {
    return BadNpz("member '" + std::string(name) + "' is encrypted");
  }
  if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
    return BadNpz("member '" + std::string(name) + "' is neither stored nor deflated");
  }
  if (stat.comp_size > budget.packed) return BadNpz("the members' sizes exceed the archive's");
  if (stat.size > budget.unpacked) {
    return InvalidArgument(
        "TOO_LARGE", "the arrays unpack to more than " + std::to_string(limits.bytes_max) + " bytes; publish fewer examples");
  }
  if (stat.size > kRatioFreeBytes && stat.size / limits.ratio_max > stat.comp_size) {
    return InvalidArgument("TOO_LARGE", "member '" + std::string(name) + "' unpacks to more than " +
                                            std::to_string(limits.ratio_max) +
                                            " times its size; save it with numpy.savez instead of savez_compressed");
  }
  budget.packed -= stat.comp_size;
  budget.unpacked -= stat.size;
  return std::string(name.substr(0, name.size() - 4));
}

Result<ZipArchive> OpenForReading(ByteView bytes) {
  zip_error_t error;
  zip_error_init(&error);
  ZipSource source(zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error));
  if (!source) return BadNpz("cannot read the archive: " + ErrorText(&error));
  ZipArchive archive(zip_open_from_source(source.get(), ZIP_RDONLY, &error));
  if (!archive) return BadNpz("not a .npz archive: " + ErrorText(&error));
  static_cast<void>(source.release());  // owned by the archive now
  zip_error_fini(&error);
  return archive;
}

Bytes EncodeNpy(const NpyArray& array) {
  std::string header = "{'descr': '" + std::string(NpyDescr(array.type)) + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t dim : array.shape) header += std::to_string(dim) + ",";
  header += "), }";
  // numpy.lib.format: the header ends in a newline, and the data begins at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  Bytes bytes = ToBytes(AsBytes(std::string_view("\x93NUMPY\x01\x00", 8)));
  bytes.push_back(static_cast<std::byte>(header.size() & 0xff));
  bytes.push_back(static_cast<std::byte>(header.size() >> 8));
  bytes.insert(bytes.end(), AsBytes(header).begin(), AsBytes(header).end());
  bytes.insert(bytes.end(), array.data.begin(), array.data.end());
  return bytes;
}

Status AddMember(zip_t* archive, const std::string& name, const Bytes& content) {
  ZipSource source(zip_source_buffer(archive, content.data(), content.size(), 0));
  if (!source) return Internal("NPZ_WRITE", zip_strerror(archive));
  const zip_int64_t index = zip_file_add(archive, (name + ".npy").c_str(), source.get(), ZIP_FL_ENC_UTF_8);
  if (index < 0) return Internal("NPZ_WRITE", zip_strerror(archive));
  static_cast<void>(source.release());  // owned by the archive now
  const auto member = static_cast<zip_uint64_t>(index);
  if (zip_set_file_compression(archive, member, ZIP_CM_DEFLATE, 1) != 0 ||
      zip_file_set_dostime(archive, member, 0, kDosDate1980, 0) != 0) {
    return Internal("NPZ_WRITE", zip_strerror(archive));
  }
  return OkStatus();
}

Result<Bytes> ReadBack(zip_source_t* source) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_source_stat(source, &stat) != 0 || zip_source_open(source) != 0)
    return Internal("NPZ_WRITE", "cannot read the archive back");
  Bytes bytes(stat.size);
  const zip_int64_t count = zip_source_read(source, bytes.data(), bytes.size());
  zip_source_close(source);
  if (count < 0 || static_cast<std::size_t>(count) != bytes.size())
    return Internal("NPZ_WRITE", "cannot read the archive back");
  return bytes;
}

}  // namespace

std::size_t SizeOf(NpyType type) {
  switch (type) {
    case NpyType::kUint8:
      return 1;
    case NpyType::kInt64:
      return 8;
    case NpyType::kFloat32:
    case NpyType::kInt32:
      break;
  }
  return 4;
}

const char* NpyDescr(NpyType type) {
  switch (type) {
    case NpyType::kFloat32:
      return "<f4";
    case NpyType::kUint8:
      return "|u1";
    case NpyType::kInt32:
      return "<i4";
    case NpyType::kInt64:
      break;
  }
  return "<i8";
}

Result<NpzArchive> ReadNpz(ByteView bytes, const NpzLimits& limits) {
  EF_ASSIGN_OR_RETURN(ZipArchive archive, OpenForReading(bytes));
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  if (count < 0 || static_cast<std::size_t>(count) > limits.entries_max) {
    return InvalidArgument("TOO_LARGE", "the archive has more than " + std::to_string(limits.entries_max) + " members");
  }
  if (count == 0) return BadNpz("the archive holds no arrays");
  NpzArchive arrays;
  Budget budget{bytes.size(), limits.bytes_max};
  for (zip_uint64_t i = 0; i < static_cast<zip_uint64_t>(count); ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(archive.get(), i, 0, &stat) != 0) return BadNpz("a member cannot be read");
    EF_ASSIGN_OR_RETURN(const std::string name, CheckMember(stat, limits, budget));
    if (arrays.contains(name)) return BadNpz("array '" + name + "' is there twice");
    const ZipFile file(zip_fopen_index(archive.get(), i, 0));
    if (!file) return BadNpz("array '" + name + "' cannot be opened: " + zip_strerror(archive.get()));
    auto array = ReadMember(file.get(), stat.size);
    if (!array) return MakeError(std::move(array).error().Annotate("array '" + name + "'"));
    arrays.emplace(name, std::move(*array));
  }
  return arrays;
}

Result<Bytes> WriteNpz(const NpzArchive& arrays) {
  if (arrays.empty()) return InvalidArgument("BAD_NPZ", "there are no arrays to write");
  std::vector<Bytes> members;  // libzip reads them when it closes the archive
  members.reserve(arrays.size());
  zip_error_t error;
  zip_error_init(&error);
  ZipSource target(zip_source_buffer_create(nullptr, 0, 0, &error));
  if (!target) return Internal("NPZ_WRITE", ErrorText(&error));
  zip_source_keep(target.get());
  ZipArchive archive(zip_open_from_source(target.get(), ZIP_TRUNCATE, &error));
  if (!archive) {
    zip_source_free(target.get());
    return Internal("NPZ_WRITE", ErrorText(&error));
  }
  for (const auto& [name, array] : arrays) {
    const auto size = DataSize(array);
    if (name.empty() || !size || *size != array.data.size() || array.shape.size() > kRankMax) {
      return InvalidArgument("BAD_NPZ", "array '" + name + "': shape and data do not match");
    }
    members.push_back(EncodeNpy(array));
    EF_RETURN_IF_ERROR(AddMember(archive.get(), name, members.back()));
  }
  if (zip_close(archive.get()) != 0) return Internal("NPZ_WRITE", zip_strerror(archive.get()));
  static_cast<void>(archive.release());
  return ReadBack(target.get());
}

}  // namespace edgefleet::compiler
