#include "services/registry/origin_distribution.h"

#include <algorithm>

#include "base/file.h"
#include "cdn_origin/manifest/manifest.h"
#include "proto/rpc/status.h"

namespace edgefleet::services {
namespace {

namespace pb = origin::v1;

constexpr std::chrono::seconds kCallTimeout{10};
constexpr std::chrono::minutes kTransferTimeout{10};

std::string ToField(const registry::Digest& digest) { return std::string(AsText(digest)); }

manifest::Manifest ToManifest(const registry::Release& release) {
  manifest::Manifest manifest{.model = release.key.model,
                              .version = release.key.version,
                              .alias = release.alias,
                              .sequence = release.sequence,
                              .created_unix_ms = release.created_unix_ms,
                              .expires_unix_ms = release.expires_unix_ms,
                              .targets = {}};
  for (const registry::ReleaseTarget& from : release.targets) {
    manifest::Target target{.name = from.variant.name,
                            .precision = from.variant.precision,
                            .trainable = from.variant.trainable,
                            .sha256 = from.variant.sha256,
                            .size = from.variant.size,
                            .deltas = {}};
    for (const registry::Delta& delta : from.deltas) target.deltas.push_back({delta.from, delta.sha256, delta.size});
    manifest.targets.push_back(std::move(target));
  }
  return manifest;
}

}  // namespace

Result<pb::BlobState> OriginDistribution::Stat(const registry::Digest& sha256) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, kCallTimeout);
  context.set_wait_for_ready(true);
  pb::StatBlobRequest request;
  request.set_sha256(ToField(sha256));
  pb::BlobState state;
  const grpc::Status status = stub_->StatBlob(&context, request, &state);
  if (!status.ok()) return MakeError(rpc::FromGrpc(status, context).Annotate("origin"));
  return state;
}

Status OriginDistribution::PutBlob(const registry::Digest& sha256, const std::filesystem::path& file) {
  EF_ASSIGN_OR_RETURN(const pb::BlobState state, Stat(sha256));
  if (state.complete()) return OkStatus();
  EF_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(file));
  return Send(sha256, mapped->bytes(), std::min<std::uint64_t>(state.received(), mapped->bytes().size()));
}

Status OriginDistribution::Send(const registry::Digest& sha256, ByteView content, std::uint64_t offset) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTransferTimeout);
  pb::BlobState state;
  const auto writer = stub_->PutBlob(&context, &state);
  pb::PutBlobRequest message;
  message.mutable_header()->set_sha256(ToField(sha256));
  message.mutable_header()->set_size(content.size());
  message.mutable_header()->set_offset(offset);
  bool sending = writer->Write(message);
  for (ByteView rest = content.subspan(offset); sending && !rest.empty();) {
    const ByteView chunk = rest.first(std::min(rest.size(), rpc::kChunkBytes));
    message.set_chunk(chunk.data(), chunk.size());
    sending = writer->Write(message);
    rest = rest.subspan(chunk.size());
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) return rpc::FromGrpc(status, context).Annotate("origin");
  if (state.complete()) return OkStatus();
  return Unavailable("TRANSFER_INCOMPLETE", "the origin holds " + std::to_string(state.received()) + " of " +
                                                std::to_string(content.size()) + " bytes of a file");
}

Result<registry::Delta> OriginDistribution::MakeDelta(const registry::Digest& from, const registry::Digest& to) {
  // Making a delta may take minutes; whether the origin is there at all is found out sooner.
  EF_ASSIGN_OR_RETURN(const pb::BlobState state, Stat(to));
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTransferTimeout);
  pb::MakeDeltaRequest request;
  request.set_request_id(HexEncode(from).substr(0, 31) + "-" + HexEncode(to).substr(0, 31));
  request.set_from_sha256(ToField(from));
  request.set_to_sha256(ToField(to));
  pb::DeltaInfo info;
  const grpc::Status status = stub_->MakeDelta(&context, request, &info);
  if (!status.ok()) return MakeError(rpc::FromGrpc(status, context).Annotate("origin"));
  registry::Delta delta{from, {}, info.size()};
  if (info.sha256().size() != delta.sha256.size()) return Internal("BAD_PEER", "the origin answered with a bad digest");
  std::copy_n(AsBytes(info.sha256()).begin(), delta.sha256.size(), delta.sha256.begin());
  return delta;
}

Status OriginDistribution::Publish(const registry::Release& release) {
  EF_ASSIGN_OR_RETURN(const Bytes envelope, manifest::Sign(ToManifest(release), std::span(&key_, 1)));
  grpc::ClientContext context;
  rpc::PrepareCall(context, kCallTimeout);
  context.set_wait_for_ready(true);
  pb::PutManifestRequest request;
  request.set_request_id(crypto::Sha256Hex(envelope));
  request.set_path(release.path);
  request.set_sequence(release.sequence);
  request.set_envelope(envelope.data(), envelope.size());
  pb::PutManifestResponse response;
  const grpc::Status status = stub_->PutManifest(&context, request, &response);
  return status.ok() ? OkStatus() : rpc::FromGrpc(status, context).Annotate("origin");
}

}  // namespace edgefleet::services
