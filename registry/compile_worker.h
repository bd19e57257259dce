// Compiles every version that is COMPILING, in the order they came, until it is READY or REFUSED.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>

#include "base/executor.h"
#include "base/log.h"
#include "base/metrics.h"
#include "registry/backoff.h"
#include "registry/compiler/compiler.h"
#include "registry/releases.h"
#include "registry/watchers.h"

namespace edgefleet::registry {

// What turns artifacts into variants; the real one wraps registry/compiler and device_client/runtime.
struct Toolchain {
  std::function<Result<compiler::CompileOutput>(const compiler::CompileInput&)> compile;
  std::function<Result<compiler::Metrics>(ByteView efm, std::span<const float> parameters, ByteView evaluation)> evaluate;
  std::function<Result<std::vector<float>>(std::shared_ptr<const MappedFile> efm)> read_parameters;
};

// The queue is the store itself: what is COMPILING there is to be done, also after a restart, so nothing is lost when the
// pool's queue is full or the process dies. A version whose compile was interrupted is compiled again from its durable inputs.
// Thread-safe.
class CompileWorker {
 public:
  struct Dependencies {
    MetadataStore& store;
    ArtifactStore& artifacts;
    Releases& releases;
    Watchers& watchers;
    const Toolchain& toolchain;
    Logger& logger;
    edgefleet::Metrics& metrics;
  };
  CompileWorker(const Dependencies& dependencies, std::size_t threads, const BackoffOptions& backoff);
  ~CompileWorker() { Stop(); }

  // Looks for work. Never blocks.
  void Wake();
  // Interrupts waiting; nothing new is begun.
  void Drain();
  // Drains, lets a compile that runs come to its end, joins.
  void Stop();

 private:
  void Work();
  Result<std::optional<VersionKey>> TakeNext();
  Status Process(const VersionKey& key);
  Result<Outcome> Build(const Version& version);
  Result<Outcome> Keep(const compiler::CompileOutput& output);
  void SetStage(const VersionKey& key, std::string_view stage);
  Status Notify(const VersionKey& key);

  const Dependencies deps_;
  Backoff backoff_;
  std::mutex mutex_;
  std::set<VersionKey> taken_;
  ThreadPool pool_;  // last: its threads use the others
};

}  // namespace edgefleet::registry
