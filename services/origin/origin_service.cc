#include "services/origin/origin_service.h"

#include <algorithm>

#include "proto/rpc/status.h"
#include "services/runtime/file_chunks.h"

namespace edgefleet::services {
namespace {

namespace v1 = origin::v1;

Result<crypto::Sha256Digest> ParseDigest(const std::string& bytes) {
  crypto::Sha256Digest digest{};
  if (bytes.size() != digest.size()) return InvalidArgument("BAD_DIGEST", "a sha256 has 32 bytes");
  std::ranges::copy(AsBytes(bytes), digest.begin());
  return digest;
}

std::string ToProto(const crypto::Sha256Digest& digest) { return ToString(digest); }

// Both calls that carry a request_id are idempotent by what they name, so the id itself is only checked.
Status CheckRequestId(const std::string& id) {
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
  };
  if (!id.empty() && id.size() <= 64 && std::ranges::all_of(id, allowed)) return OkStatus();
  return InvalidArgument("BAD_REQUEST_ID", "request_id must be 1 to 64 characters of [A-Za-z0-9._-]");
}

void ToProto(const blobs::BlobState& state, v1::BlobState& out) {
  out.set_received(state.received);
  out.set_size(state.size);
  out.set_complete(state.complete);
}

class PutBlobSink final : public UploadSink<v1::PutBlobRequest, v1::BlobState> {
 public:
  explicit PutBlobSink(blobs::BlobStore& blobs) : blobs_(blobs) {}

  Status Write(const v1::PutBlobRequest& message) override {
    if (message.has_header()) return Begin(message.header());
    if (!writer_) return InvalidArgument("BAD_STREAM", "the first message must be the header");
    if (message.chunk().size() > rpc::kChunkBytesMax) return InvalidArgument("TOO_LARGE", "a chunk has at most 1 MiB");
    return writer_->Append(AsBytes(message.chunk()));
  }

  Status Close(v1::BlobState& response) override {
    if (!writer_) return InvalidArgument("BAD_STREAM", "the first message must be the header");
    EF_ASSIGN_OR_RETURN(const auto state, writer_->Finish());
    ToProto(state, response);
    return OkStatus();
  }

 private:
  Status Begin(const v1::PutBlobRequest::Header& header) {
    if (writer_) return InvalidArgument("BAD_STREAM", "a stream has one header");
    EF_ASSIGN_OR_RETURN(const auto digest, ParseDigest(header.sha256()));
    EF_ASSIGN_OR_RETURN(writer_, blobs_.Put(digest, header.size(), header.offset()));
    return OkStatus();
  }

  blobs::BlobStore& blobs_;
  std::unique_ptr<blobs::BlobWriter> writer_;
};

}  // namespace

void OriginService::SetBaseUrl(std::string url) {
  std::lock_guard lock(mutex_);
  base_url_ = std::move(url);
}

grpc::ServerReadReactor<v1::PutBlobRequest>* OriginService::PutBlob(grpc::CallbackServerContext* context,
                                                                    v1::BlobState* response) {
  return RunUpload<v1::PutBlobRequest, v1::BlobState>(handlers_, context, "OriginService/PutBlob", response,
                                                      std::make_unique<PutBlobSink>(blobs_));
}

grpc::ServerUnaryReactor* OriginService::StatBlob(grpc::CallbackServerContext* context, const v1::StatBlobRequest* request,
                                                  v1::BlobState* response) {
  return RunUnary(handlers_, context, "OriginService/StatBlob", request, response,
                  [this](const v1::StatBlobRequest& req, v1::BlobState& res) -> Status {
                    EF_ASSIGN_OR_RETURN(const auto digest, ParseDigest(req.sha256()));
                    EF_ASSIGN_OR_RETURN(const auto state, blobs_.Stat(digest));
                    ToProto(state, res);
                    return OkStatus();
                  });
}

grpc::ServerWriteReactor<v1::BlobChunk>* OriginService::GetBlob(grpc::CallbackServerContext* context,
                                                                const v1::GetBlobRequest* request) {
  return RunDownload<v1::BlobChunk>(handlers_, context, "OriginService/GetBlob", request,
                                    [this](const v1::GetBlobRequest& req) -> Result<Producer<v1::BlobChunk>> {
                                      EF_ASSIGN_OR_RETURN(const auto digest, ParseDigest(req.sha256()));
                                      EF_ASSIGN_OR_RETURN(FileHandle file, blobs_.Open(digest));
                                      return ReadChunks<v1::BlobChunk>(std::move(file), req.offset());
                                    });
}

grpc::ServerUnaryReactor* OriginService::MakeDelta(grpc::CallbackServerContext* context, const v1::MakeDeltaRequest* request,
                                                   v1::DeltaInfo* response) {
  return RunUnary(handlers_, context, "OriginService/MakeDelta", request, response,
                  [this](const v1::MakeDeltaRequest& req, v1::DeltaInfo& res) -> Status {
                    EF_RETURN_IF_ERROR(CheckRequestId(req.request_id()));
                    EF_ASSIGN_OR_RETURN(const auto from, ParseDigest(req.from_sha256()));
                    EF_ASSIGN_OR_RETURN(const auto to, ParseDigest(req.to_sha256()));
                    EF_ASSIGN_OR_RETURN(const auto delta, deltas_.Make(from, to));
                    EF_ASSIGN_OR_RETURN(const auto whole, blobs_.Stat(to));
                    res.set_from_sha256(req.from_sha256());
                    res.set_to_sha256(req.to_sha256());
                    res.set_sha256(ToProto(delta.sha256));
                    res.set_size(delta.size);
                    res.set_full_size(whole.size);
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* OriginService::PutManifest(grpc::CallbackServerContext* context,
                                                     const v1::PutManifestRequest* request, v1::PutManifestResponse* response) {
  return RunUnary(handlers_, context, "OriginService/PutManifest", request, response,
                  [this](const v1::PutManifestRequest& req, v1::PutManifestResponse& res) -> Status {
                    EF_RETURN_IF_ERROR(CheckRequestId(req.request_id()));
                    EF_ASSIGN_OR_RETURN(*res.mutable_etag(),
                                        manifests_.Put(req.path(), req.sequence(), AsBytes(req.envelope())));
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* OriginService::GetEndpoint(grpc::CallbackServerContext* context,
                                                     const v1::GetEndpointRequest* request, v1::Endpoint* response) {
  return RunUnary(handlers_, context, "OriginService/GetEndpoint", request, response,
                  [this](const v1::GetEndpointRequest&, v1::Endpoint& res) -> Status {
                    std::lock_guard lock(mutex_);
                    if (base_url_.empty()) return Unavailable("STARTING", "the HTTP server does not listen yet; retry");
                    res.set_base_url(base_url_);
                    return OkStatus();
                  });
}

}  // namespace edgefleet::services
