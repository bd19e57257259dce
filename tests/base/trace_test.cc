#include "base/trace.h"

#include <gtest/gtest.h>

namespace edgefleet {
namespace {

constexpr char kHeader[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(Trace, RoundTripsTheHeader) {
  const auto trace = TraceContext::Parse(kHeader);
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->ToTraceparent(), kHeader);
  EXPECT_EQ(trace->TraceIdHex(), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_TRUE(trace->sampled);
}

TEST(Trace, RefusesWhatTheSpecificationRefuses) {
  for (const char* bad : {
           "",
           "00",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
           "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",       // forbidden version
           "00-00000000000000000000000000000000-b7ad6b7169203331-01",       // no trace id
           "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",       // no span id
           "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",       // upper case
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",  // version 00 has no more
           "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
       }) {
    EXPECT_FALSE(TraceContext::Parse(bad)) << bad;
  }
  EXPECT_TRUE(TraceContext::Parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-future"));
}

TEST(Trace, ChildKeepsTheTraceAndScopesNest) {
  SeededRandom random(1);
  const auto outer = TraceContext::Generate(random);
  const auto inner = outer.Child(random);
  EXPECT_EQ(inner.trace_id, outer.trace_id);
  EXPECT_NE(inner.span_id, outer.span_id);
  EXPECT_FALSE(CurrentTrace());
  {
    TraceScope first(outer);
    {
      TraceScope second(inner);
      EXPECT_EQ(CurrentTrace()->span_id, inner.span_id);
    }
    EXPECT_EQ(CurrentTrace()->span_id, outer.span_id);
  }
  EXPECT_FALSE(CurrentTrace());
}

}  // namespace
}  // namespace edgefleet
