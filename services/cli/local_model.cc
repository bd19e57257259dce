#include "services/cli/local_model.h"

#include <utility>

#include "base/file.h"
#include "device_client/runtime/format/efm.h"
#include "services/cli/output.h"

namespace edgefleet::cli {
namespace {

constexpr std::size_t kSessionBytesMax = std::size_t{4} << 30;

}  // namespace

void AddExecutionOptions(CLI::App& command, ExecutionSpec& spec) {
  command.add_option("--delegate", spec.delegate, "onednn or reference")->capture_default_str();
  command.add_option("--threads", spec.threads, "1 to 64")->capture_default_str()->check(CLI::Range(1, 64));
}

Result<std::shared_ptr<const runtime::Graph>> LoadModel(const std::string& path) {
  EF_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  auto graph = runtime::LoadEfm(std::move(file));
  if (!graph) return MakeError(std::move(graph).error().Annotate(path));
  return std::make_shared<const runtime::Graph>(*std::move(graph));
}

Result<std::unique_ptr<runtime::Session>> MakeSession(std::shared_ptr<const runtime::Graph> graph, const ExecutionSpec& spec,
                                                      std::int64_t batch, std::map<std::string, std::int64_t> sizes) {
  runtime::SessionOptions options;
  options.delegate = spec.delegate;
  options.threads = spec.threads;
  options.batch = batch;
  options.sizes = std::move(sizes);
  options.memory_bytes_max = kSessionBytesMax;
  return runtime::Session::Create(std::move(graph), std::move(options));
}

std::string DelegateText(const runtime::SessionInfo& info) {
  return info.delegate + ", " + FormatPercent(info.coverage) + " of the nodes";
}

}  // namespace edgefleet::cli
