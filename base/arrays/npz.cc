#include "base/arrays/npz.h"

#include <zip.h>

#include <string_view>
#include <utility>
#include <vector>

#include "base/arrays/npy.h"

namespace edgefleet::arrays {
namespace {

constexpr std::string_view kSuffix = ".npy";
constexpr std::size_t kNameMax = 512;
constexpr std::uint64_t kRatioFreeBytes = 1 << 20;
constexpr std::uint64_t kFortranBytesMax = std::uint64_t{1} << 30;  // turned into C order in memory
constexpr zip_uint16_t kDosDate1980 = 0x21;
constexpr zip_uint32_t kDeflateLevel = 1;  // noisy floats gain next to nothing from more

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

// What is wrong with one array of an archive is wrong with the archive.
Status InArchive(Status status, const std::string& name) {
  if (status.reason() == "BAD_NPY") status = Status(status.code(), "BAD_NPZ", status.message());
  return std::move(status).Annotate("array '" + name + "'");
}

Status ReadExactly(zip_file_t* file, std::span<std::byte> out) {
  while (!out.empty()) {
    const zip_int64_t count = zip_fread(file, out.data(), out.size());
    if (count <= 0) return BadNpz("the member ends early or is damaged; save the file again");
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return OkStatus();
}

// Reading on to the end makes libzip compare the checksum.
Status CheckEnd(zip_file_t* file) {
  std::byte extra{};
  if (zip_fread(file, &extra, 1) != 0) return BadNpz("the member's checksum or size is wrong; save the file again");
  return OkStatus();
}

class MemberStream final : public ArrayStream {
 public:
  MemberStream(std::string name, NpyHeader header, ZipFile file)
      : ArrayStream(std::move(header.info)), name_(std::move(name)), rest_(header.data_bytes), file_(std::move(file)) {}

 private:
  Status Fill(std::span<std::byte> out) override {
    if (out.size() > rest_) return InArchive(BadNpz("the array has no more elements"), name_);
    Status status = ReadExactly(file_.get(), out);
    rest_ -= out.size();
    if (status.ok() && rest_ == 0 && !out.empty()) status = CheckEnd(file_.get());
    return status.ok() ? status : InArchive(std::move(status), name_);
  }

  const std::string name_;
  std::uint64_t rest_;
  const ZipFile file_;
};

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
  if (name.size() > kNameMax + kSuffix.size() || name.size() <= kSuffix.size() || !name.ends_with(kSuffix)) {
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
        "TOO_LARGE", "the arrays unpack to more than " + std::to_string(limits.bytes_max) + " bytes; give fewer examples");
  }
  if (stat.size > kRatioFreeBytes && stat.size / limits.ratio_max > stat.comp_size) {
    return InvalidArgument("TOO_LARGE", "member '" + std::string(name) + "' unpacks to more than " +
                                            std::to_string(limits.ratio_max) +
                                            " times its size; save it with numpy.savez instead of savez_compressed");
  }
  budget.packed -= stat.comp_size;
  budget.unpacked -= stat.size;
  return std::string(name.substr(0, name.size() - kSuffix.size()));
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

Status AddMember(zip_t* archive, const std::string& name, const Bytes& content, Packing packing) {
  ZipSource source(zip_source_buffer(archive, content.data(), content.size(), 0));
  if (!source) return Internal("NPZ_WRITE", zip_strerror(archive));
  const zip_int64_t index = zip_file_add(archive, (name + std::string(kSuffix)).c_str(), source.get(), ZIP_FL_ENC_UTF_8);
  if (index < 0) return Internal("NPZ_WRITE", zip_strerror(archive));
  static_cast<void>(source.release());  // owned by the archive now
  const auto member = static_cast<zip_uint64_t>(index);
  const zip_int32_t method = packing == Packing::kStored ? ZIP_CM_STORE : ZIP_CM_DEFLATE;
  if (zip_set_file_compression(archive, member, method, kDeflateLevel) != 0 ||
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

struct NpzReader::State {
  struct Member {
    zip_uint64_t index = 0;
    std::uint64_t size = 0;
  };
  ZipArchive archive;
  std::map<std::string, Member> members;
  std::map<std::string, ArrayInfo> arrays;

  // The member, read up to its first element. The member's size must be what its header promises.
  Result<std::pair<NpyHeader, ZipFile>> OpenMember(const std::string& name) const;
  Status AddMember(zip_uint64_t index, const NpzLimits& limits, Budget& budget);
};

Result<std::pair<NpyHeader, ZipFile>> NpzReader::State::OpenMember(const std::string& name) const {
  const Member& member = members.at(name);
  ZipFile file(zip_fopen_index(archive.get(), member.index, 0));
  if (!file) return MakeError(InArchive(BadNpz(std::string("cannot be opened: ") + zip_strerror(archive.get())), name));
  auto header = ReadNpyHeader([&file](std::span<std::byte> out) { return ReadExactly(file.get(), out); });
  if (!header) return MakeError(InArchive(std::move(header).error(), name));
  if (header->data_offset > member.size || header->data_bytes != member.size - header->data_offset) {
    return MakeError(InArchive(BadNpz("the shape of " + header->info.ToString() + " does not match the member's size"), name));
  }
  if (header->data_bytes == 0) {
    if (Status status = CheckEnd(file.get()); !status.ok()) return MakeError(InArchive(std::move(status), name));
  }
  return std::pair{*std::move(header), std::move(file)};
}

Status NpzReader::State::AddMember(zip_uint64_t index, const NpzLimits& limits, Budget& budget) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat_index(archive.get(), index, 0, &stat) != 0) return BadNpz("a member cannot be read");
  EF_ASSIGN_OR_RETURN(const std::string name, CheckMember(stat, limits, budget));
  if (!members.emplace(name, Member{index, stat.size}).second) return BadNpz("array '" + name + "' is there twice");
  EF_ASSIGN_OR_RETURN(auto opened, OpenMember(name));
  arrays.emplace(name, std::move(opened.first.info));
  return OkStatus();
}

NpzReader::NpzReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
NpzReader::~NpzReader() = default;

Result<std::unique_ptr<NpzReader>> NpzReader::Open(ByteView bytes, const NpzLimits& limits) {
  auto state = std::make_unique<State>();
  EF_ASSIGN_OR_RETURN(state->archive, OpenForReading(bytes));
  const zip_int64_t count = zip_get_num_entries(state->archive.get(), 0);
  if (count < 0 || static_cast<std::size_t>(count) > limits.entries_max) {
    return InvalidArgument("TOO_LARGE", "the archive has more than " + std::to_string(limits.entries_max) + " members");
  }
  if (count == 0) return BadNpz("the archive holds no arrays");
  Budget budget{bytes.size(), limits.bytes_max};
  for (zip_uint64_t i = 0; i < static_cast<zip_uint64_t>(count); ++i) EF_RETURN_IF_ERROR(state->AddMember(i, limits, budget));
  return std::unique_ptr<NpzReader>(new NpzReader(std::move(state)));
}

const std::map<std::string, ArrayInfo>& NpzReader::arrays() const { return state_->arrays; }

Result<std::unique_ptr<ArrayStream>> NpzReader::Stream(const std::string& name) const {
  if (!state_->members.contains(name)) return NotFound("ARRAY_MISSING", "the archive has no array '" + name + "'");
  EF_ASSIGN_OR_RETURN(auto opened, state_->OpenMember(name));
  auto& [header, file] = opened;
  const bool fortran_order = header.fortran_order;
  const std::uint64_t size = header.data_bytes;
  auto stream = std::make_unique<MemberStream>(name, std::move(header), std::move(file));
  if (!fortran_order) return std::unique_ptr<ArrayStream>(std::move(stream));
  if (size > kFortranBytesMax) {
    return InvalidArgument("TOO_LARGE", "array '" + name + "' is in Fortran order and larger than " +
                                            std::to_string(kFortranBytesMax) + " bytes; save numpy.ascontiguousarray(x)");
  }
  Bytes columns(size);
  EF_RETURN_IF_ERROR(stream->Read(columns));
  const auto rows = std::make_shared<const Bytes>(ToRowMajor(stream->info(), columns));
  return StreamOf(stream->info(), rows, *rows);
}

Result<Array> NpzReader::Read(const std::string& name) const {
  EF_ASSIGN_OR_RETURN(const auto stream, Stream(name));
  EF_ASSIGN_OR_RETURN(const std::uint64_t size, ByteCount(stream->info()));
  Array array{stream->info().type, stream->info().shape, Bytes(size)};
  EF_RETURN_IF_ERROR(stream->Read(array.data));
  return array;
}

Result<Archive> ReadNpz(ByteView bytes, const NpzLimits& limits) {
  EF_ASSIGN_OR_RETURN(const auto reader, NpzReader::Open(bytes, limits));
  Archive archive;
  for (const auto& [name, info] : reader->arrays()) {
    EF_ASSIGN_OR_RETURN(Array array, reader->Read(name));
    archive.emplace(name, std::move(array));
  }
  return archive;
}

Result<Bytes> WriteNpz(const Archive& arrays, Packing packing) {
  if (arrays.empty()) return BadNpz("there are no arrays to write");
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
    if (name.empty() || name.size() > kNameMax)
      return BadNpz("an array's name has 1 to " + std::to_string(kNameMax) + " bytes");
    auto member = WriteNpy(array);
    if (!member) return MakeError(InArchive(std::move(member).error(), name));
    members.push_back(*std::move(member));
    EF_RETURN_IF_ERROR(AddMember(archive.get(), name, members.back(), packing));
  }
  if (zip_close(archive.get()) != 0) return Internal("NPZ_WRITE", zip_strerror(archive.get()));
  static_cast<void>(archive.release());
  return ReadBack(target.get());
}

}  // namespace edgefleet::arrays
