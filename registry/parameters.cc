// Registry: the trainable parameters of versions, in and out.
#include <algorithm>
#include <cmath>

#include "registry/digest_of.h"
#include "registry/limits.h"
#include "registry/registry.h"

namespace edgefleet::registry {
namespace {

const Variant* TrainingVariant(const Version& version) {
  const auto found =
      std::find_if(version.variants.begin(), version.variants.end(), [](const Variant& v) { return v.trainable; });
  return found == version.variants.end() ? nullptr : &*found;
}

Status CheckFinite(const std::vector<float>& values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return OkStatus();
  return InvalidArgument("BAD_PARAMETERS",
                         "parameter " + std::to_string(bad - values.begin()) + " is not a finite number; discard this update");
}

Status CheckFit(const Version& version, std::uint64_t count, const Digest& layout_sha256) {
  if (count != version.parameter_count) {
    return InvalidArgument("BAD_PARAMETERS", "version " + std::to_string(version.key.version) + " of '" + version.key.model +
                                                 "' has " + std::to_string(version.parameter_count) + " parameters, not " +
                                                 std::to_string(count));
  }
  if (layout_sha256 != version.layout_sha256) {
    return InvalidArgument("BAD_PARAMETERS", "the parameters' names and shapes are not those of version " +
                                                 std::to_string(version.key.version) + " of '" + version.key.model + "'");
  }
  return OkStatus();
}

}  // namespace

// NOT_TRAINABLE also while the version is being compiled or was refused: it has no parameters to give.
Result<Version> Registry::Trainable(const VersionKey& key) {
  EF_RETURN_IF_ERROR(CheckName("model", key.model));
  EF_ASSIGN_OR_RETURN(Version version, deps_.store.GetVersion(key));
  const bool good = version.state == VersionState::kReady && TrainingVariant(version) != nullptr &&
                    version.parameter_count > 0 && version.parameter_count <= kParametersMax;
  if (good) return version;
  return FailedPrecondition("NOT_TRAINABLE", "version " + std::to_string(key.version) + " of '" + key.model +
                                                 "' is not READY or has no trainable variant of at most 2^28 parameters");
}

Result<Parameters> Registry::GetParameters(const VersionRef& ref) {
  EF_ASSIGN_OR_RETURN(const VersionKey key, Resolve(ref));
  EF_ASSIGN_OR_RETURN(const Version version, Trainable(key));
  EF_ASSIGN_OR_RETURN(const auto file, deps_.artifacts.Map(TrainingVariant(version)->sha256));
  Parameters parameters{key, version.layout_sha256, {}};
  EF_ASSIGN_OR_RETURN(parameters.values, deps_.toolchain.read_parameters(file));
  return parameters;
}

Status Registry::CheckParameters(const VersionKey& key, std::uint64_t count, const Digest& layout_sha256) {
  EF_ASSIGN_OR_RETURN(const Version version, Trainable(key));
  return CheckFit(version, count, layout_sha256);
}

Result<Metrics> Registry::EvaluateParameters(const Parameters& parameters) {
  EF_ASSIGN_OR_RETURN(const Version version, Trainable(parameters.key));
  EF_RETURN_IF_ERROR(CheckFit(version, parameters.values.size(), parameters.layout_sha256));
  EF_RETURN_IF_ERROR(CheckFinite(parameters.values));
  if (!version.inputs.evaluation) {
    return FailedPrecondition("NO_EVALUATION_DATA", "version " + std::to_string(version.key.version) + " of '" +
                                                        version.key.model +
                                                        "' was published without evaluation data; publish one that has it");
  }
  EF_ASSIGN_OR_RETURN(const auto file, deps_.artifacts.Map(TrainingVariant(version)->sha256));
  EF_ASSIGN_OR_RETURN(const auto evaluation, deps_.artifacts.Map(*version.inputs.evaluation));
  EF_ASSIGN_OR_RETURN(const compiler::Metrics measured,
                      deps_.toolchain.evaluate(file->bytes(), parameters.values, evaluation->bytes()));
  return Metrics{measured.examples, measured.accuracy, measured.loss};
}

Result<Version> Registry::CommitParameters(const CommitParametersRequest& request) {
  EF_RETURN_IF_ERROR(CheckRequestId(request.request_id));
  EF_RETURN_IF_ERROR(CheckTags(request.tags));
  EF_RETURN_IF_ERROR(CheckLineage(request.lineage));
  const VersionKey& parent = request.parameters.key;
  if (request.lineage.parent_version != 0 && request.lineage.parent_version != parent.version) {
    return InvalidArgument("BAD_LINEAGE", "lineage.parent_version must be the version the parameters were trained from");
  }
  EF_ASSIGN_OR_RETURN(const Version version, Trainable(parent));
  EF_RETURN_IF_ERROR(CheckFit(version, request.parameters.values.size(), request.parameters.layout_sha256));
  EF_RETURN_IF_ERROR(CheckFinite(request.parameters.values));

  const RequestKey key{request.request_id, DigestOf(request), NowMs()};
  EF_ASSIGN_OR_RETURN(const std::optional<Version> before, deps_.store.FindAdded(key));
  if (before) return WaitUntilFinal(before->key);
  NewVersion added{.model = parent.model, .inputs = version.inputs, .tags = request.tags, .lineage = request.lineage};
  added.lineage.parent_version = parent.version;
  EF_ASSIGN_OR_RETURN(added.inputs.parameters, deps_.artifacts.Put(std::as_bytes(std::span(request.parameters.values))));
  EF_ASSIGN_OR_RETURN(const Version made, deps_.store.AddVersion(key, added));
  worker_.Wake();
  return WaitUntilFinal(made.key);
}

Result<Version> Registry::WaitUntilFinal(const VersionKey& key) {
  struct Latest {
    std::optional<Version> version;
  };
  auto latest = std::make_shared<Latest>();  // the listener may be called after this call has given up
  EF_RETURN_IF_ERROR(watchers_.Add(
      key, [&] { return deps_.store.GetVersion(key); },
      [this, latest](const Version& version) {
        std::lock_guard lock(stop_mutex_);
        if (version.state != VersionState::kCompiling) latest->version = version;
        changed_.notify_all();
        return !stopping_;
      }));
  std::unique_lock lock(stop_mutex_);
  changed_.wait(lock, [&] { return stopping_ || latest->version; });
  if (latest->version) return *latest->version;
  return std::move(Unavailable("STOPPING", "the registry is stopping; send the request again"))
      .RetryAfter(std::chrono::seconds(1));
}

}  // namespace edgefleet::registry
