// The parts of the runtime's benchmark.
#pragma once

#include "load_tests/bench/bench.h"

namespace edgefleet::load_tests {

// What one core can do at most.
nlohmann::json PeaksSection(const BenchSize& size);
// Each against ONNX Runtime on one thread, fp32 and int8, and as a share of the core's peak.
nlohmann::json MobileNetSection(const BenchSize& size);
nlohmann::json FedAvgCnnSection(const BenchSize& size);
nlohmann::json FedAvg2nnSection(const BenchSize& size);
nlohmann::json GemmSection(const BenchSize& size);
// A 100 MB model from its file to the first inference, in a process of its own.
nlohmann::json ColdOpenSection(const BenchSize& size);
// The models of npm packages beside ONNX Runtime: outputs and times.
nlohmann::json RealModelsSection(const BenchSize& size);

}  // namespace edgefleet::load_tests
