#include "device_client/update/updater.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "cdn_origin/delta/decoder.h"
#include "device_client/update/downloader.h"

namespace edgefleet::update {
namespace fs = std::filesystem;
namespace {

// A process that died this often in one self-test will not survive the next.
constexpr std::uint32_t kTrialStartsMax = 2;
constexpr std::uint64_t kManifestBytesMax = manifest::kEnvelopeBytesMax;

// Takes a manifest into memory.
class MemorySink final : public FetchSink {
 public:
  explicit MemorySink(std::uint64_t& transferred) : transferred_(transferred) {}
  Status OnHead(const FetchHead& head) override {
    head_ = head;
    if (head.status != 206) return OkStatus();
    return DataLoss("BAD_HTTP_RESPONSE", "the origin sent a part of a manifest that was asked for whole");
  }
  Status OnBody(ByteView bytes) override {
    transferred_ += bytes.size();
    body_.insert(body_.end(), bytes.begin(), bytes.end());
    return OkStatus();
  }
  const FetchHead& head() const { return head_; }
  const Bytes& body() const { return body_; }

 private:
  std::uint64_t& transferred_;
  FetchHead head_;
  Bytes body_;
};

InstalledVariant VariantOf(const manifest::Target& target) {
  return {target.name, target.precision, target.trainable, target.sha256, target.size, {}};
}

InstalledVersion VersionOf(const manifest::Manifest& manifest, const std::vector<manifest::Target>& targets) {
  InstalledVersion version{manifest.model, manifest.version, {}};
  for (const auto& target : targets) version.variants.push_back(VariantOf(target));
  return version;
}

std::string PatchName(const manifest::Delta& delta, const manifest::Target& target) {
  return HexEncode(delta.from_sha256) + "-" + HexEncode(target.sha256);
}

}  // namespace

std::string_view UpdateOutcomeName(UpdateOutcome outcome) {
  switch (outcome) {
    case UpdateOutcome::kUnchanged:
      return "UNCHANGED";
    case UpdateOutcome::kInstalled:
      return "INSTALLED";
    case UpdateOutcome::kRolledBack:
      return "ROLLED_BACK";
    case UpdateOutcome::kFailed:
      return "FAILED";
  }
  return "UNKNOWN";
}

Updater::Updater(UpdaterOptions options, HttpFetcher& fetcher, ModelStore& store, const Clock& clock, Logger& logger,
                 SelfTest self_test)
    : options_(std::move(options)),
      fetcher_(fetcher),
      store_(store),
      clock_(clock),
      logger_(logger),
      self_test_(std::move(self_test)) {}

UpdateReport Updater::Poll() {
  UpdateReport report;
  report.model = options_.model;
  if (const auto active = store_.Active(options_.model)) report.from_version = active->version;
  Traffic traffic;
  const Status status = Update(report, traffic);
  report.by_delta = traffic.by_delta();
  report.bytes_transferred = traffic.bytes;
  if (!status.ok()) {
    if (report.outcome != UpdateOutcome::kRolledBack) report.outcome = UpdateOutcome::kFailed;
    report.reason = status.reason();
    report.message = status.message();
  }
  if (report.outcome != UpdateOutcome::kUnchanged) {
    logger_.Info("model update", {{"model", report.model},
                                  {"from_version", report.from_version},
                                  {"to_version", report.to_version},
                                  {"outcome", UpdateOutcomeName(report.outcome)},
                                  {"reason", report.reason},
                                  {"message", report.message},
                                  {"by_delta", report.by_delta},
                                  {"bytes", report.bytes_transferred}});
  }
  return report;
}

Status Updater::Update(UpdateReport& report, Traffic& traffic) {
  EF_ASSIGN_OR_RETURN(const auto manifest, FetchManifest(traffic));
  report.to_version = manifest.version;
  if (IsInstalled(manifest)) return OkStatus();
  const auto rejected = store_.Rejected(options_.model);
  if (rejected && rejected->version == manifest.version && rejected->sequence == manifest.sequence) {
    report.reason = "VERSION_REJECTED";
    report.message = "this version failed here; waiting for another manifest";
    return OkStatus();
  }
  return Install(manifest, report, traffic);
}

// The manifest that this device follows, from the network or, when it has not changed, from disk.
Result<manifest::Manifest> Updater::FetchManifest(Traffic& traffic) {
  const ManifestMark mark = store_.Mark(options_.manifest_path);
  const auto envelope = store_.Envelope(options_.manifest_path);
  if (envelope && !mark.etag.empty()) {
    auto verified = FetchAndVerify(options_.manifest_path, mark.etag, traffic);
    // A stored envelope that was damaged is fetched again, without a condition.
    const bool damaged =
        !verified && (verified.error().reason() == "BAD_MANIFEST" || verified.error().reason() == "BAD_SIGNATURE");
    if (!damaged) return verified;
  }
  return FetchAndVerify(options_.manifest_path, "", traffic);
}

Result<manifest::Manifest> Updater::FetchAndVerify(std::string_view path, std::string_view etag, Traffic& traffic) {
  MemorySink sink(traffic.bytes);
  FetchRequest request;
  request.path = "/manifests/" + std::string(path);
  request.if_none_match = etag;
  request.body_bytes_max = kManifestBytesMax;
  EF_RETURN_IF_ERROR(manifest::CheckPath(path));
  EF_RETURN_IF_ERROR(fetcher_.Fetch(request, sink));
  if (sink.head().status == 304) {
    const auto stored = store_.Envelope(path);
    if (etag.empty() || !stored) return DataLoss("BAD_HTTP_RESPONSE", "the origin answered 304 to a request without condition");
    return Verify(path, *stored);
  }
  EF_ASSIGN_OR_RETURN(auto manifest, Verify(path, sink.body()));
  if (path == options_.manifest_path) {
    EF_RETURN_IF_ERROR(store_.Accept(path, {manifest.sequence, sink.head().etag}, sink.body()));
  }
  return manifest;
}

Result<manifest::Manifest> Updater::Verify(std::string_view path, ByteView envelope) const {
  EF_ASSIGN_OR_RETURN(auto manifest,
                      manifest::Verify(envelope, options_.trusted_keys, {options_.model, store_.Mark(path).sequence}, clock_));
  if (manifest::PathOf(manifest) != path) {
    return FailedPrecondition("WRONG_MANIFEST",
                              "the origin sent the manifest of " + manifest::PathOf(manifest) + " for " + std::string(path));
  }
  return manifest;
}

bool Updater::IsInstalled(const manifest::Manifest& manifest) const {
  const auto active = store_.Active(options_.model);
  if (!active || active->version != manifest.version) return false;
  return std::all_of(options_.variants.begin(), options_.variants.end(), [&](const std::string& name) {
    const auto* have = active->Find(name);
    const auto* want = manifest.FindTarget(name);
    return have != nullptr && want != nullptr && have->sha256 == want->sha256;
  });
}

Result<std::vector<manifest::Target>> Updater::Wanted(const manifest::Manifest& manifest) const {
  std::vector<manifest::Target> wanted;
  for (const auto& name : options_.variants) {
    const auto* target = manifest.FindTarget(name);
    if (target == nullptr) {
      return FailedPrecondition("VARIANT_MISSING", "version " + std::to_string(manifest.version) + " has no variant " + name);
    }
    wanted.push_back(*target);
  }
  return wanted;
}

Status Updater::Install(const manifest::Manifest& manifest, UpdateReport& report, Traffic& traffic) {
  const auto staged = store_.Staged(options_.model);
  if (staged && staged->version.version == manifest.version && staged->sequence == manifest.sequence &&
      staged->starts >= kTrialStartsMax) {
    EF_RETURN_IF_ERROR(store_.RejectTrial(options_.model));
    report.outcome = UpdateOutcome::kRolledBack;
    return FailedPrecondition("SELF_TEST_CRASHED", "the process ended during this version's self-test, more than once");
  }
  EF_ASSIGN_OR_RETURN(const auto wanted, Wanted(manifest));
  EF_ASSIGN_OR_RETURN(const fs::path pending, ObtainAll(options_.model, wanted, traffic));
  EF_ASSIGN_OR_RETURN(const Trial trial, store_.Stage(VersionOf(manifest, wanted), manifest.sequence, pending));
  return Test(trial, report);
}

Status Updater::Test(const Trial& trial, UpdateReport& report) {
  Status tested = self_test_(trial.version);
  if (!tested.ok()) {
    EF_RETURN_IF_ERROR(store_.RejectTrial(options_.model));
    report.outcome = UpdateOutcome::kRolledBack;
    return FailedPrecondition("SELF_TEST_FAILED", tested.ToString());
  }
  EF_RETURN_IF_ERROR(store_.Activate(options_.model));
  report.outcome = UpdateOutcome::kInstalled;
  return OkStatus();
}

// All files of `targets`, in the store or in the folder that is returned. Downloads of anything else in that scope are dropped.
Result<fs::path> Updater::ObtainAll(const std::string& scope, const std::vector<manifest::Target>& targets, Traffic& traffic) {
  std::set<std::string> keep;
  for (const auto& target : targets) {
    if (target.size > options_.file_bytes_max) {
      return ResourceExhausted("TARGET_TOO_LARGE", target.name + " has " + std::to_string(target.size) +
                                                       " bytes; this device takes " + std::to_string(options_.file_bytes_max));
    }
    keep.insert(HexEncode(target.sha256));
    for (const auto& delta : target.deltas) keep.insert(PatchName(delta, target));
  }
  EF_ASSIGN_OR_RETURN(const fs::path pending, store_.PreparePending(scope, keep));
  for (const auto& target : targets) EF_RETURN_IF_ERROR(Obtain(target, pending, traffic));
  // The files are complete: what led to them can go.
  std::set<std::string> complete;
  for (const auto& target : targets) complete.insert(HexEncode(target.sha256));
  return store_.PreparePending(scope, complete);
}

const manifest::Delta* Updater::ChooseDelta(const manifest::Target& target) const {
  const manifest::Delta* best = nullptr;
  for (const auto& delta : target.deltas) {
    const bool useful = delta.size < target.size && (best == nullptr || delta.size < best->size);
    if (useful && store_.FindFile(delta.from_sha256)) best = &delta;
  }
  return best;
}

Status Updater::Obtain(const manifest::Target& target, const fs::path& pending, Traffic& traffic) {
  std::error_code ignored;
  const fs::path file = pending / HexEncode(target.sha256);
  if (store_.FindFile(target.sha256) || fs::is_regular_file(file, ignored)) return OkStatus();
  ++traffic.files;
  if (const auto* delta = ChooseDelta(target)) {
    Status status = ObtainByDelta(target, *delta, pending, traffic);
    if (status.ok()) ++traffic.deltas;
    // Without a network or room the full file would fail as well, and what has arrived of the patch is worth keeping.
    if (status.ok() || status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kResourceExhausted)
      return status;
    logger_.Warn(
        "delta failed, fetching the full file",
        {{"model", options_.model}, {"variant", target.name}, {"reason", status.reason()}, {"message", status.message()}});
  }
  return Download(fetcher_, {manifest::BlobPath(target.sha256), target.size, target.sha256, file}, traffic.bytes);
}

Status Updater::ObtainByDelta(const manifest::Target& target, const manifest::Delta& delta, const fs::path& pending,
                              Traffic& traffic) {
  const fs::path patch_file = pending / PatchName(delta, target);
  EF_RETURN_IF_ERROR(Download(
      fetcher_, {manifest::DeltaPath(delta.from_sha256, target.sha256), delta.size, delta.sha256, patch_file}, traffic.bytes));
  const auto base_file = store_.FindFile(delta.from_sha256);
  if (!base_file) return FailedPrecondition("BASE_MISSING", "the delta's base is gone");
  EF_ASSIGN_OR_RETURN(const auto base, MappedFile::Open(*base_file));
  EF_ASSIGN_OR_RETURN(const auto patch, MappedFile::Open(patch_file));
  const fs::path file = pending / HexEncode(target.sha256);
  const fs::path made = file.string() + ".made";
  Status status = delta::Apply(base->bytes(), patch->bytes(), {target.size, target.sha256}, made);
  if (status.ok()) status = RenameDurably(made, file);
  std::error_code ignored;
  fs::remove(patch_file, ignored);
  return status;
}

UpdateReport Updater::RollBack() {
  UpdateReport report;
  report.model = options_.model;
  if (const auto active = store_.Active(options_.model)) report.from_version = active->version;
  const Status status = store_.RollBack(options_.model, store_.Mark(options_.manifest_path).sequence);
  if (const auto active = store_.Active(options_.model)) report.to_version = active->version;
  report.outcome = status.ok() ? UpdateOutcome::kRolledBack : UpdateOutcome::kFailed;
  report.reason = status.ok() ? "ROLL_BACK_REQUESTED" : status.reason();
  report.message = status.message();
  return report;
}

Result<FetchedTarget> Updater::FetchTarget(std::string_view manifest_path, std::uint64_t version, std::string_view variant) {
  if (auto cached = store_.FindCached(options_.model, version, variant)) return FetchedTarget{std::move(*cached), false, 0};
  Traffic traffic;
  EF_ASSIGN_OR_RETURN(const auto manifest, FetchAndVerify(manifest_path, "", traffic));
  if (manifest.version != version) {
    return FailedPrecondition("WRONG_VERSION", "the manifest is for version " + std::to_string(manifest.version) + ", not " +
                                                   std::to_string(version));
  }
  const auto* target = manifest.FindTarget(variant);
  if (target == nullptr) {
    return FailedPrecondition("VARIANT_MISSING",
                              "version " + std::to_string(version) + " has no variant " + std::string(variant));
  }
  // No model's name has a '+'.
  EF_ASSIGN_OR_RETURN(const fs::path pending, ObtainAll(options_.model + "+cache", {*target}, traffic));
  EF_ASSIGN_OR_RETURN(auto added, store_.AddCached(options_.model, version, VariantOf(*target),
                                                   pending / HexEncode(target->sha256), options_.cache_bytes_max));
  return FetchedTarget{std::move(added), traffic.by_delta(), traffic.bytes};
}

}  // namespace edgefleet::update
