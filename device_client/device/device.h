// libedgefleet_device: keeps a device's model up to date, runs it, and lets the device take part in federated rounds.
//
// Everything a Device needs is on disk below `state_dir`: after one successful update it opens, infers and trains without a
// network. All calls block and start no thread of their own. Infer may be called from several threads at once, also while
// Update runs (an inference keeps the model it began with); Update and Participate have one caller at a time each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/crypto/crypto.h"
#include "base/log.h"
#include "base/status.h"
#include "device_client/federated/control.h"
#include "device_client/federated/fleet_gateway.h"
#include "device_client/runtime/cache/load_mode.h"
#include "device_client/runtime/evaluate.h"
#include "secagg/client.h"

namespace edgefleet::device {

// When this device may train: its own say, before and besides the server's criteria.
struct TrainingPolicy {
  std::uint32_t battery_percent_min = 30;  // ignored while charging
  bool require_unmetered = true;
  bool require_idle = true;
};

struct DeviceOptions {
  std::filesystem::path state_dir;  // created when missing; one process at a time
  std::string device_id;            // 1 to 64 characters of [A-Za-z0-9._-]
  std::string device_class;         // class, region, os: [a-z0-9][a-z0-9._-]{0,62}
  std::string region;
  std::string os = "linux";
  std::string model;  // followed through `alias`
  std::string alias = "stable";
  std::string variant = "int8";                        // what this device infers with
  std::string origin_url;                              // "http://host:port"
  std::string fleet_address;                           // the selector's gRPC target, "host:port"; empty: no federated part
  std::vector<crypto::Ed25519PublicKey> trusted_keys;  // that sign manifests; at least one
  std::string delegate = "onednn";                     // or "reference"
  int threads = 1;                                     // for inference and training each
  // Models that are loaded for inference: weights as the mode counts them, and sessions (one for each call of Infer that runs
  // at the same time). A version that does not fit beside the active one is not installed.
  std::size_t model_memory_bytes_max = std::size_t{512} << 20;
  runtime::LoadMode load_mode = runtime::LoadMode::kMapped;
  TrainingPolicy training_policy;
  // What this device insists on in a round, whatever the fleet offers; `authorities` are the enrolment keys it trusts, without
  // which it takes part in no active round.
  secagg::ClientPolicy secure_aggregation;
  std::filesystem::path identity_certificate;  // 128 hexadecimal digits; empty: state_dir/identity.cert
};

// What the library uses of its host; what is left empty gets the production part. All must outlive the Device.
struct DeviceHost {
  const Clock* clock = nullptr;
  Logger* logger = nullptr;
  std::unique_ptr<FleetGateway> fleet;  // in place of gRPC to `fleet_address`
};

struct ActiveModel {
  std::string model;
  std::uint64_t version = 0;
  std::string variant;
  std::filesystem::path file;
};

struct UpdateResult {
  bool changed = false;
  std::uint64_t from_version = 0;  // 0: none before
  std::uint64_t to_version = 0;
  bool by_delta = false;
  std::uint64_t bytes_transferred = 0;
};

struct Participation {
  enum class Kind {
    kNotNow,       // this device's policy says no; see `reason`
    kRejected,     // the fleet has no work for it
    kContributed,  // its update went into a round
    kNotCounted,   // it took part, but the round failed or went on without it
  } kind = Kind::kNotNow;
  std::string round_id;
  std::string reason;  // stable
  std::string detail;
  std::chrono::milliseconds retry_after{0};  // do not call again sooner
};

class Device {
 public:
  // Needs no network. FAILED_PRECONDITION [STATE_DIR_IN_USE] when another process holds the folder, INVALID_ARGUMENT
  // [BAD_OPTIONS].
  static Result<std::unique_ptr<Device>> Open(DeviceOptions options, DeviceHost host = {});
  virtual ~Device() = default;

  // The model in use, if any was ever installed.
  virtual std::optional<ActiveModel> active() const = 0;

  // Looks for a new version, downloads it (delta or whole, resuming), verifies it, tries it out, and swaps it in. On any
  // failure the active model stays. Outcomes are reported to the fleet, when it can be reached.
  virtual Result<UpdateResult> Update(const Control& control = {}) = 0;
  // Back to the last good version. FAILED_PRECONDITION [NOTHING_TO_ROLL_BACK].
  virtual Status Rollback() = 0;

  // One example in, all outputs out, in the model's own order: row-major fp32. FAILED_PRECONDITION [NO_MODEL] before the first
  // update, INVALID_ARGUMENT [BAD_INPUT_SIZE], RESOURCE_EXHAUSTED [CACHE_BUDGET | SESSIONS_BUSY] when the memory, or the 64
  // sessions of a model, are in use by other calls.
  virtual Result<std::vector<float>> Infer(std::span<const float> input) = 0;

  // The public half of the device's identity, for its enrolment (`edgefleet device enroll`). The key is made at the first call
  // and stays in state_dir/identity.key, readable by its owner only. INVALID_ARGUMENT [BAD_KEY] when that file is damaged.
  virtual Result<crypto::Ed25519PublicKey> Identity() = 0;

  // Checks in and, when assigned, downloads the global model, trains on `examples`, and takes part until the round ends for it.
  // What it says in rounds it remembers in state_dir/said (federated/guard_file.h). DATA_LOSS [GUARD_DAMAGED] while that file
  // is damaged; FAILED_PRECONDITION [NO_IDENTITY] in an active round without a valid certificate: the message says how to
  // enrol.
  virtual Result<Participation> Participate(const Conditions& conditions, const runtime::Dataset& examples,
                                            const Control& control = {}) = 0;

  // Sends what has been counted since the last report (inferences, latencies) to the fleet.
  virtual Status ReportHealth() = 0;
};

}  // namespace edgefleet::device
