#include "device_client/runtime/ops/gather.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime::testing {
namespace {

using ::testing::ElementsAre;

constexpr auto kInt64Min = std::numeric_limits<std::int64_t>::min();

Operator Elements(ScatterKind kind, std::int32_t axis = 0) { return ScatterElements{axis, kind}; }

TEST(Gather, Rows) {
  const Value x = Floats({3, 2}, {1.0F, 1.2F, 2.3F, 3.4F, 4.5F, 5.7F});
  const Value y = Evaluate(Gather{0}, {x, Longs({2, 2}, {0, 1, 1, -1})});
  EXPECT_EQ(y.shape(), Shape({2, 2, 2}));
  EXPECT_THAT(y.as<float>(), ElementsAre(1.0F, 1.2F, 2.3F, 3.4F, 2.3F, 3.4F, 4.5F, 5.7F));
}

TEST(Gather, ColumnsAndScalars) {
  const Value x = Floats({2, 3}, {0, 1, 2, 3, 4, 5});
  EXPECT_THAT(Evaluate(Gather{-1}, {x, Of<std::int32_t>({2}, {2, -3})}).as<float>(), ElementsAre(2, 0, 5, 3));
  const Value y = Evaluate(Gather{1}, {x, Longs({}, {1})});
  EXPECT_EQ(y.shape(), Shape({2}));
  EXPECT_THAT(y.as<float>(), ElementsAre(1, 4));
  EXPECT_EQ(Evaluate(Gather{0}, {x, Longs(std::vector<std::int64_t>{})}).shape(), Shape({0, 3}));
}

TEST(Gather, Refuses) {
  const Value x = Floats({2, 3}, {0, 1, 2, 3, 4, 5});
  for (const std::int64_t index : {std::int64_t{2}, std::int64_t{-3}, kInt64Min}) {
    EXPECT_EQ(Inferred(Gather{0}, {x, Longs({index})}).error().reason(), "BAD_INDEX");
    EXPECT_EQ(Failure(Gather{0}, {x, Unknown(Longs({index}))}), "BAD_INDEX");
  }
  EXPECT_EQ(Failure(Gather{0}, {Floats({0}, {}), Longs({0})}), "BAD_INDEX");
  EXPECT_EQ(Failure(Gather{2}, {x, Longs({0})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Gather{0}, {x, Floats({1}, {0})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Gather{0}, {Floats({}, {1}), Longs({0})}), "GRAPH_NODE");
}

TEST(GatherElements, AlongTheAxis) {
  const Value x = Floats({3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Value y = Evaluate(GatherElements{0}, {x, Longs({2, 3}, {1, 2, 0, 2, 0, 0})});
  EXPECT_EQ(y.shape(), Shape({2, 3}));
  EXPECT_THAT(y.as<float>(), ElementsAre(4, 8, 3, 7, 2, 3));
  EXPECT_THAT(Evaluate(GatherElements{1}, {Floats({2, 2}, {1, 2, 3, 4}), Longs({2, 2}, {0, 0, 1, 0})}).as<float>(),
              ElementsAre(1, 1, 4, 3));
  EXPECT_THAT(Evaluate(GatherElements{-1}, {x, Longs({1, 4}, {-1, 0, -1, 0})}).as<float>(), ElementsAre(3, 1, 3, 1));
  EXPECT_EQ(Failure(GatherElements{0}, {x, Longs({1, 1}, {3})}), "BAD_INDEX");
  EXPECT_EQ(Failure(GatherElements{0}, {x, Longs({1, 4}, {0, 0, 0, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(GatherElements{0}, {x, Longs({0})}), "GRAPH_SHAPE");
}

TEST(GatherNd, Tuples) {
  const Value x = Of<std::int32_t>({2, 2}, {0, 1, 2, 3});
  EXPECT_THAT(Evaluate(GatherNd{}, {x, Longs({2, 2}, {0, 0, 1, -1})}).as<std::int32_t>(), ElementsAre(0, 3));
  EXPECT_THAT(Evaluate(GatherNd{}, {x, Longs({2, 1}, {1, 0})}).as<std::int32_t>(), ElementsAre(2, 3, 0, 1));
  const Value cube = Of<std::int32_t>({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  const Value batched = Evaluate(GatherNd{1}, {cube, Longs({2, 1}, {1, 0})});
  EXPECT_EQ(batched.shape(), Shape({2, 2}));
  EXPECT_THAT(batched.as<std::int32_t>(), ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(Evaluate(GatherNd{}, {cube, Longs({2, 1, 2}, {0, 1, 1, 0})}).as<std::int32_t>(), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(Failure(GatherNd{}, {x, Longs({1, 2}, {0, 2})}), "BAD_INDEX");
  EXPECT_EQ(Failure(GatherNd{}, {x, Longs({1, 3}, {0, 0, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(GatherNd{}, {x, Longs({1, 0}, {})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(GatherNd{}, {x, Longs({}, {0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(GatherNd{1}, {cube, Longs({3, 1}, {1, 0, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(GatherNd{2}, {x, Longs({2, 2, 1}, {0, 0, 0, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(GatherNd{-1}, {x, Longs({2, 1}, {0, 0})}), "GRAPH_NODE");
}

TEST(ScatterElements, Sets) {
  const Value y = Evaluate(
      Elements(ScatterKind::kSet),
      {Floats({3, 3}, std::vector<float>(9, 0)), Longs({2, 3}, {1, 0, 2, 0, 2, 1}), Floats({2, 3}, {1, 2, 3, 4, 5, 6})});
  EXPECT_THAT(y.as<float>(), ElementsAre(4, 2, 0, 1, 0, 6, 0, 5, 3));
  EXPECT_THAT(Evaluate(Elements(ScatterKind::kSet, 1),
                       {Of<bool>({1, 3}, {false, false, false}), Longs({1, 1}, {-1}), Of<bool>({1, 1}, {true})})
                  .as<bool>(),
              ElementsAre(false, false, true));
}

TEST(ScatterElements, Combines) {
  const auto combined = [](ScatterKind kind) {
    return Evaluate(Elements(kind, 1), {Floats({1, 3}, {1, 2, 3}), Longs({1, 3}, {1, 1, 0}), Floats({1, 3}, {5, -4, 2})})
        .as<float>();
  };
  EXPECT_THAT(combined(ScatterKind::kSet), ElementsAre(2, -4, 3));
  EXPECT_THAT(combined(ScatterKind::kAdd), ElementsAre(3, 3, 3));
  EXPECT_THAT(combined(ScatterKind::kMul), ElementsAre(2, -40, 3));
  EXPECT_THAT(combined(ScatterKind::kMax), ElementsAre(2, 5, 3));
  EXPECT_THAT(combined(ScatterKind::kMin), ElementsAre(1, -4, 3));
  EXPECT_THAT(Evaluate(Elements(ScatterKind::kMul), {Of<std::int8_t>({1}, {100}), Longs({0}), Of<std::int8_t>({1}, {2})})
                  .as<std::int8_t>(),
              ElementsAre(-56));
  EXPECT_THAT(Evaluate(Elements(ScatterKind::kAdd), {Longs({kInt64Min}), Longs({0}), Longs({-1})}).as<std::int64_t>(),
              ElementsAre(std::numeric_limits<std::int64_t>::max()));
  const Value sum = Evaluate(Elements(ScatterKind::kAdd),
                             {Of<BFloat16>({1}, {ToBFloat16(1)}), Longs({0}), Of<BFloat16>({1}, {ToBFloat16(0.5F)})});
  EXPECT_EQ(ToFloat(sum.as<BFloat16>()[0]), 1.5F);
}

TEST(ScatterElements, Refuses) {
  const Value x = Floats({2}, {1, 2});
  EXPECT_EQ(Failure(Elements(ScatterKind::kSet), {x, Unknown(Longs({2})), Floats({1}, {1})}), "BAD_INDEX");
  EXPECT_EQ(Failure(Elements(ScatterKind::kSet), {x, Longs({0}), Floats({2}, {1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Elements(ScatterKind::kSet), {x, Longs({0}), Longs({1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Elements(static_cast<ScatterKind>(7)), {x, Longs({0}), Floats({1}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Elements(ScatterKind::kAdd), {Of<bool>({1}, {true}), Longs({0}), Of<bool>({1}, {true})}), "GRAPH_TYPE");
  const Value q = Of<std::int8_t>({1}, {1}, Quantization{{1}, {0}, -1});
  EXPECT_EQ(Failure(Elements(ScatterKind::kAdd), {q, Longs({0}), q}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Elements(ScatterKind::kMax), {q, Longs({0}), q}), "");
}

TEST(ScatterNd, Slices) {
  const Value x = Floats({4}, {1, 2, 3, 4});
  EXPECT_THAT(Evaluate(ScatterNd{}, {x, Longs({2, 1}, {3, -4}), Floats({2}, {9, 8})}).as<float>(), ElementsAre(8, 2, 3, 9));
  EXPECT_THAT(Evaluate(ScatterNd{ScatterKind::kAdd},
                       {Floats({2, 2}, {1, 2, 3, 4}), Longs({2, 1}, {0, 0}), Floats({2, 2}, {1, 1, 5, 5})})
                  .as<float>(),
              ElementsAre(7, 8, 3, 4));
  EXPECT_EQ(Failure(ScatterNd{}, {x, Longs({1, 1}, {4}), Floats({1}, {9})}), "BAD_INDEX");
  EXPECT_EQ(Failure(ScatterNd{}, {x, Longs({1, 1}, {0}), Floats({1, 1}, {9})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(ScatterNd{}, {x, Longs({1, 2}, {0, 0}), Floats({1}, {9})}), "GRAPH_SHAPE");
}

}  // namespace
}  // namespace edgefleet::runtime::testing
