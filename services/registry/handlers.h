// RegistryService over the domain's Registry: converts, bounds what streams in, and nothing else.
#pragma once

#include <atomic>
#include <memory>

#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "registry/registry.h"
#include "services/registry/convert.h"
#include "services/runtime/rpc_handlers.h"

namespace edgefleet::services {

// Parameter vectors are held in memory while they stream, and a commit holds a thread until its version is compiled: so many at
// once; more are answered RESOURCE_EXHAUSTED [OVERLOADED], for which the transfer pool has one thread more.
inline constexpr int kParameterTransfersMax = 4;
inline constexpr std::size_t kTransferThreads = kParameterTransfersMax + 1;

class TransferSlots {
 public:
  // Nothing when all are taken; the slot is free again when the pointer is gone.
  std::shared_ptr<void> Take();

 private:
  std::shared_ptr<std::atomic<int>> taken_ = std::make_shared<std::atomic<int>>(0);
};

class RegistryHandlers final : public pb_registry::RegistryService::CallbackService {
 public:
  // Both contexts outlive the gRPC server; `transfers` serves the calls that carry parameters.
  RegistryHandlers(HandlerContext& handlers, HandlerContext& transfers) : handlers_(handlers), transfers_(transfers) {}
  // Before the contexts start serving.
  void Attach(registry::Registry& registry) { registry_ = &registry; }

  grpc::ServerUnaryReactor* BeginPublish(grpc::CallbackServerContext* context, const pb_registry::BeginPublishRequest* request,
                                         pb_registry::PublishSession* response) override;
  grpc::ServerReadReactor<pb_registry::UploadArtifactRequest>* UploadArtifact(grpc::CallbackServerContext* context,
                                                                              pb_registry::ArtifactState* response) override;
  grpc::ServerUnaryReactor* GetPublishSession(grpc::CallbackServerContext* context,
                                              const pb_registry::GetPublishSessionRequest* request,
                                              pb_registry::PublishSession* response) override;
  grpc::ServerUnaryReactor* CommitPublish(grpc::CallbackServerContext* context,
                                          const pb_registry::CommitPublishRequest* request,
                                          pb_registry::Version* response) override;
  grpc::ServerWriteReactor<pb_registry::Version>* WatchVersion(grpc::CallbackServerContext* context,
                                                               const pb_registry::GetVersionRequest* request) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const pb_registry::GetModelRequest* request,
                                     pb_registry::Model* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const pb_registry::ListModelsRequest* request,
                                       pb_registry::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const pb_registry::GetVersionRequest* request,
                                       pb_registry::Version* response) override;
  grpc::ServerUnaryReactor* ListVersions(grpc::CallbackServerContext* context, const pb_registry::ListVersionsRequest* request,
                                         pb_registry::ListVersionsResponse* response) override;
  grpc::ServerUnaryReactor* GetReport(grpc::CallbackServerContext* context, const pb_registry::GetVersionRequest* request,
                                      pb_registry::Report* response) override;
  grpc::ServerUnaryReactor* SetAlias(grpc::CallbackServerContext* context, const pb_registry::SetAliasRequest* request,
                                     pb_registry::Model* response) override;
  grpc::ServerUnaryReactor* SetTags(grpc::CallbackServerContext* context, const pb_registry::SetTagsRequest* request,
                                    pb_registry::Version* response) override;
  grpc::ServerWriteReactor<pb_registry::ParameterChunk>* GetParameters(grpc::CallbackServerContext* context,
                                                                       const pb_registry::GetVersionRequest* request) override;
  grpc::ServerReadReactor<pb_registry::EvaluateParametersRequest>* EvaluateParameters(grpc::CallbackServerContext* context,
                                                                                      pb_registry::Metrics* response) override;
  grpc::ServerReadReactor<pb_registry::CommitParametersRequest>* CommitParameters(grpc::CallbackServerContext* context,
                                                                                  pb_registry::Version* response) override;

 private:
  HandlerContext& handlers_;
  HandlerContext& transfers_;
  TransferSlots slots_;
  registry::Registry* registry_ = nullptr;
};

}  // namespace edgefleet::services
