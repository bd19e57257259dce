#include "base/status.h"

#include <gtest/gtest.h>

namespace edgefleet {
namespace {

using std::chrono::milliseconds;

Status Fails() { return NotFound("THING_MISSING", "no thing"); }
Result<int> FailsWithValue() { return ResourceExhausted("BUSY", "later").RetryAfter(milliseconds(250)); }
Result<int> Doubles(Result<int> input) {
  EF_ASSIGN_OR_RETURN(const int value, std::move(input));
  return value * 2;
}
Result<int> Propagates(Status status) {
  EF_RETURN_IF_ERROR(std::move(status));
  return 1;
}

TEST(Status, CarriesCodeReasonAndMessage) {
  const Status status = Fails();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.ToString(), "NOT_FOUND [THING_MISSING]: no thing");
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().ToString(), "OK");
}

TEST(Status, PassesThroughResultsWithItsRetryHint) {
  const auto result = Doubles(FailsWithValue());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason(), "BUSY");
  EXPECT_EQ(result.error().retry_after(), milliseconds(250));
  EXPECT_EQ(Doubles(21).value(), 42);
}

TEST(Status, ReturnIfErrorLeavesOnlyOnErrors) {
  EXPECT_EQ(Propagates(OkStatus()).value(), 1);
  EXPECT_EQ(Propagates(Fails()).error().code(), StatusCode::kNotFound);
}

TEST(Status, AnnotateKeepsTheReason) {
  const Status status = Fails().Annotate("while looking");
  EXPECT_EQ(status.message(), "while looking: no thing");
  EXPECT_EQ(status.reason(), "THING_MISSING");
}

}  // namespace
}  // namespace edgefleet
