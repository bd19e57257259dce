#include "services/origin/origin_role.h"

#include "cdn_origin/blobs/file_blob_store.h"
#include "cdn_origin/http/origin_content.h"
#include "cdn_origin/http/server.h"
#include "services/origin/origin_service.h"

namespace edgefleet::services {

struct OriginRole::State {
  explicit State(RoleContext given) : context(given) {}

  RoleContext context;
  std::unique_ptr<blobs::FileBlobStore> blobs;
  std::unique_ptr<delta::DeltaStore> deltas;
  std::unique_ptr<manifest::ManifestStore> manifests;
  std::unique_ptr<http::OriginContent> content;
  std::unique_ptr<OriginService> service;
  std::unique_ptr<http::Server> http;
};

OriginRole::OriginRole(RoleContext context) : state_(std::make_unique<State>(context)) {}
OriginRole::~OriginRole() = default;

Status OriginRole::RegisterServices(grpc::ServerBuilder& builder) {
  State& s = *state_;
  const auto dir = s.context.config.data_dir / "origin";
  EF_ASSIGN_OR_RETURN(s.blobs, blobs::FileBlobStore::Open(dir / "blobs"));
  EF_ASSIGN_OR_RETURN(s.deltas, delta::DeltaStore::Open(dir / "deltas", *s.blobs));
  EF_ASSIGN_OR_RETURN(s.manifests, manifest::ManifestStore::Open(dir / "manifests"));
  s.content = std::make_unique<http::OriginContent>(*s.blobs, *s.deltas, *s.manifests);
  s.service = std::make_unique<OriginService>(s.context.handlers, *s.blobs, *s.deltas, *s.manifests);
  builder.RegisterService(s.service.get());
  return OkStatus();
}

Status OriginRole::Start(const PeerChannels&) {
  State& s = *state_;
  const Config& config = s.context.config;
  http::ServerOptions options;
  options.listen = config.listen.http;
  options.threads = config.origin.http_threads;
  options.connections_max = config.origin.connections_max;
  EF_ASSIGN_OR_RETURN(s.http, http::Server::Start(options, *s.content, s.context.metrics));
  const std::string& advertised = config.listen.advertise_http;
  s.service->SetBaseUrl(advertised.empty() ? "http://" + s.http->address() : advertised);
  s.context.logger.Info("origin serves HTTP", {{"address", s.http->address()}});
  return OkStatus();
}

void OriginRole::Drain() {
  if (state_->http) state_->http->Drain();
}

void OriginRole::Stop() {
  if (state_->http) state_->http->Stop(std::chrono::milliseconds(state_->context.config.server.shutdown_grace_ms));
}

std::string OriginRole::http_address() const { return state_->http ? state_->http->address() : ""; }

}  // namespace edgefleet::services
