#include "base/arrays/npy.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace edgefleet::arrays {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are used as they are in the file");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kPreambleBytes = 8;  // magic and version
constexpr std::size_t kHeaderBytesMax = 64 << 10;
constexpr std::size_t kDataAlignment = 64;

constexpr std::pair<ElementType, const char*> kDescrs[] = {
    {ElementType::kBool, "|b1"},    {ElementType::kInt8, "|i1"},    {ElementType::kInt16, "<i2"},
    {ElementType::kInt32, "<i4"},   {ElementType::kInt64, "<i8"},   {ElementType::kUint8, "|u1"},
    {ElementType::kUint16, "<u2"},  {ElementType::kUint32, "<u4"},  {ElementType::kUint64, "<u8"},
    {ElementType::kFloat16, "<f2"}, {ElementType::kFloat32, "<f4"}, {ElementType::kFloat64, "<f8"},
};

Error BadNpy(std::string message) { return InvalidArgument("BAD_NPY", std::move(message)); }

// Reads the few forms of a Python literal that a header may have; every method says whether its form was there.
class LiteralParser {
 public:
  explicit LiteralParser(std::string_view text) : text_(text) {}

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
    if (text_.starts_with('L')) text_.remove_prefix(1);  // a long of Python 2
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

Result<ElementType> TypeOfDescr(std::string_view descr) {
  for (const auto& [type, known] : kDescrs) {
    // One byte has no order; whatever order is written is right.
    if (descr == known || (SizeOf(type) == 1 && descr.size() == 3 && descr.substr(1) == std::string_view(known).substr(1))) {
      return type;
    }
  }
  const std::string shown(descr.substr(0, 16));
  if (descr.starts_with('>')) return BadNpy("type '" + shown + "' is big-endian; save x.astype(x.dtype.newbyteorder('<'))");
  return BadNpy("type '" + shown + "' is not supported; save bool, int8 to int64, uint8 to uint64 or float16 to float64");
}

struct Fields {
  std::optional<std::string_view> descr;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<bool> fortran_order;
};

Status ParseField(LiteralParser& parser, Fields& fields) {
  const auto key = parser.TakeString();
  if (!key || !parser.Take(':')) return BadNpy("the header is malformed");
  if (*key == "descr" && !fields.descr) {
    fields.descr = parser.TakeString();
    if (!fields.descr) return BadNpy("structured arrays are not supported; save plain ones");
  } else if (*key == "fortran_order" && !fields.fortran_order) {
    fields.fortran_order = parser.TakeWord("True");
    if (!*fields.fortran_order && !parser.TakeWord("False")) return BadNpy("the header's fortran_order is malformed");
  } else if (*key == "shape" && !fields.shape) {
    fields.shape = parser.TakeTuple();
    if (!fields.shape) return BadNpy("the header's shape is malformed or has more than 8 dimensions");
  } else {
    return BadNpy("the header has an unknown or repeated key");
  }
  return OkStatus();
}

Result<NpyHeader> ParseHeader(std::string_view text) {
  LiteralParser parser(text);
  Fields fields;
  if (!parser.Take('{')) return BadNpy("the header is not a dictionary");
  bool more = true;
  while (more && !parser.Take('}')) {
    EF_RETURN_IF_ERROR(ParseField(parser, fields));
    more = parser.Take(',');
    if (!more && !parser.Take('}')) return BadNpy("the header is malformed");
  }
  if (!parser.AtEnd()) return BadNpy("the header has something after its dictionary");
  if (!fields.descr || !fields.shape || !fields.fortran_order) return BadNpy("the header lacks descr, fortran_order or shape");
  EF_ASSIGN_OR_RETURN(const ElementType type, TypeOfDescr(*fields.descr));
  NpyHeader header{{type, *std::move(fields.shape)}};
  header.fortran_order = *fields.fortran_order;
  const auto size = ByteCount(header.info);
  if (!size) return BadNpy(size.error().message());
  header.data_bytes = *size;
  return header;
}

std::size_t LittleEndian(std::span<const std::byte> bytes) {
  std::size_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::size_t>(bytes[i]);
  return value;
}

// The header, after the size of the file was held against it.
Result<NpyHeader> HeaderOfWhole(ByteView file) {
  ByteView rest = file;
  EF_ASSIGN_OR_RETURN(NpyHeader header, ReadNpyHeader([&rest](std::span<std::byte> out) -> Status {
                        if (out.size() > rest.size()) return BadNpy("the file ends within its header; save it again");
                        std::memcpy(out.data(), rest.data(), out.size());
                        rest = rest.subspan(out.size());
                        return OkStatus();
                      }));
  if (rest.size() != header.data_bytes) {
    return BadNpy("the array " + header.info.ToString() + " takes " + std::to_string(header.data_bytes) +
                  " bytes, the file has " + std::to_string(rest.size()) + "; save one whole array a file");
  }
  return header;
}

class MemoryStream final : public ArrayStream {
 public:
  MemoryStream(ArrayInfo info, std::shared_ptr<const void> storage, ByteView data)
      : ArrayStream(std::move(info)), storage_(std::move(storage)), rest_(data) {}

 private:
  Status Fill(std::span<std::byte> out) override {
    if (out.size() > rest_.size()) return BadNpy("the array has no more elements");
    if (!out.empty()) std::memcpy(out.data(), rest_.data(), out.size());
    rest_ = rest_.subspan(out.size());
    return OkStatus();
  }

  const std::shared_ptr<const void> storage_;
  ByteView rest_;
};

}  // namespace

const char* DescrOf(ElementType type) {
  for (const auto& [known, descr] : kDescrs) {
    if (known == type) return descr;
  }
  return "";
}

Result<NpyHeader> ReadNpyHeader(const ReadBytes& read) {
  std::array<std::byte, kPreambleBytes + 4> prefix{};
  const std::span<std::byte> all(prefix);
  EF_RETURN_IF_ERROR(read(all.first(kPreambleBytes)));
  if (AsText(all.first(kMagic.size())) != kMagic) return BadNpy("not a .npy array");
  const auto major = std::to_integer<int>(prefix[6]);
  if (major < 1 || major > 3) {
    return BadNpy("format version " + std::to_string(major) + " is not supported; save version 1, 2 or 3");
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  EF_RETURN_IF_ERROR(read(all.subspan(kPreambleBytes, length_bytes)));
  const std::size_t length = LittleEndian(all.subspan(kPreambleBytes, length_bytes));
  if (length > kHeaderBytesMax) return BadNpy("the header is longer than 64 KiB");
  std::string text(length, '\0');
  EF_RETURN_IF_ERROR(read(std::as_writable_bytes(std::span(text))));
  EF_ASSIGN_OR_RETURN(NpyHeader header, ParseHeader(text));
  header.data_offset = kPreambleBytes + length_bytes + length;
  return header;
}

Bytes ToRowMajor(const ArrayInfo& info, ByteView data) {
  const std::size_t size = SizeOf(info.type);
  std::vector<std::size_t> strides;  // of the source, in elements
  std::size_t stride = 1;
  for (const std::int64_t dimension : info.shape) {
    strides.push_back(stride);
    stride *= static_cast<std::size_t>(dimension);
  }
  std::vector<std::int64_t> index(info.shape.size(), 0);
  Bytes out(data.size());
  std::size_t from = 0;
  for (std::size_t to = 0; to < out.size(); to += size) {
    std::memcpy(out.data() + to, data.data() + from * size, size);
    for (std::size_t d = index.size(); d-- > 0;) {
      from += strides[d];
      if (++index[d] < info.shape[d]) break;
      from -= strides[d] * static_cast<std::size_t>(info.shape[d]);
      index[d] = 0;
    }
  }
  return out;
}

Result<Array> ReadNpy(ByteView file) {
  EF_ASSIGN_OR_RETURN(NpyHeader header, HeaderOfWhole(file));
  const ByteView data = file.subspan(header.data_offset);
  EF_RETURN_IF_ERROR(CheckElements(header.info.type, data));
  Bytes elements = header.fortran_order ? ToRowMajor(header.info, data) : ToBytes(data);
  return Array{header.info.type, std::move(header.info.shape), std::move(elements)};
}

Result<Bytes> WriteNpy(const Array& array) {
  EF_ASSIGN_OR_RETURN(const std::uint64_t size, ByteCount(array.info()));
  if (size != array.data.size()) {
    return InvalidArgument("BAD_SHAPE",
                           array.info().ToString() + " does not have " + std::to_string(array.data.size()) + " bytes");
  }
  std::string header = std::string("{'descr': '") + DescrOf(array.type) + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t dimension : array.shape) header += std::to_string(dimension) + ",";
  header += "), }";
  constexpr std::size_t kPrefixBytes = kPreambleBytes + 2;
  // numpy.lib.format: padded with spaces, ended by a newline.
  header.append(kDataAlignment - 1 - (kPrefixBytes + header.size()) % kDataAlignment, ' ');
  header += '\n';
  Bytes bytes;
  bytes.reserve(kPrefixBytes + header.size() + array.data.size());
  const auto append = [&bytes](ByteView part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  append(AsBytes(kMagic));
  for (const std::size_t value : {std::size_t{1}, std::size_t{0}, header.size() & 0xff, header.size() >> 8}) {
    bytes.push_back(static_cast<std::byte>(value));
  }
  append(AsBytes(header));
  append(array.data);
  return bytes;
}

Result<NpyFile> NpyFile::Open(const std::filesystem::path& path) {
  EF_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(path));
  auto header = HeaderOfWhole(mapped->bytes());
  if (!header) return MakeError(std::move(header).error().Annotate(path.string()));
  NpyFile file;
  file.info_ = std::move(header->info);
  file.data_ = mapped->bytes().subspan(header->data_offset);
  file.storage_ = mapped;
  if (header->fortran_order) {
    const auto elements = std::make_shared<const Bytes>(ToRowMajor(file.info_, file.data_));
    file.data_ = *elements;
    file.storage_ = elements;
  }
  return file;
}

std::unique_ptr<ArrayStream> NpyFile::Stream() const { return StreamOf(info_, storage_, data_); }

std::unique_ptr<ArrayStream> StreamOf(ArrayInfo info, std::shared_ptr<const void> storage, ByteView data) {
  return std::make_unique<MemoryStream>(std::move(info), std::move(storage), data);
}

}  // namespace edgefleet::arrays
