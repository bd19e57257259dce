// edgefleet model publish: sends a network and its data, resumably, and follows the compilation.
#include <algorithm>
#include <fstream>
#include <thread>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

namespace pb = registry::v1;
using Registry = Client::Registry;

constexpr int kFruitlessAttemptsMax = 6;  // in a row, without a byte or a change in between
constexpr std::chrono::seconds kRetryWait{1};
constexpr std::chrono::hours kStreamTimeout{1};

struct PublishSpec {
  std::string model;
  std::string network;
  std::string calibration;
  std::string evaluation;
  std::vector<std::string> tags;
  double accuracy_drop = 0;
  std::string alias;
  std::uint64_t parent = 0;
};

struct Artifact {
  pb::ArtifactKind kind;
  std::string path;
  std::uint64_t size = 0;
  crypto::Sha256Digest sha256{};
};

std::string KindName(pb::ArtifactKind kind) {
  switch (kind) {
    case pb::ARTIFACT_KIND_ONNX:
      return "network";
    case pb::ARTIFACT_KIND_CALIBRATION:
      return "calibration data";
    default:
      return "evaluation data";
  }
}

Status Measure(Artifact& artifact) {
  std::ifstream file(artifact.path, std::ios::binary);
  if (!file) return InvalidArgument(kReasonUsage, "cannot read " + artifact.path);
  crypto::Sha256Stream digest;
  std::string buffer(rpc::kChunkBytesMax, '\0');
  do {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto got = static_cast<std::size_t>(file.gcount());
    digest.Update(AsBytes({buffer.data(), got}));
    artifact.size += got;
  } while (file);
  if (!file.eof() || file.bad()) return InvalidArgument(kReasonUsage, "cannot read " + artifact.path);
  if (artifact.size == 0) return InvalidArgument(kReasonUsage, artifact.path + " is empty");
  artifact.sha256 = digest.Finish();
  return OkStatus();
}

Result<std::vector<Artifact>> Measured(const PublishSpec& spec) {
  std::vector<Artifact> artifacts{{pb::ARTIFACT_KIND_ONNX, spec.network}};
  if (!spec.calibration.empty()) artifacts.push_back({pb::ARTIFACT_KIND_CALIBRATION, spec.calibration});
  if (!spec.evaluation.empty()) artifacts.push_back({pb::ARTIFACT_KIND_EVALUATION, spec.evaluation});
  for (Artifact& artifact : artifacts) EF_RETURN_IF_ERROR(Measure(artifact));
  return artifacts;
}

// The request id is a digest of the request: the same command finds its own upload, and its own version, again.
Result<pb::BeginPublishRequest> MakeRequest(const PublishSpec& spec, const std::vector<Artifact>& artifacts) {
  EF_ASSIGN_OR_RETURN(auto tags, ParseTags(spec.tags));
  std::sort(tags.begin(), tags.end());
  pb::BeginPublishRequest request;
  request.set_model(spec.model);
  request.set_parent_version(spec.parent);
  request.mutable_options()->set_accuracy_drop_points_max(spec.accuracy_drop);
  std::string identity =
      "publish\n" + spec.model + "\n" + std::to_string(spec.parent) + "\n" + std::to_string(spec.accuracy_drop) + "\n";
  for (const Artifact& artifact : artifacts) {
    auto* out = request.add_artifacts();
    out->set_kind(artifact.kind);
    out->set_size(artifact.size);
    out->set_sha256(ToString(artifact.sha256));
    identity += std::to_string(artifact.kind) + " " + HexEncode(artifact.sha256) + "\n";
  }
  for (const auto& [key, value] : tags) {
    (*request.mutable_tags())[key] = value;
    identity += std::to_string(key.size()) + ":" + key + "=" + value + "\n";
  }
  request.set_request_id(crypto::Sha256Hex(AsBytes(identity)).substr(0, 40));
  return request;
}

// Sends the file's bytes from `offset` on, until its end or the server stops listening. The stream's outcome tells the rest.
Status SendFrom(const Artifact& artifact, std::uint64_t offset, grpc::ClientWriterInterface<pb::UploadArtifactRequest>& writer,
                Progress& progress) {
  std::ifstream file(artifact.path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  pb::UploadArtifactRequest message;
  while (file && offset < artifact.size) {
    std::string& chunk = *message.mutable_chunk();
    chunk.resize(std::min<std::uint64_t>(rpc::kChunkBytes, artifact.size - offset));
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    if (static_cast<std::size_t>(file.gcount()) != chunk.size()) break;
    if (!writer.Write(message)) return OkStatus();
    offset += chunk.size();
    progress.Set(offset);
  }
  if (offset != artifact.size) return InvalidArgument("CHECKSUM_MISMATCH", artifact.path + " became shorter while it was sent");
  return OkStatus();
}

Result<pb::ArtifactState> UploadOnce(Client& client, const std::string& upload_id, const Artifact& artifact,
                                     std::uint64_t offset, Progress& progress) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, kStreamTimeout);
  pb::ArtifactState state;
  auto writer = client.registry.stub->UploadArtifact(&context, &state);
  pb::UploadArtifactRequest message;
  message.mutable_header()->set_upload_id(upload_id);
  message.mutable_header()->set_kind(artifact.kind);
  message.mutable_header()->set_offset(offset);
  if (writer->Write(message)) {
    if (Status sent = SendFrom(artifact, offset, *writer, progress); !sent.ok()) {
      context.TryCancel();
      static_cast<void>(writer->Finish());
      return tl::unexpected<Status>(std::move(sent));
    }
  }
  writer->WritesDone();
  Status status = Client::Explain(rpc::FromGrpc(writer->Finish(), context), client.registry.what);
  if (!status.ok()) return tl::unexpected<Status>(std::move(status));
  return state;
}

bool WorthResuming(const Status& status) {
  return status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kResourceExhausted ||
         status.code() == StatusCode::kDeadlineExceeded || status.reason() == "BAD_OFFSET";
}

std::uint64_t ReceivedOf(const pb::PublishSession& session, pb::ArtifactKind kind, bool& complete) {
  for (const auto& state : session.artifacts()) {
    if (state.kind() == kind) return complete = state.complete(), state.received();
  }
  return complete = false, 0;
}

// Sends one artifact; whenever the stream breaks, asks how far it got and goes on from there.
Status Upload(Context& context, pb::PublishSession& session, const Artifact& artifact) {
  bool complete = false;
  std::uint64_t offset = ReceivedOf(session, artifact.kind, complete);
  if (complete) return OkStatus();
  if (offset > 0) context.out.Note("resuming " + KindName(artifact.kind) + " at " + FormatBytes(offset));
  Progress progress(context.out, "sending " + KindName(artifact.kind), artifact.size, true);
  for (int fruitless = 0; !complete;) {
    auto state = UploadOnce(context.client, session.upload_id(), artifact, offset, progress);
    if (state) {
      if (!state->complete())
        return DataLoss("UPLOAD_SHORT", "the registry did not take all of the " + KindName(artifact.kind));
      break;
    }
    if (!WorthResuming(state.error()) || ++fruitless > kFruitlessAttemptsMax) return std::move(state).error();
    std::this_thread::sleep_for(state.error().retry_after().value_or(kRetryWait));
    pb::GetPublishSessionRequest request;
    request.set_upload_id(session.upload_id());
    auto fresh = context.client.Call(context.client.registry, &Registry::StubInterface::GetPublishSession, request);
    if (!fresh) {
      if (!WorthResuming(fresh.error())) return std::move(fresh).error();
      continue;
    }
    session = std::move(*fresh);
    const std::uint64_t kept = ReceivedOf(session, artifact.kind, complete);
    if (kept > offset) fruitless = 0;
    offset = kept;
  }
  progress.Set(artifact.size);
  return OkStatus();
}

// Follows the version until it is READY or REFUSED; a broken stream is taken up again.
Result<pb::Version> AwaitCompiled(Context& context, pb::Version version) {
  pb::GetVersionRequest request;
  request.set_model(version.model());
  request.set_version(version.version());
  std::string stage;
  for (int fruitless = 0; version.state() == pb::VERSION_STATE_COMPILING;) {
    grpc::ClientContext call;
    rpc::PrepareCall(call, kStreamTimeout);
    auto reader = context.client.registry.stub->WatchVersion(&call, request);
    for (pb::Version now; reader->Read(&now); version = now) {
      fruitless = 0;
      if (now.state() == pb::VERSION_STATE_COMPILING && now.stage() != stage) {
        stage = now.stage();
        context.out.Note("compiling: " + stage);
      }
    }
    Status status = Client::Explain(rpc::FromGrpc(reader->Finish(), call), context.client.registry.what);
    if (version.state() != pb::VERSION_STATE_COMPILING) break;
    if (!status.ok() && !WorthResuming(status)) return tl::unexpected<Status>(std::move(status));
    if (++fruitless > kFruitlessAttemptsMax) {
      if (!status.ok()) return tl::unexpected<Status>(std::move(status));
      return Unavailable("WATCH_ENDED", "the registry stopped telling about the version while it was compiling");
    }
    std::this_thread::sleep_for(status.retry_after().value_or(kRetryWait));
  }
  return version;
}

Result<pb::Version> Commit(Context& context, const std::string& request_id, const std::string& upload_id) {
  pb::CommitPublishRequest request;
  request.set_request_id(request_id + ".commit");
  request.set_upload_id(upload_id);
  return context.client.Call(context.client.registry, &Registry::StubInterface::CommitPublish, request);
}

Status MoveAlias(Context& context, const std::string& alias, pb::Version& version) {
  pb::SetAliasRequest request;
  request.set_request_id(crypto::RandomId());
  request.set_model(version.model());
  request.set_alias(alias);
  request.set_version(version.version());
  EF_ASSIGN_OR_RETURN(const auto model,
                      context.client.Call(context.client.registry, &Registry::StubInterface::SetAlias, request));
  const auto& aliases = version.aliases();
  if (std::find(aliases.begin(), aliases.end(), alias) == aliases.end()) version.add_aliases(alias);
  return OkStatus();
}

Status Publish(Context& context, const PublishSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto artifacts, Measured(spec));
  EF_ASSIGN_OR_RETURN(const auto request, MakeRequest(spec, artifacts));
  EF_ASSIGN_OR_RETURN(auto session,
                      context.client.Call(context.client.registry, &Registry::StubInterface::BeginPublish, request));
  for (const Artifact& artifact : artifacts) EF_RETURN_IF_ERROR(Upload(context, session, artifact));
  EF_ASSIGN_OR_RETURN(auto version, Commit(context, request.request_id(), session.upload_id()));
  EF_ASSIGN_OR_RETURN(version, AwaitCompiled(context, std::move(version)));
  if (version.state() == pb::VERSION_STATE_REFUSED) {
    return FailedPrecondition(kReasonRefused,
                              spec.model + "@" + std::to_string(version.version()) + " was refused: " + version.refusal());
  }
  if (!spec.alias.empty()) EF_RETURN_IF_ERROR(MoveAlias(context, spec.alias, version));
  if (context.out.json) return context.out.PrintJson(ToJson(version)), OkStatus();
  PrintVersion(context.out, version);
  return OkStatus();
}

constexpr char kExamples[] =
    "  edgefleet model publish fashion cnn.onnx --calibration train.npz --evaluation test.npz --alias stable\n"
    "  edgefleet model publish fashion cnn.onnx --calibration train.npz --tag team=vision --max-accuracy-drop 0.5\n"
    "\n"
    "Run again after an interruption, the same command goes on where it stopped; after success it finds the same version.\n";

}  // namespace

void AddPublishCommand(CLI::App& model, Action& action) {
  auto spec = std::make_shared<PublishSpec>();
  auto* command = AddCommand(model, action, "publish", "send a network, have it compiled, wait until it is READY", kExamples,
                             &Publish, spec);
  command->add_option("NAME", spec->model, "the model; made if it is new")->required();
  command->add_option("NET", spec->network, "the network, ONNX")->required()->check(CLI::ExistingFile);
  command->add_option("--calibration", spec->calibration, "inputs as .npz; needed for int8")->check(CLI::ExistingFile);
  command->add_option("--evaluation", spec->evaluation, "inputs and labels as .npz; needed for federated tasks")
      ->check(CLI::ExistingFile);
  command->add_option("--tag", spec->tags, "KEY=VALUE; may be given again")->allow_extra_args(false);
  command
      ->add_option("--max-accuracy-drop", spec->accuracy_drop,
                   "points that int8 may lose against fp32 before it is refused (default 1.0)")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--alias", spec->alias, "point this alias at the new version once it is READY");
  command->add_option("--parent", spec->parent, "the version that this one follows")->check(CLI::NonNegativeNumber);
}

}  // namespace edgefleet::cli
