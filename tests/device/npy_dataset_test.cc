#include "device_client/agent/npy_dataset.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>

#include "base/crypto/crypto.h"

namespace edgefleet::agent {
namespace {

namespace fs = std::filesystem;

// A version 1.0 file as numpy.save writes it.
template <typename T>
std::string Npy(const std::string& dtype, const std::string& shape, const std::vector<T>& values) {
  std::string header = "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': " + shape + ", }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string file = "\x93NUMPY";
  file += std::string("\x01\x00", 2);
  file += static_cast<char>(header.size() & 255);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return file;
}

class NpyFiles : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(dir_); }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path Write(const std::string& name, const std::string& content) {
    std::ofstream(dir_ / name, std::ios::binary) << content;
    return dir_ / name;
  }
  fs::path dir_ = fs::temp_directory_path() / ("edgefleet-npy-test-" + crypto::RandomId());
};

TEST_F(NpyFiles, ReadsExamplesAndLabels) {
  const auto x = Write("x.npy", Npy<float>("<f4", "(2, 1, 3)", {1, 2, 3, 4, 5, 6}));
  for (const auto& y :
       {Write("y8.npy", Npy<std::int64_t>("<i8", "(2,)", {7, 3})), Write("y4.npy", Npy<std::int32_t>("<i4", "(2,)", {7, 3}))}) {
    const auto data = NpyDataset::Open(x, y).value();
    EXPECT_EQ(data->size(), 2U);
    EXPECT_EQ(data->example_size(), 3U);
    EXPECT_EQ(data->Label(0), 7);
    std::array<float, 3> row{};
    data->CopyExample(1, row);
    EXPECT_EQ(row, (std::array<float, 3>{4, 5, 6}));
  }
}

TEST_F(NpyFiles, RefusesWhatDoesNotFit) {
  const auto x = Write("x.npy", Npy<float>("<f4", "(2, 3)", {1, 2, 3, 4, 5, 6}));
  const auto short_labels = Write("y.npy", Npy<std::int64_t>("<i8", "(1,)", {7}));
  EXPECT_EQ(NpyDataset::Open(x, short_labels).error().reason(), "BAD_NPY");
  EXPECT_EQ(NpyDataset::Open(x, x).error().reason(), "BAD_NPY");
}

// What is wrong within a file is tested with the reader (tests/base/npy_test.cc); here, that it is told.
TEST_F(NpyFiles, MalformedFilesAreErrors) {
  const auto x = Write("x.npy", Npy<float>("<f4", "(2, 3)", {1, 2, 3, 4, 5, 6}));
  const auto y = Write("y.npy", Npy<std::uint8_t>("|u1", "(2,)", {7, 3}));
  EXPECT_TRUE(NpyDataset::Open(x, y));
  for (const std::string& bad : {std::string("cut"), Npy<float>("<f4", "()", {1}), Npy<double>("<f8", "(2,)", {1, 2})}) {
    EXPECT_EQ(NpyDataset::Open(Write("bad.npy", bad), y).error().reason(), "BAD_NPY");
    EXPECT_EQ(NpyDataset::Open(x, Write("bad.npy", bad)).error().reason(), "BAD_NPY");
  }
}

}  // namespace
}  // namespace edgefleet::agent
