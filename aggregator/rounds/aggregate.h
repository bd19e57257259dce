// From the sum of masked updates to the average update: unmask, add noise, divide.
#pragma once

#include <vector>

#include "aggregator/aggregation/running_sum.h"
#include "aggregator/rounds/task.h"
#include "base/executor.h"
#include "base/random.h"
#include "secagg/encoding.h"
#include "secagg/server.h"

namespace edgefleet::rounds {

struct AggregateInput {
  secagg::Server& server;        // can unmask
  aggregation::RunningSum& sum;  // finished, of exactly the uploads that the server was told of; closed when it was read
  std::uint64_t parameters = 0;  // of the model
  secagg::Encoding encoding;
  PrivacySpec privacy;
  RandomSource& random;  // cryptographically secure
  ThreadPool* pool = nullptr;
};

struct Aggregate {
  std::vector<float> average;
  std::uint64_t examples = 0;
};

// Blocks; holds two vectors of the model's size. INTERNAL [SUM_MISMATCH], and the errors of secagg::Server::Unmask and
// secagg::DecodeSum.
Result<Aggregate> AggregateUpdates(const AggregateInput& input);

// base + rate * average, in place. INVALID_ARGUMENT [LAYOUT_CHANGED] for different sizes, DATA_LOSS [NOT_FINITE] if a value
// leaves the range of fp32.
Status ApplyAverage(std::vector<float>& base, const std::vector<float>& average, double rate);

}  // namespace edgefleet::rounds
