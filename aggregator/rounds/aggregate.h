// From masked updates in the spool to the average update: sum, unmask, add noise, divide.
#pragma once

#include <string>
#include <vector>

#include "aggregator/aggregation/update_spool.h"
#include "aggregator/rounds/task.h"
#include "base/executor.h"
#include "base/random.h"
#include "secagg/encoding.h"
#include "secagg/server.h"

namespace edgefleet::rounds {

struct AggregateInput {
  secagg::Server& server;  // can unmask
  const aggregation::UpdateSpool& spool;
  std::string round_id;
  std::vector<std::string> survivors;  // device ids: those whose uploads the server was told of
  std::uint64_t vector_length = 0;
  secagg::Encoding encoding;
  PrivacySpec privacy;
  RandomSource& random;  // cryptographically secure
  ThreadPool* pool = nullptr;
};

struct Aggregate {
  std::vector<float> average;
  std::uint64_t examples = 0;
};

// Blocks; holds two vectors of the model's size. Errors of aggregation::MaskedSum, secagg::Server::Unmask and
// secagg::DecodeSum.
Result<Aggregate> AggregateUpdates(const AggregateInput& input);

// base + rate * average, in place. INVALID_ARGUMENT [LAYOUT_CHANGED] for different sizes, DATA_LOSS [NOT_FINITE] if a value
// leaves the range of fp32.
Status ApplyAverage(std::vector<float>& base, const std::vector<float>& average, double rate);

}  // namespace edgefleet::rounds
