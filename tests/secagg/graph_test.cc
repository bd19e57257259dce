#include "secagg/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/random.h"

namespace edgefleet::secagg {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Seed = std::array<std::byte, kGraphSeedSize>;

// 00 01 02 ... 1f
Seed CountingSeed() {
  Seed seed;
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::byte>(i);
  return seed;
}

Seed RandomSeed(RandomSource& random) {
  Seed seed;
  random.Fill(seed);
  return seed;
}

TEST(ValidDegree, IsEvenOrThatOfTheCompleteGraph) {
  for (const auto& [members, degree] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {2, 1}, {3, 2}, {4, 2}, {4, 3}, {10, 8}, {10, 9}, {11, 10}, {65535, 100}})
    EXPECT_TRUE(ValidDegree(members, degree)) << members << " " << degree;
  for (const auto& [members, degree] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {0, 0}, {0, 0xFFFFFFFF}, {1, 0}, {2, 0}, {2, 2}, {4, 1}, {4, 4}, {10, 7}, {10, 10}, {10, 0}})
    EXPECT_FALSE(ValidDegree(members, degree)) << members << " " << degree;
}

struct Shape {
  std::uint32_t members, degree;
};
class GraphOfShape : public testing::TestWithParam<Shape> {};

TEST_P(GraphOfShape, IsRegularSymmetricAndConnected) {
  const auto [members, degree] = GetParam();
  SeededRandom random(members * 1000 + degree);
  const Graph graph(RandomSeed(random), members, degree);
  ASSERT_EQ(graph.members(), members);
  ASSERT_EQ(graph.degree(), degree);
  std::vector<std::set<std::uint32_t>> neighbours(members + 1);
  for (std::uint32_t member = 1; member <= members; ++member) {
    const auto list = graph.Neighbours(member);
    ASSERT_EQ(list.size(), degree);
    ASSERT_TRUE(std::ranges::is_sorted(list));
    neighbours[member] = {list.begin(), list.end()};
    ASSERT_EQ(neighbours[member].size(), degree);
    ASSERT_FALSE(neighbours[member].contains(member));
    for (std::uint32_t i = 0; i < degree; ++i) ASSERT_EQ(graph.Slot(member, list[i]), i + 1);
  }
  for (std::uint32_t one = 1; one <= members; ++one) {
    for (std::uint32_t other = 1; other <= members; ++other) {
      ASSERT_EQ(neighbours[one].contains(other), neighbours[other].contains(one));
      ASSERT_EQ(graph.AreNeighbours(one, other), neighbours[one].contains(other)) << one << " " << other;
      ASSERT_EQ(graph.Slot(one, other) != 0, neighbours[one].contains(other));
    }
  }
  std::set<std::uint32_t> reached{1};
  std::vector<std::uint32_t> open{1};
  while (!open.empty()) {
    const std::uint32_t member = open.back();
    open.pop_back();
    for (const std::uint32_t next : neighbours[member])
      if (reached.insert(next).second) open.push_back(next);
  }
  EXPECT_EQ(reached.size(), members);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GraphOfShape,
                         testing::Values(Shape{2, 1}, Shape{3, 2}, Shape{4, 2}, Shape{4, 3}, Shape{5, 2}, Shape{5, 4},
                                         Shape{10, 4}, Shape{10, 8}, Shape{10, 9}, Shape{11, 10}, Shape{500, 48}));

// The keystream, the order of draws and the ring, from a second implementation.
TEST(Graph, KnownAnswer) {
  const Graph small(CountingSeed(), 10, 4);
  EXPECT_THAT(small.Neighbours(1), ElementsAre(3, 5, 8, 10));
  EXPECT_THAT(small.Neighbours(2), ElementsAre(4, 7, 8, 10));
  EXPECT_THAT(small.Neighbours(10), ElementsAre(1, 2, 7, 8));
  const Graph large(CountingSeed(), 1000, 6);
  EXPECT_THAT(large.Neighbours(1), ElementsAre(186, 284, 620, 746, 774, 877));
  EXPECT_THAT(large.Neighbours(500), ElementsAre(422, 495, 711, 862, 907, 969));
  EXPECT_THAT(Graph(CountingSeed(), kGraphMembersMax, 4).Neighbours(kGraphMembersMax), ElementsAre(25371, 42511, 47029, 50920));
}

TEST(Graph, StrangersAreNobodysNeighbours) {
  const Graph graph(CountingSeed(), 10, 4);
  for (const std::uint32_t stranger : {0u, 11u, 0xFFFFFFFFu}) {
    EXPECT_THAT(graph.Neighbours(stranger), IsEmpty());
    EXPECT_FALSE(graph.AreNeighbours(stranger, 1));
    EXPECT_FALSE(graph.AreNeighbours(1, stranger));
    EXPECT_EQ(graph.Slot(1, stranger), 0u);
    EXPECT_EQ(graph.Slot(stranger, 1), 0u);
  }
}

TEST(Graph, EveryBitOfTheSeedCounts) {
  const auto drawn = [](const Seed& seed) {
    const Graph graph(seed, 100, 4);
    std::vector<std::vector<std::uint32_t>> all;
    for (std::uint32_t member = 1; member <= 100; ++member) all.push_back(graph.Neighbours(member));
    return all;
  };
  const auto first = drawn(CountingSeed());
  EXPECT_EQ(drawn(CountingSeed()), first);
  for (std::size_t bit = 0; bit < 256; ++bit) {
    Seed seed = CountingSeed();
    seed[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    EXPECT_NE(drawn(seed), first) << bit;
  }
}

// Five members have 4!/2 = 12 rings; each must come up as often: chi-square with 11 degrees of freedom, its 0.999 quantile.
TEST(Graph, RingsAreUniform) {
  SeededRandom random(7);
  std::map<std::vector<bool>, int> counts;
  constexpr int kDraws = 24'000;
  for (int i = 0; i < kDraws; ++i) {
    const Graph graph(RandomSeed(random), 5, 2);
    std::vector<bool> edges;
    for (std::uint32_t one = 1; one <= 5; ++one)
      for (std::uint32_t other = one + 1; other <= 5; ++other) edges.push_back(graph.AreNeighbours(one, other));
    ++counts[edges];
  }
  ASSERT_EQ(counts.size(), 12u);
  double chi_square = 0;
  for (const auto& [edges, count] : counts) chi_square += (count - kDraws / 12.0) * (count - kDraws / 12.0) / (kDraws / 12.0);
  EXPECT_LT(chi_square, 31.26);
}

}  // namespace
}  // namespace edgefleet::secagg
