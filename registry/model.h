// The registry's nouns. Plain data; times are Unix milliseconds, sizes bytes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto/crypto.h"

namespace edgefleet::registry {

using Digest = crypto::Sha256Digest;
using Tags = std::map<std::string, std::string>;

enum class ArtifactKind : std::uint8_t { kOnnx = 1, kCalibration = 2, kEvaluation = 3 };

struct ArtifactSpec {
  ArtifactKind kind = ArtifactKind::kOnnx;
  std::uint64_t size = 0;
  Digest sha256{};
  bool operator==(const ArtifactSpec&) const = default;
};

struct ArtifactState {
  ArtifactKind kind = ArtifactKind::kOnnx;
  std::uint64_t received = 0;  // bytes held durably; the next offset to send
  std::uint64_t size = 0;
  bool complete = false;  // all is there and the checksum is right
};

struct PublishOptions {
  double accuracy_drop_points_max = 1.0;
};

// What a team wants to publish.
struct PublishRequest {
  std::string model;
  std::vector<ArtifactSpec> artifacts;
  Tags tags;
  PublishOptions options;
  std::uint64_t parent_version = 0;
};

// An upload in progress, as the store keeps it; the bytes are in files.
struct Session {
  std::string upload_id;
  PublishRequest request;
  std::int64_t expires_unix_ms = 0;
  std::uint64_t committed_version = 0;  // 0: not yet
};

// The same, as the one who uploads sees it.
struct SessionState {
  std::string upload_id;
  std::string model;
  std::vector<ArtifactState> artifacts;
  std::int64_t expires_unix_ms = 0;
};

enum class VersionState : std::uint8_t { kCompiling = 1, kReady = 2, kRefused = 3 };

struct Metrics {
  std::uint64_t examples = 0;
  double accuracy = 0;  // top-1, in [0, 1]
  double loss = 0;      // mean cross-entropy, nats
  bool operator==(const Metrics&) const = default;
};

struct Variant {
  std::string name;
  std::string precision;
  Digest sha256{};
  std::uint64_t size = 0;
  std::optional<Metrics> metrics;
  bool trainable = false;
  bool operator==(const Variant&) const = default;
};

// Where a version came from; all zero when it was published from outside.
struct Lineage {
  std::uint64_t parent_version = 0;
  std::string task_id;
  std::string round_id;
  std::uint64_t round_number = 0;
  std::uint32_t participants = 0;
  std::uint32_t dropouts = 0;
  double epsilon_spent = 0;
  double delta = 0;
  bool operator==(const Lineage&) const = default;
};

// What a version is compiled from, by content.
struct Inputs {
  Digest onnx{};
  std::optional<Digest> calibration;
  std::optional<Digest> evaluation;
  std::optional<Digest> parameters;  // raw little-endian fp32, in place of the network's own
  PublishOptions options;
};

struct VersionKey {
  std::string model;
  std::uint64_t version = 0;
  auto operator<=>(const VersionKey&) const = default;
};

// What compiling yields, and what becomes visible all at once when a version turns READY or REFUSED.
struct Outcome {
  VersionState state = VersionState::kRefused;
  std::string refusal;
  std::vector<Variant> variants;
  std::uint64_t parameter_count = 0;
  Digest layout_sha256{};
  std::string report_json;  // empty: none
};

struct Version {
  VersionKey key;
  VersionState state = VersionState::kCompiling;
  std::string stage;
  std::string refusal;
  std::vector<Variant> variants;
  Tags tags;
  Lineage lineage;
  std::vector<std::string> aliases;
  std::int64_t created_unix_ms = 0;
  std::uint64_t parameter_count = 0;
  Digest layout_sha256{};
  Inputs inputs;

  const Variant* FindVariant(std::string_view name) const {
    for (const Variant& variant : variants) {
      if (variant.name == name) return &variant;
    }
    return nullptr;
  }
};

struct Alias {
  std::string name;
  std::uint64_t version = 0;
  std::uint64_t sequence = 0;            // of the manifest; grows by one whenever there is a new one
  std::uint64_t published_sequence = 0;  // the newest that the origin is known to have
  std::int64_t signed_unix_ms = 0;       // when `sequence` was given
};

struct Model {
  std::string name;
  std::vector<Alias> aliases;
  std::uint64_t latest_version = 0;
  std::int64_t created_unix_ms = 0;
};

// "<model>/<alias>.json", "<model>/versions/<n>.json": below the origin's /manifests/.
inline std::string AliasManifestPath(std::string_view model, std::string_view alias) {
  return std::string(model) + "/" + std::string(alias) + ".json";
}
inline std::string VersionManifestPath(const VersionKey& key) {
  return key.model + "/versions/" + std::to_string(key.version) + ".json";
}

}  // namespace edgefleet::registry
