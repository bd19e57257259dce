// What a round is given: the ports it works with and what it is to do.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "aggregator/aggregation/update_spool.h"
#include "aggregator/rounds/ports.h"
#include "aggregator/rounds/round_store.h"
#include "base/crypto/crypto.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/random.h"

namespace edgefleet::rounds {

// What a round works with; all of it outlives the round.
struct RoundPorts {
  RoundStore& store;
  ModelGateway& models;
  CohortGateway& cohorts;
  aggregation::UpdateSpool& spool;
  const Clock& clock;
  Timer& timer;
  ThreadPool& control;
  ThreadPool& work;
  RandomSource& random;  // thread-safe and cryptographically secure
  Logger& logger;
  std::filesystem::path candidates;                          // folder for parameters that are about to be committed
  std::filesystem::path rounds;                              // folder for the journals of rounds
  std::filesystem::path transcripts;                         // folder for the transcripts of rounds
  std::uint64_t transcripts_bytes_max = 10ULL << 30;         // beyond it the oldest of ended rounds are removed
  const crypto::Ed25519SecretKey* transcript_key = nullptr;  // signs transcripts
  std::vector<crypto::Ed25519PublicKey> enrolment_keys;      // whose certificates devices need in active rounds
};

struct RoundPlan {
  Task task;
  Round record;  // as stored; not final
  ModelInfo base;
  secagg::Encoding encoding;
  secagg::EncodedShape shape;  // of `encoding` and `base`
  Lease lease;
  std::optional<ModelMetrics> base_metrics;  // of the base version, if known already
};

}  // namespace edgefleet::rounds
