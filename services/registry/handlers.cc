#include "services/registry/handlers.h"

#include <algorithm>

#include "proto/rpc/status.h"
#include "services/registry/uploads.h"

namespace edgefleet::services {

namespace pb = pb_registry;

namespace {

// Puts a domain's answer into a message.
template <typename T, typename Message>
Status Answer(const Result<T>& result, Message& response) {
  if (!result) return result.error();
  response = ToProto(*result);
  return OkStatus();
}

// A vector as it goes out: the header, then chunks.
struct Download {
  std::shared_ptr<void> slot;
  registry::Parameters parameters;
  bool begun = false;
  std::size_t sent = 0;

  bool Next(pb::ParameterChunk& message) {
    if (!begun) {
      begun = true;
      *message.mutable_header() = HeaderOf(parameters);
      return true;
    }
    const ByteView rest = std::as_bytes(std::span(parameters.values)).subspan(sent);
    if (rest.empty()) return false;
    const ByteView chunk = rest.first(std::min(rest.size(), rpc::kChunkBytes));
    message.set_chunk(chunk.data(), chunk.size());
    sent += chunk.size();
    return true;
  }
};

}  // namespace

std::shared_ptr<void> TransferSlots::Take() {
  if (taken_->fetch_add(1) >= kParameterTransfersMax) {
    taken_->fetch_sub(1);
    return nullptr;
  }
  return {taken_.get(), [taken = taken_](void*) { taken->fetch_sub(1); }};
}

grpc::ServerUnaryReactor* RegistryHandlers::BeginPublish(grpc::CallbackServerContext* context,
                                                         const pb::BeginPublishRequest* request, pb::PublishSession* response) {
  return RunUnary(handlers_, context, "RegistryService/BeginPublish", request, response,
                  [this](const pb::BeginPublishRequest& req, pb::PublishSession& res) -> Status {
                    EF_ASSIGN_OR_RETURN(registry::PublishRequest publish, FromProto(req));
                    return Answer(registry_->BeginPublish(req.request_id(), std::move(publish)), res);
                  });
}

grpc::ServerReadReactor<pb::UploadArtifactRequest>* RegistryHandlers::UploadArtifact(grpc::CallbackServerContext* context,
                                                                                     pb::ArtifactState* response) {
  return RunUpload<pb::UploadArtifactRequest, pb::ArtifactState>(handlers_, context, "RegistryService/UploadArtifact", response,
                                                                 MakeArtifactSink(registry_));
}

grpc::ServerUnaryReactor* RegistryHandlers::GetPublishSession(grpc::CallbackServerContext* context,
                                                              const pb::GetPublishSessionRequest* request,
                                                              pb::PublishSession* response) {
  return RunUnary(handlers_, context, "RegistryService/GetPublishSession", request, response,
                  [this](const pb::GetPublishSessionRequest& req, pb::PublishSession& res) {
                    return Answer(registry_->GetSession(req.upload_id()), res);
                  });
}

grpc::ServerUnaryReactor* RegistryHandlers::CommitPublish(grpc::CallbackServerContext* context,
                                                          const pb::CommitPublishRequest* request, pb::Version* response) {
  return RunUnary(handlers_, context, "RegistryService/CommitPublish", request, response,
                  [this](const pb::CommitPublishRequest& req, pb::Version& res) {
                    return Answer(registry_->CommitPublish(req.request_id(), req.upload_id()), res);
                  });
}

grpc::ServerWriteReactor<pb::Version>* RegistryHandlers::WatchVersion(grpc::CallbackServerContext* context,
                                                                      const pb::GetVersionRequest* request) {
  return RunWatch<pb::Version>(handlers_, context, "RegistryService/WatchVersion", request,
                               [this](const pb::GetVersionRequest& req, std::shared_ptr<EventWriter<pb::Version>> writer) {
                                 return registry_->Watch(FromProto(req), [writer](const registry::Version& version) {
                                   const bool listening = writer->Push(ToProto(version));
                                   if (version.state != registry::VersionState::kCompiling) writer->Close(OkStatus());
                                   return listening;
                                 });
                               });
}

grpc::ServerUnaryReactor* RegistryHandlers::GetModel(grpc::CallbackServerContext* context, const pb::GetModelRequest* request,
                                                     pb::Model* response) {
  return RunUnary(
      handlers_, context, "RegistryService/GetModel", request, response,
      [this](const pb::GetModelRequest& req, pb::Model& res) { return Answer(registry_->GetModel(req.model()), res); });
}

grpc::ServerUnaryReactor* RegistryHandlers::ListModels(grpc::CallbackServerContext* context,
                                                       const pb::ListModelsRequest* request, pb::ListModelsResponse* response) {
  return RunUnary(handlers_, context, "RegistryService/ListModels", request, response,
                  [this](const pb::ListModelsRequest& req, pb::ListModelsResponse& res) -> Status {
                    EF_ASSIGN_OR_RETURN(const auto page, registry_->ListModels(req.page_size(), req.page_token()));
                    for (const auto& model : page.items) *res.add_models() = ToProto(model);
                    res.set_next_page_token(page.next_token);
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* RegistryHandlers::GetVersion(grpc::CallbackServerContext* context,
                                                       const pb::GetVersionRequest* request, pb::Version* response) {
  return RunUnary(handlers_, context, "RegistryService/GetVersion", request, response,
                  [this](const pb::GetVersionRequest& req, pb::Version& res) {
                    return Answer(registry_->GetVersion(FromProto(req)), res);
                  });
}

grpc::ServerUnaryReactor* RegistryHandlers::ListVersions(grpc::CallbackServerContext* context,
                                                         const pb::ListVersionsRequest* request,
                                                         pb::ListVersionsResponse* response) {
  return RunUnary(handlers_, context, "RegistryService/ListVersions", request, response,
                  [this](const pb::ListVersionsRequest& req, pb::ListVersionsResponse& res) -> Status {
                    EF_ASSIGN_OR_RETURN(const auto page,
                                        registry_->ListVersions(req.model(), req.page_size(), req.page_token()));
                    for (const auto& version : page.items) *res.add_versions() = ToProto(version);
                    res.set_next_page_token(page.next_token);
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* RegistryHandlers::GetReport(grpc::CallbackServerContext* context,
                                                      const pb::GetVersionRequest* request, pb::Report* response) {
  return RunUnary(handlers_, context, "RegistryService/GetReport", request, response,
                  [this](const pb::GetVersionRequest& req, pb::Report& res) -> Status {
                    EF_ASSIGN_OR_RETURN(*res.mutable_json(), registry_->GetReport(FromProto(req)));
                    return OkStatus();
                  });
}

grpc::ServerUnaryReactor* RegistryHandlers::SetAlias(grpc::CallbackServerContext* context, const pb::SetAliasRequest* request,
                                                     pb::Model* response) {
  return RunUnary(handlers_, context, "RegistryService/SetAlias", request, response,
                  [this](const pb::SetAliasRequest& req, pb::Model& res) {
                    return Answer(registry_->SetAlias(req.request_id(), {req.model(), req.alias()}, req.version()), res);
                  });
}

grpc::ServerUnaryReactor* RegistryHandlers::SetTags(grpc::CallbackServerContext* context, const pb::SetTagsRequest* request,
                                                    pb::Version* response) {
  return RunUnary(handlers_, context, "RegistryService/SetTags", request, response,
                  [this](const pb::SetTagsRequest& req, pb::Version& res) -> Status {
                    EF_ASSIGN_OR_RETURN(const registry::Tags tags, FromProto(req.tags()));
                    return Answer(registry_->SetTags(req.request_id(), {req.model(), req.version()}, tags), res);
                  });
}

grpc::ServerWriteReactor<pb::ParameterChunk>* RegistryHandlers::GetParameters(grpc::CallbackServerContext* context,
                                                                              const pb::GetVersionRequest* request) {
  return RunDownload<pb::ParameterChunk>(
      transfers_, context, "RegistryService/GetParameters", request,
      [this](const pb::GetVersionRequest& req) -> Result<Producer<pb::ParameterChunk>> {
        auto download = std::make_shared<Download>();
        EF_ASSIGN_OR_RETURN(download->slot, TakeSlot(slots_));
        EF_ASSIGN_OR_RETURN(download->parameters, registry_->GetParameters(FromProto(req)));
        return Producer<pb::ParameterChunk>(
            [download](pb::ParameterChunk& message) -> Result<bool> { return download->Next(message); });
      });
}

grpc::ServerReadReactor<pb::EvaluateParametersRequest>* RegistryHandlers::EvaluateParameters(
    grpc::CallbackServerContext* context, pb::Metrics* response) {
  return RunUpload<pb::EvaluateParametersRequest, pb::Metrics>(transfers_, context, "RegistryService/EvaluateParameters",
                                                               response, MakeEvaluateSink(registry_, slots_));
}

grpc::ServerReadReactor<pb::CommitParametersRequest>* RegistryHandlers::CommitParameters(grpc::CallbackServerContext* context,
                                                                                         pb::Version* response) {
  return RunUpload<pb::CommitParametersRequest, pb::Version>(transfers_, context, "RegistryService/CommitParameters", response,
                                                             MakeCommitSink(registry_, slots_));
}

}  // namespace edgefleet::services
