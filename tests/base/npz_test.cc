#include "base/arrays/npz.h"

#include <gmock/gmock.h>
#include <zip.h>

#include <algorithm>
#include <string>

#include "base/random.h"

namespace edgefleet::arrays {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Archive Sample() {
  Archive archive;
  archive.emplace("image", MakeArray<float>({2, 3}, std::vector<float>{1, -2, 0.5F, 4, 5, 6e9F}));
  archive.emplace("labels", MakeArray<std::int64_t>({3}, std::vector<std::int64_t>{7, -8, std::int64_t{1} << 40}));
  archive.emplace("small", MakeArray<std::uint8_t>({4}, std::vector<std::uint8_t>{0, 1, 2, 255}));
  archive.emplace("scalar", MakeArray<std::int32_t>({}, std::vector<std::int32_t>{-5}));
  return archive;
}

// A zip of members as given, whatever they are.
Bytes Zip(const std::vector<std::pair<std::string, std::string>>& members, zip_int32_t method = ZIP_CM_DEFLATE) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(target);
  zip_t* archive = zip_open_from_source(target, ZIP_TRUNCATE, &error);
  for (const auto& [name, content] : members) {
    zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
    const zip_int64_t index = zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    EXPECT_GE(index, 0);
    EXPECT_EQ(zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), method, 0), 0);
  }
  EXPECT_EQ(zip_close(archive), 0);
  zip_stat_t stat;
  zip_source_stat(target, &stat);
  Bytes bytes(stat.size);
  zip_source_open(target);
  zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  zip_source_free(target);
  return bytes;
}

// A version 1.0 member with this header and this much data.
std::string Npy(const std::string& header, std::size_t data_size, char version = 1) {
  std::string text("\x93NUMPY", 6);
  text += version;
  text += '\0';
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  if (version >= 2) text += std::string(2, '\0');
  return text + header + std::string(data_size, '\x01');
}

std::string Refusal(ByteView archive, const NpzLimits& limits = {}) {
  const auto read = ReadNpz(archive, limits);
  if (read) return "accepted";
  EXPECT_EQ(read.error().code(), StatusCode::kInvalidArgument);
  return read.error().reason() + ": " + read.error().message();
}

std::string RefusalOfHeader(const std::string& header, std::size_t data_size = 8) {
  return Refusal(Zip({{"x.npy", Npy(header, data_size)}}));
}

TEST(Npz, RoundTripKeepsEverything) {
  const auto bytes = WriteNpz(Sample());
  ASSERT_TRUE(bytes) << bytes.error().ToString();
  const auto read = ReadNpz(*bytes);
  ASSERT_TRUE(read) << read.error().ToString();
  ASSERT_EQ(read->size(), 4U);
  EXPECT_THAT(read->at("image").values<float>(), ElementsAre(1, -2, 0.5F, 4, 5, 6e9F));
  EXPECT_THAT(read->at("image").shape, ElementsAre(2, 3));
  EXPECT_THAT(read->at("labels").values<std::int64_t>(), ElementsAre(7, -8, std::int64_t{1} << 40));
  EXPECT_EQ(read->at("small").type, ElementType::kUint8);
  EXPECT_TRUE(read->at("scalar").shape.empty());
  EXPECT_THAT(read->at("scalar").values<std::int32_t>(), ElementsAre(-5));
  EXPECT_EQ(*WriteNpz(*read), *bytes);
}

// Headers as numpy itself writes them: padded with spaces, one-element tuples with a comma, every version.
TEST(Npz, ReadsWhatNumpyWrites) {
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }          \n";
  for (const char version : {'\1', '\2', '\3'}) {
    const auto read = ReadNpz(Zip({{"x.npy", Npy(header, 8, version)}}));
    ASSERT_TRUE(read) << read.error().ToString();
    EXPECT_THAT(read->at("x").shape, ElementsAre(2));
  }
  EXPECT_TRUE(ReadNpz(Zip({{"x.npy", Npy(header, 8)}}, ZIP_CM_STORE)));
}

// numpy.savez_compressed(x=numpy.asfortranarray([[0, 1, 2], [3, 4, 5]], float32), n=[True, False]), NumPy 1.24: zip64 records,
// version 2.0 of the zip format, Fortran order.
TEST(Npz, ReadsNumpysOwnBytes) {
  const auto bytes = HexDecode(
      "504b03042d000000080000002100ce2ce0d3ffffffffffffffff05001400782e6e707901001000980000000000000056000000000000009bec17ea1b"
      "10c9"
      "c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a120f292a4d050a17672416a402b91a463a0ac69a3a0ab50ae403"
      "2e06"
      "307070606068b007620710878161810300504b03042d000000080000002100ee19bb5dffffffffffffffff050014006e2e6e70790100100082000000"
      "0000"
      "000046000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a05e9364a8aea3a09e965f54529498179f5f94920a12774bcc294e058a17"
      "6724"
      "16a402f91a463a9a3a0ab50a14002e460600504b01022d032d000000080000002100ce2ce0d356000000980000000500000000000000000000008001"
      "0000"
      "0000782e6e7079504b01022d032d000000080000002100ee19bb5d460000008200000005000000000000000000000080018d0000006e2e6e7079504b"
      "0506"
      "0000000002000200660000000a0100000000");
  ASSERT_TRUE(bytes);
  const auto read = ReadNpz(*bytes);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->at("x").info().ToString(), "float32 [2, 3]");
  EXPECT_THAT(read->at("x").values<float>(), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(read->at("n").info().ToString(), "bool [2]");
  EXPECT_EQ(read->at("n").data, (Bytes{std::byte{1}, std::byte{0}}));
}

TEST(Npz, StoredOrDeflatedIsTheSame) {
  const Bytes stored = *WriteNpz(Sample(), Packing::kStored);
  const auto read = ReadNpz(stored);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(*WriteNpz(*read), *WriteNpz(Sample()));
  EXPECT_EQ(*WriteNpz(*read, Packing::kStored), stored);
}

// What is wrong with an array is told with the array's name.
TEST(Npz, MalformedArraysAreRefused) {
  EXPECT_THAT(RefusalOfHeader("{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}"),
              AllOf(HasSubstr("BAD_NPZ: array 'x': "), HasSubstr("big-endian")));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"), HasSubstr("does not match"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296)}"),
              HasSubstr("absurd"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '|b1', 'fortran_order': True, 'shape': (8,)}", 8), HasSubstr("accepted"));
  EXPECT_THAT(Refusal(Zip({{"x.npy", Npy("{}", 0, 4)}})), HasSubstr("version 4"));
  EXPECT_THAT(Refusal(Zip({{"x.npy", "short"}})), HasSubstr("BAD_NPZ"));
  EXPECT_THAT(Refusal(Zip({{"x.npy", "no numpy at all, but long"}})), HasSubstr("not a .npy"));
}

TEST(NpzReader, StreamsInParts) {
  Archive archive = Sample();
  std::vector<float> many(100'000);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i);
  archive.emplace("many", MakeArray<float>({1'000, 100}, many));
  const Bytes bytes = *WriteNpz(archive);
  const auto reader = NpzReader::Open(bytes);
  ASSERT_TRUE(reader) << reader.error().ToString();
  EXPECT_EQ((*reader)->arrays().size(), 5U);
  EXPECT_EQ((*reader)->arrays().at("many").ToString(), "float32 [1000, 100]");
  // Two streams at a time, one of them started again: each has its own position.
  const auto first = *(*reader)->Stream("many");
  const auto second = *(*reader)->Stream("many");
  std::vector<float> row(100);
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_TRUE(first->Read(std::as_writable_bytes(std::span(row))).ok());
    EXPECT_EQ(row[7], static_cast<float>(100 * i + 7));
    if (i % 3 != 0) continue;
    ASSERT_TRUE(second->Read(std::as_writable_bytes(std::span(row))).ok());
    EXPECT_EQ(row[7], static_cast<float>(100 * (i / 3) + 7));
  }
  EXPECT_EQ(first->Read(std::as_writable_bytes(std::span(row))).reason(), "BAD_NPZ");
  EXPECT_EQ((*reader)->Read("none").error().reason(), "ARRAY_MISSING");
}

// The checksum is wrong in the last of many blocks: the stream says so when it gets there.
TEST(NpzReader, DamageIsFoundAtTheEnd) {
  Archive archive;
  archive.emplace("x", MakeArray<std::uint8_t>({1 << 16}, std::vector<std::uint8_t>(1 << 16, 5)));
  Bytes bytes = *WriteNpz(archive, Packing::kStored);
  bytes[60'000] ^= std::byte{1};
  const auto reader = NpzReader::Open(bytes);
  ASSERT_TRUE(reader) << reader.error().ToString();
  const auto stream = *(*reader)->Stream("x");
  Bytes half(1 << 15);
  EXPECT_TRUE(stream->Read(half).ok());
  const Status end = stream->Read(half);
  EXPECT_EQ(end.reason(), "BAD_NPZ");
  EXPECT_THAT(end.message(), HasSubstr("array 'x'"));
}

TEST(Npz, ForeignMembersAreRefused) {
  EXPECT_THAT(Refusal(Zip({{"readme.txt", "hello"}})), HasSubstr("not named <array>.npy"));
  EXPECT_THAT(Refusal(Zip({{".npy", "hello"}})), HasSubstr("not named <array>.npy"));
  EXPECT_THAT(Refusal(AsBytes("this is no zip file")), HasSubstr("not a .npz"));
  EXPECT_THAT(Refusal({}), HasSubstr("BAD_NPZ"));
}

TEST(Npz, LimitsHoldBeforeAnythingIsUnpacked) {
  const Bytes bytes = *WriteNpz(Sample());
  EXPECT_THAT(Refusal(bytes, {.entries_max = 3}), HasSubstr("TOO_LARGE"));
  EXPECT_THAT(Refusal(bytes, {.bytes_max = 300}), HasSubstr("TOO_LARGE"));
  Archive bomb;
  bomb.emplace("zeros", MakeArray<std::uint8_t>({8 << 20}, std::vector<std::uint8_t>(8 << 20)));
  EXPECT_THAT(Refusal(*WriteNpz(bomb)), HasSubstr("TOO_LARGE"));
  EXPECT_THAT(Refusal(*WriteNpz(bomb)), HasSubstr("times its size"));
}

// Two names for one stretch of the archive, as in Fifield's bombs, only smaller: the sizes do not add up.
TEST(Npz, OverlapsAndDuplicatesAreRefused) {
  const std::string member = Npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4096,)}", 4096);
  Bytes bytes = Zip({{"aa.npy", member}, {"ab.npy", "x"}}, ZIP_CM_STORE);
  const std::string_view text = AsText(bytes);
  const std::size_t first = text.find("PK\x01\x02");
  const std::size_t second = text.find("PK\x01\x02", first + 1);
  // From the checksum to the sizes, and the offset of the local header.
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(first) + 16, 12,
              bytes.begin() + static_cast<std::ptrdiff_t>(second) + 16);
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(second) + 42, 4, std::byte{0});
  EXPECT_THAT(Refusal(bytes), HasSubstr("exceed the archive's"));
  Bytes twice = Zip({{"aa.npy", member}, {"ab.npy", member}});
  for (std::size_t at = 0; (at = AsText(twice).find("ab.npy", at)) != std::string_view::npos;) twice[at + 1] = std::byte{'a'};
  EXPECT_THAT(Refusal(twice), HasSubstr("'aa' is there twice"));
}

TEST(Npz, WriterRefusesShapesThatDoNotFit) {
  Archive archive = Sample();
  archive.at("image").shape = {7};
  const auto written = WriteNpz(archive);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().reason(), "BAD_SHAPE");
  EXPECT_EQ(WriteNpz({}).error().reason(), "BAD_NPZ");
}

// Every truncation, and many single flipped bits: an error or the same arrays, never a crash.
TEST(Npz, DamagedArchivesNeverCrash) {
  const Bytes whole = *WriteNpz(Sample());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ReadNpz(ByteView(whole).first(size))) << "truncated to " << size;
  }
  SeededRandom random(1);
  for (int i = 0; i < 3'000; ++i) {
    Bytes damaged = whole;
    damaged[random.Below(damaged.size())] ^= static_cast<std::byte>(1U << random.Below(8));
    const auto read = ReadNpz(damaged);
    EXPECT_TRUE(read || read.error().code() == StatusCode::kInvalidArgument) << read.error().ToString();
  }
}

}  // namespace
}  // namespace edgefleet::arrays
