#include "registry/compiler/npz.h"

#include <gmock/gmock.h>
#include <zip.h>

#include <string>

#include "base/random.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

NpzArchive Sample() {
  NpzArchive archive;
  archive.emplace("image", MakeNpyArray<float>({2, 3}, std::vector<float>{1, -2, 0.5F, 4, 5, 6e9F}));
  archive.emplace("labels", MakeNpyArray<std::int64_t>({3}, std::vector<std::int64_t>{7, -8, std::int64_t{1} << 40}));
  archive.emplace("small", MakeNpyArray<std::uint8_t>({4}, std::vector<std::uint8_t>{0, 1, 2, 255}));
  archive.emplace("scalar", MakeNpyArray<std::int32_t>({}, std::vector<std::int32_t>{-5}));
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
  EXPECT_EQ(read->at("small").type, NpyType::kUint8);
  EXPECT_TRUE(read->at("scalar").shape.empty());
  EXPECT_THAT(read->at("scalar").values<std::int32_t>(), ElementsAre(-5));
  EXPECT_EQ(*WriteNpz(*read), *bytes);
}

// Headers as numpy itself writes them: padded with spaces, one-element tuples with a comma, version 2.0.
TEST(Npz, ReadsWhatNumpyWrites) {
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }          \n";
  for (const char version : {'\1', '\2'}) {
    const auto read = ReadNpz(Zip({{"x.npy", Npy(header, 8, version)}}));
    ASSERT_TRUE(read) << read.error().ToString();
    EXPECT_THAT(read->at("x").shape, ElementsAre(2));
  }
  EXPECT_TRUE(ReadNpz(Zip({{"x.npy", Npy(header, 8)}}, ZIP_CM_STORE)));
}

TEST(Npz, MalformedHeadersAreRefused) {
  EXPECT_THAT(RefusalOfHeader("{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}"), HasSubstr("type '>f4'"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"), HasSubstr("float32"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), HasSubstr("BAD_NPZ"));
  EXPECT_THAT(RefusalOfHeader("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}"), HasSubstr("structured"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}"), HasSubstr("Fortran"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"), HasSubstr("does not match"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"), HasSubstr("shape"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296)}"),
              HasSubstr("does not match"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2)}"),
              HasSubstr("8 dimensions"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False}"), HasSubstr("lacks"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"),
              HasSubstr("repeated"));
  EXPECT_THAT(RefusalOfHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x"), HasSubstr("BAD_NPZ"));
  EXPECT_THAT(RefusalOfHeader(""), HasSubstr("not a dictionary"));
  EXPECT_THAT(Refusal(Zip({{"x.npy", Npy("{}", 0, 3)}})), HasSubstr("version 3"));
  EXPECT_THAT(Refusal(Zip({{"x.npy", "short"}})), HasSubstr("BAD_NPZ"));
  EXPECT_THAT(Refusal(Zip({{"x.npy", "no numpy at all, but long"}})), HasSubstr("not a .npy"));
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
  NpzArchive bomb;
  bomb.emplace("zeros", MakeNpyArray<std::uint8_t>({8 << 20}, std::vector<std::uint8_t>(8 << 20)));
  EXPECT_THAT(Refusal(*WriteNpz(bomb)), HasSubstr("TOO_LARGE"));
  EXPECT_THAT(Refusal(*WriteNpz(bomb)), HasSubstr("times its size"));
}

TEST(Npz, WriterRefusesShapesThatDoNotFit) {
  NpzArchive archive = Sample();
  archive.at("image").shape = {7};
  const auto written = WriteNpz(archive);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().reason(), "BAD_NPZ");
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
}  // namespace edgefleet::compiler
