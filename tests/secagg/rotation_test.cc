#include "secagg/rotation.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "base/random.h"

namespace edgefleet::secagg {
namespace {

std::vector<float> Noise(std::size_t size, RandomSource& random) {
  std::vector<float> values(size);
  for (float& value : values) value = static_cast<float>(random.Unit() - 0.5);
  return values;
}

double Norm(const std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += double{value} * value;
  return std::sqrt(squares);
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) squares += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return std::sqrt(squares);
}

TEST(WalshHadamard, IsTheMatrixOfParities) {
  for (const std::size_t size : {1U, 2U, 4U, 8U, 32U, 8192U, 16'384U}) {
    for (const std::size_t column : {std::size_t{0}, size / 3, size - 1}) {
      std::vector<float> values(size);
      values[column] = 1;
      WalshHadamard(values);
      for (std::size_t row = 0; row < size; ++row) {
        ASSERT_EQ(values[row], std::popcount(row & column) % 2 == 0 ? 1.0F : -1.0F) << size << " " << row << " " << column;
      }
    }
  }
}

TEST(WalshHadamard, IsItsOwnInverseUpToTheSize) {
  SeededRandom random(1);
  for (std::size_t size = 1; size <= 1 << 18; size *= 2) {
    const auto values = Noise(size, random);
    auto twice = values;
    WalshHadamard(twice);
    WalshHadamard(twice);
    for (float& value : twice) value /= static_cast<float>(size);
    EXPECT_LE(Distance(values, twice), 1e-6 * Norm(values)) << size;
  }
}

TEST(Rotation, IsOrthonormalAndReversible) {
  SeededRandom random(2);
  for (const std::size_t size : {0U, 1U, 2U, 3U, 5U, 31U, 33U, 1000U, 4096U, 4097U, 100'000U, 131'072U}) {
    Seed seed;
    random.Fill(seed);
    const auto one = Noise(size, random);
    const auto other = Noise(size, random);
    auto one_rotated = one;
    auto other_rotated = other;
    Rotate(one_rotated, seed);
    Rotate(other_rotated, seed);
    EXPECT_NEAR(Norm(one_rotated), Norm(one), 1e-5 * Norm(one)) << size;
    EXPECT_NEAR(Distance(one_rotated, other_rotated), Distance(one, other), 1e-5 * Norm(one)) << size;
    RotateBack(one_rotated, seed);
    EXPECT_LE(Distance(one, one_rotated), 1e-5 * Norm(one)) << size;
  }
}

TEST(Rotation, SpreadsASpikeOverAllCoordinates) {
  SeededRandom random(3);
  for (const std::size_t size : {1024U, 1500U, 2047U, 100'000U}) {
    const double limit = std::sqrt(2 * std::log(2048.0 * static_cast<double>(size)) / static_cast<double>(RotationBlock(size)));
    for (const std::size_t place : {std::size_t{0}, size / 2, size - 1}) {
      Seed seed;
      random.Fill(seed);
      std::vector<float> values(size);
      values[place] = 1;
      Rotate(values, seed);
      for (const float value : values) ASSERT_LE(std::abs(value), limit) << size << " " << place;
    }
  }
}

// The signs are part of the protocol: devices and servers of all builds must agree on them.
TEST(Rotation, ASeedGivesTheSameRotationEverywhere) {
  Seed seed{};
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::byte>(i);
  std::vector<float> values{1, 2, 3, 4, 5, 6};
  Rotate(values, seed);
  EXPECT_EQ(values, (std::vector<float>{0, -2, 3.5, -7.5, 2.5, 3.5}));
}

TEST(Rotation, DiffersFromSeedToSeed) {
  std::vector<float> one(64, 1.0F);
  std::vector<float> other = one;
  Rotate(one, Seed{std::byte{1}});
  Rotate(other, Seed{std::byte{2}});
  EXPECT_GT(Distance(one, other), 1);
}

}  // namespace
}  // namespace edgefleet::secagg
