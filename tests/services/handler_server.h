// A real gRPC server on a port of its own whose OriginService answers through services/runtime/rpc_handlers.h with what a test
// plugs in.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "base/executor.h"
#include "edgefleet/origin/v1/origin.grpc.pb.h"
#include "proto/rpc/status.h"
#include "services/runtime/prometheus_metrics.h"
#include "services/runtime/rpc_handlers.h"

namespace edgefleet::services {

namespace pb = origin::v1;

class PluggableOrigin final : public pb::OriginService::CallbackService {
 public:
  explicit PluggableOrigin(HandlerContext& handlers) : handlers_(handlers) {}

  std::function<Status(const pb::StatBlobRequest&, pb::BlobState&)> stat;
  std::function<void(const pb::GetEndpointRequest&, std::shared_ptr<Deferred<pb::Endpoint>>)> endpoint;
  std::function<std::unique_ptr<UploadSink<pb::PutBlobRequest, pb::BlobState>>()> put;
  std::function<Result<Producer<pb::BlobChunk>>(const pb::GetBlobRequest&)> get;
  std::function<Status(const pb::GetBlobRequest&, std::shared_ptr<EventWriter<pb::BlobChunk>>)> watch;  // instead of `get`

  grpc::ServerUnaryReactor* StatBlob(grpc::CallbackServerContext* context, const pb::StatBlobRequest* request,
                                     pb::BlobState* response) override {
    return RunUnary(handlers_, context, "OriginService/StatBlob", request, response, stat);
  }
  grpc::ServerUnaryReactor* GetEndpoint(grpc::CallbackServerContext* context, const pb::GetEndpointRequest* request,
                                        pb::Endpoint* response) override {
    return RunDeferred(handlers_, context, "OriginService/GetEndpoint", request, response, endpoint);
  }
  grpc::ServerReadReactor<pb::PutBlobRequest>* PutBlob(grpc::CallbackServerContext* context, pb::BlobState* response) override {
    return RunUpload<pb::PutBlobRequest, pb::BlobState>(handlers_, context, "OriginService/PutBlob", response, put());
  }
  grpc::ServerWriteReactor<pb::BlobChunk>* GetBlob(grpc::CallbackServerContext* context,
                                                   const pb::GetBlobRequest* request) override {
    if (watch) return RunWatch<pb::BlobChunk>(handlers_, context, "OriginService/GetBlob", request, watch);
    return RunDownload<pb::BlobChunk>(handlers_, context, "OriginService/GetBlob", request, get);
  }

 private:
  HandlerContext& handlers_;
};

class HandlerServer {
 public:
  explicit HandlerServer(std::size_t threads = 2, std::size_t queue_max = 64)
      : pool("test", threads, queue_max), handlers{pool, metrics, logger}, service(handlers) {
    rpc::KeepGrpcRunning();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub = pb::OriginService::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), args));
  }
  ~HandlerServer() { Shutdown(); }

  void Shutdown() {
    if (!server) return;
    server->Shutdown(std::chrono::system_clock::now());
    pool.Stop();
    server.reset();
  }

  NullLogger logger;
  PrometheusMetrics metrics;
  ThreadPool pool;
  HandlerContext handlers;
  PluggableOrigin service;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<pb::OriginService::Stub> stub;
};

}  // namespace edgefleet::services
