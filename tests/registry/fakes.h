// An origin in memory and a compiler that needs no network, for tests of the registry's domain.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "base/file.h"
#include "registry/compile_worker.h"
#include "registry/distribution.h"

namespace edgefleet::registry {

// Thread-safe. Refuses what the real one refuses.
class FakeDistribution final : public Distribution {
 public:
  Status PutBlob(const Digest& sha256, const std::filesystem::path& file) override {
    std::lock_guard lock(mutex_);
    if (Status away = Away(); !away.ok()) return away;
    EF_ASSIGN_OR_RETURN(const Bytes content, ReadFile(file, 1 << 20));
    if (crypto::Sha256(content) != sha256) return DataLoss("CHECKSUM_MISMATCH", "the blob is not what its digest says");
    blobs_.insert(sha256);
    return OkStatus();
  }
  Result<Delta> MakeDelta(const Digest& from, const Digest& to) override {
    std::lock_guard lock(mutex_);
    EF_RETURN_IF_ERROR(Away());
    if (!blobs_.contains(from) || !blobs_.contains(to)) return NotFound("BLOB_UNKNOWN", "one of the blobs is not stored");
    return Delta{from, crypto::Sha256(AsBytes(HexEncode(from) + HexEncode(to))), delta_size};
  }
  Status Publish(const Release& release) override {
    std::lock_guard lock(mutex_);
    EF_RETURN_IF_ERROR(Away());
    for (const ReleaseTarget& target : release.targets) {
      if (!blobs_.contains(target.variant.sha256)) return InvalidArgument("BAD_MANIFEST", "a target's file is not stored");
    }
    const auto found = releases_.find(release.path);
    if (found != releases_.end() && found->second.sequence > release.sequence) {
      return FailedPrecondition("STALE_SEQUENCE", "a newer manifest is there");
    }
    releases_[release.path] = release;
    return OkStatus();
  }

  // The next `calls` calls fail as if the origin were down; negative: until set again.
  void SetAway(int calls) {
    std::lock_guard lock(mutex_);
    away_ = calls;
  }
  std::optional<Release> Find(const std::string& path) {
    std::lock_guard lock(mutex_);
    const auto found = releases_.find(path);
    return found == releases_.end() ? std::nullopt : std::optional<Release>(found->second);
  }
  std::uint64_t delta_size = 1;

 private:
  Status Away() {
    if (away_ == 0) return OkStatus();
    if (away_ > 0) --away_;
    return Unavailable("UNREACHABLE", "the origin is down");
  }

  std::mutex mutex_;
  int away_ = 0;
  std::set<Digest> blobs_;
  std::map<std::string, Release> releases_;
};

// Its "networks" are texts: "refuse ..." is refused, "bad ..." is no network, anything else has three parameters: those given,
// or 1, 2, 3. A gate can hold compiles until it is opened.
class FakeToolchain {
 public:
  Toolchain Make() {
    return {.compile = [this](const compiler::CompileInput& input) { return Compile(input); },
            .evaluate = [](ByteView, std::span<const float> parameters, ByteView evaluation) -> Result<compiler::Metrics> {
              return compiler::Metrics{evaluation.size(), 0.5, static_cast<double>(parameters[0])};
            },
            .read_parameters = [](std::shared_ptr<const MappedFile> efm) -> Result<std::vector<float>> {
              std::vector<float> values(3);
              std::memcpy(values.data(), efm->bytes().data(), 12);
              return values;
            }};
  }

  static Digest Layout() { return crypto::Sha256(AsBytes("layout")); }

  void CloseGate() {
    std::lock_guard lock(mutex_);
    open_ = false;
  }
  void OpenGate() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void WaitUntilCompiling() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  int compiles() {
    std::lock_guard lock(mutex_);
    return compiles_;
  }

 private:
  Result<compiler::CompileOutput> Compile(const compiler::CompileInput& input) {
    input.on_stage("import");
    {
      std::unique_lock lock(mutex_);
      ++compiles_;
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
      --waiting_;
    }
    const std::string text = ToString(input.onnx);
    if (text.starts_with("bad")) return InvalidArgument("BAD_ONNX", "node '\xff\x01' is not known");
    compiler::CompileOutput output;
    output.report_json = "{\"network\": \"" + text + "\"}";
    output.parameter_count = 3;
    output.layout_sha256 = Layout();
    if (text.starts_with("refuse")) output.refusal = "int8 loses 4.2 points; at most 1 is allowed";
    const std::vector<float> values =
        input.parameters ? std::vector<float>(input.parameters->begin(), input.parameters->end()) : std::vector<float>{1, 2, 3};
    for (const char* name : {"fp32", "int8"}) {
      const std::string_view label = name;
      Bytes efm(12);
      std::memcpy(efm.data(), values.data(), 12);
      for (const char c : text + std::string(label)) efm.push_back(static_cast<std::byte>(c));
      output.variants.push_back({name, name, efm, std::nullopt, label == "fp32"});
      if (!input.evaluation.empty()) output.variants.back().metrics = compiler::Metrics{10, 0.9, 0.3};
    }
    return output;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int waiting_ = 0;
  int compiles_ = 0;
};

}  // namespace edgefleet::registry
