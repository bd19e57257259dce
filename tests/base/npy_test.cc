#include "base/arrays/npy.h"

#include <gmock/gmock.h>

#include <fstream>
#include <string>

#include "base/random.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::arrays {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// A file with this header and these elements.
template <typename T = std::uint8_t>
std::string Npy(const std::string& header, const std::vector<T>& values = {}, char version = 1) {
  std::string text("\x93NUMPY", 6);
  text += version;
  text += '\0';
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  if (version >= 2) text += std::string(2, '\0');
  text += header;
  text.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return text;
}

std::string Header(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }  \n";
}

std::string Refusal(const std::string& file) {
  const auto read = ReadNpy(AsBytes(file));
  if (read) return "accepted";
  EXPECT_EQ(read.error().code(), StatusCode::kInvalidArgument);
  return read.error().reason() + ": " + read.error().message();
}

std::string RefusalOf(const std::string& header) { return Refusal(Npy(header, std::vector<float>{1, 2})); }

template <typename T>
void ExpectRoundTrip(const std::vector<T>& values) {
  const Array array = MakeArray<T>({1, static_cast<std::int64_t>(values.size())}, values);
  const auto file = WriteNpy(array);
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ(*WriteNpy(array), *file);
  const auto read = ReadNpy(*file);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->info(), array.info());
  EXPECT_THAT(read->values<T>(), ElementsAreArray(values));
}

TEST(Npy, EveryTypeSurvives) {
  ExpectRoundTrip<std::int8_t>({-128, 127});
  ExpectRoundTrip<std::int16_t>({-32768, 32767});
  ExpectRoundTrip<std::int32_t>({-5, 1 << 30});
  ExpectRoundTrip<std::int64_t>({-5, std::int64_t{1} << 60});
  ExpectRoundTrip<std::uint8_t>({0, 255});
  ExpectRoundTrip<std::uint16_t>({0, 65535});
  ExpectRoundTrip<std::uint32_t>({0, 1U << 31});
  ExpectRoundTrip<std::uint64_t>({0, std::uint64_t{1} << 63});
  ExpectRoundTrip<Half>({Half{0x3c00}, Half{0x8000}});
  ExpectRoundTrip<float>({1.5F, -2});
  ExpectRoundTrip<double>({1e300, -2});
  const Bytes bools = ToBytes(AsBytes(std::string_view("\x00\x01", 2)));
  const auto read = ReadNpy(*WriteNpy({ElementType::kBool, {2}, bools}));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->type, ElementType::kBool);
  EXPECT_EQ(read->data, bools);
}

// numpy.lib.format: the data begins at a multiple of 64, after a newline.
TEST(Npy, HeadersAreAligned) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{}, {1}, {1, 1}, {1, 1, 1, 1, 1, 1, 1, 1}}) {
    const Bytes file = *WriteNpy(MakeArray<float>(shape, std::vector<float>{3}));
    EXPECT_EQ(file.size() % 64, 4U);
    EXPECT_EQ(AsText(file).substr(0, 10), std::string_view("\x93NUMPY\x01\x00\x76\x00", 10));
    EXPECT_EQ(AsText(file)[file.size() - 5], '\n');
  }
}

TEST(Npy, ReadsWhatOthersWrite) {
  struct Case {
    std::string file;
    ArrayInfo info;
  };
  const std::vector<float> two{1, 2};
  for (const Case& c : {
           Case{Npy(Header("<f4", "(2,)"), two), {ElementType::kFloat32, {2}}},
           Case{Npy(Header("<f4", "(2,)"), two, 2), {ElementType::kFloat32, {2}}},
           Case{Npy(Header("<f4", "(2,)"), two, 3), {ElementType::kFloat32, {2}}},
           Case{Npy(Header("<f4", "(1L, 2L)"), two), {ElementType::kFloat32, {1, 2}}},  // Python 2
           Case{Npy("{\"shape\": (2), 'fortran_order': False, 'descr': '<f4'}", two), {ElementType::kFloat32, {2}}},
           Case{Npy(Header("<f8", "()"), two), {ElementType::kFloat64, {}}},
           Case{Npy(Header("<f4", "(0, 3)")), {ElementType::kFloat32, {0, 3}}},
           Case{Npy(Header("<i1", "(8,)"), two), {ElementType::kInt8, {8}}},
       }) {
    const auto read = ReadNpy(AsBytes(c.file));
    ASSERT_TRUE(read) << read.error().ToString();
    EXPECT_EQ(read->info(), c.info) << read->info().ToString();
  }
}

TEST(Npy, FortranOrderBecomesRowMajor) {
  // numpy.arange(24).reshape(2, 3, 4), saved in Fortran order.
  std::vector<std::int16_t> columns(24);
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 4; ++k) {
        columns[static_cast<std::size_t>(i + 2 * j + 6 * k)] = static_cast<std::int16_t>(12 * i + 4 * j + k);
      }
    }
  }
  const auto read = ReadNpy(AsBytes(Npy(Header("<i2", "(2, 3, 4)", true), columns)));
  ASSERT_TRUE(read) << read.error().ToString();
  for (int i = 0; i < 24; ++i) EXPECT_EQ(read->values<std::int16_t>()[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(ReadNpy(AsBytes(Npy(Header("<i2", "(0, 3)", true)))));
  EXPECT_TRUE(ReadNpy(AsBytes(Npy(Header("<i2", "()", true), std::vector<std::int16_t>{1}))));
}

TEST(Npy, MalformedHeadersAreRefused) {
  EXPECT_THAT(RefusalOf(Header(">f4", "(2,)")), HasSubstr("big-endian"));
  EXPECT_THAT(RefusalOf(Header("<c8", "(1,)")), HasSubstr("float16 to float64"));
  EXPECT_THAT(RefusalOf(Header("|O", "(1,)")), HasSubstr("BAD_NPY"));
  EXPECT_THAT(RefusalOf(Header("<U2", "(1,)")), HasSubstr("'<U2' is not supported"));
  EXPECT_THAT(RefusalOf("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}"), HasSubstr("structured"));
  EXPECT_THAT(RefusalOf(Header("<f4", "(-2,)")), HasSubstr("shape"));
  EXPECT_THAT(RefusalOf(Header("<f4", "(99999999999999999999,)")), HasSubstr("shape"));
  EXPECT_THAT(RefusalOf(Header("<f4", "(1,1,1,1,1,1,1,1,2)")), HasSubstr("8 dimensions"));
  EXPECT_THAT(RefusalOf(Header("<f4", "(4294967296, 4294967296, 4294967296)")), HasSubstr("absurd"));
  EXPECT_THAT(RefusalOf(Header("<f4", "(0, 4611686018427387904, 4611686018427387904)")), HasSubstr("absurd"));
  EXPECT_THAT(RefusalOf("{'descr': '<f4', 'fortran_order': False}"), HasSubstr("lacks"));
  EXPECT_THAT(RefusalOf("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), HasSubstr("repeated"));
  EXPECT_THAT(RefusalOf("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x"), HasSubstr("after its dictionary"));
  EXPECT_THAT(RefusalOf("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}"), HasSubstr("fortran_order"));
  EXPECT_THAT(RefusalOf("{'descr' '<f4'}"), HasSubstr("malformed"));
  EXPECT_THAT(RefusalOf(""), HasSubstr("not a dictionary"));
  EXPECT_THAT(Refusal(Npy<float>("{}", {}, 4)), HasSubstr("version 4"));
  EXPECT_THAT(Refusal("no numpy at all, but long"), HasSubstr("not a .npy"));
  EXPECT_THAT(Refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12)), HasSubstr("longer than 64 KiB"));
}

TEST(Npy, SizesMustMatch) {
  EXPECT_THAT(RefusalOf(Header("<f4", "(3,)")), HasSubstr("takes 12 bytes, the file has 8"));
  EXPECT_THAT(RefusalOf(Header("<f4", "(1,)")), HasSubstr("takes 4 bytes, the file has 8"));
  EXPECT_THAT(Refusal(Npy<std::uint8_t>(Header("|b1", "(2,)"), {1, 2})), HasSubstr("neither 0 nor 1"));
  Array array = MakeArray<float>({2}, std::vector<float>{1, 2});
  array.shape = {3};
  EXPECT_EQ(WriteNpy(array).error().reason(), "BAD_SHAPE");
  array.shape = {-2};
  EXPECT_EQ(WriteNpy(array).error().reason(), "BAD_SHAPE");
}

TEST(Npy, DamagedFilesNeverCrash) {
  const Bytes whole = *WriteNpy(MakeArray<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(ReadNpy(ByteView(whole).first(size))) << size;
  SeededRandom random(1);
  for (int i = 0; i < 3'000; ++i) {
    Bytes damaged = whole;
    damaged[random.Below(damaged.size())] ^= static_cast<std::byte>(1U << random.Below(8));
    static_cast<void>(ReadNpy(damaged));
  }
}

TEST(NpyFile, MapsAndStreams) {
  const test::TempDir dir;
  const auto path = dir.path() / "x.npy";
  for (const bool fortran : {false, true}) {
    const std::vector<float> stored = fortran ? std::vector<float>{1, 4, 2, 5, 3, 6} : std::vector<float>{1, 2, 3, 4, 5, 6};
    std::ofstream(path, std::ios::binary) << Npy(Header("<f4", "(2, 3)", fortran), stored);
    auto file = NpyFile::Open(path);
    ASSERT_TRUE(file) << file.error().ToString();
    const auto stream = file->Stream();
    file = NotFound("GONE", "the stream keeps the elements alive");
    EXPECT_THAT(stream->info().shape, ElementsAre(2, 3));
    std::vector<float> row(3);
    ASSERT_TRUE(stream->Read(std::as_writable_bytes(std::span(row))).ok());
    EXPECT_THAT(row, ElementsAre(1, 2, 3));
    ASSERT_TRUE(stream->Read(std::as_writable_bytes(std::span(row))).ok());
    EXPECT_THAT(row, ElementsAre(4, 5, 6));
    EXPECT_EQ(stream->Read(std::as_writable_bytes(std::span(row))).reason(), "BAD_NPY");
  }
  std::ofstream(path, std::ios::binary) << "nonsense";
  EXPECT_THAT(NpyFile::Open(path).error().message(), HasSubstr("x.npy: "));
  EXPECT_EQ(NpyFile::Open(dir.path() / "none.npy").error().reason(), "FILE_MISSING");
}

}  // namespace
}  // namespace edgefleet::arrays
