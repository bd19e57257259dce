// A small federated task that tests start from.
#pragma once

#include "aggregator/rounds/task.h"

namespace edgefleet::rounds {

inline TaskSpec SampleSpec() {
  TaskSpec spec;
  spec.model = "fashion";
  spec.alias = "stable";
  spec.rounds = 1;
  spec.cohort.cohort_size = 20;
  spec.cohort.over_provision = 1;
  spec.cohort.stratify_by = {"class", "region"};
  spec.cohort.device_classes = {"phone", "hub"};
  spec.cohort.seed = 0xFEDCBA9876543210ULL;
  spec.participants_min = 5;
  spec.epochs = 1;
  spec.batch_size = 10;
  spec.learning_rate = 0.1;
  spec.example_count_max = 100;
  spec.training_ms_max = 30'000;
  spec.privacy = {.clip_norm = 1, .noise_multiplier = 0, .delta = 1e-5, .epsilon_max = 0};
  spec.secure_aggregation.dropout_fraction = 0.35;  // 7 of 20
  return spec;
}

// One that bears dropouts, and rounds that fail.
inline TaskSpec SturdySpec(secagg::Adversary adversary = secagg::Adversary::kSemiHonest) {
  TaskSpec spec = SampleSpec();
  spec.participants_min = 8;
  spec.failed_rounds_max = 3;
  spec.secure_aggregation.adversary = adversary;
  return spec;
}

}  // namespace edgefleet::rounds
