// What the commands on model files have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/session.h"

namespace edgefleet::cli {

// How a model is run here: --delegate and --threads.
struct ExecutionSpec {
  std::string delegate = "onednn";
  int threads = 1;
};
void AddExecutionOptions(CLI::App& command, ExecutionSpec& spec);

// Maps and checks an .efm file.
Result<std::shared_ptr<const runtime::Graph>> LoadModel(const std::string& path);

// `sizes` are those of other dynamic dimensions than the examples', by symbol. Errors of Session::Create.
Result<std::unique_ptr<runtime::Session>> MakeSession(std::shared_ptr<const runtime::Graph> graph, const ExecutionSpec& spec,
                                                      std::int64_t batch, std::map<std::string, std::int64_t> sizes = {});

// "onednn, 100.00 % of the nodes"
std::string DelegateText(const runtime::SessionInfo& info);

class Stopwatch {
 public:
  double Milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace edgefleet::cli
