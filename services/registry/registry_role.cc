#include "services/registry/registry_role.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "registry/registry.h"
#include "registry/store/stores.h"
#include "services/registry/handlers.h"
#include "services/registry/origin_distribution.h"
#include "services/registry/toolchain.h"
#include "services/runtime/signing_key.h"

namespace edgefleet::services {
namespace {

constexpr std::chrono::seconds kMaintenanceInterval{30};
constexpr std::size_t kTransferQueueMax = 256;

registry::RegistryOptions OptionsOf(const Config& config) {
  return {.compile_threads = config.registry.compile_threads,
          .upload_sessions_max = config.registry.upload_sessions_max,
          .upload_session_lifetime_ms = config.registry.upload_session_lifetime_s * 1000,
          .manifest_lifetime_ms = config.registry.manifest_lifetime_s * 1000,
          .backoff = {}};
}

Result<std::unique_ptr<registry::MetadataStore>> OpenStore(const Config& config, const std::filesystem::path& folder) {
  return config.postgres_url.empty() ? registry::OpenSqliteStore(folder / "registry.db")
                                     : registry::OpenPostgresStore(config.postgres_url);
}

// Calls `work` every now and then on a thread of its own.
class Periodic {
 public:
  ~Periodic() { Stop(); }
  void Start(std::chrono::seconds interval, std::function<void()> work) {
    thread_ = std::thread([this, interval, work = std::move(work)] {
      std::unique_lock lock(mutex_);
      while (!wake_.wait_for(lock, interval, [this] { return stopped_; })) {
        lock.unlock();
        work();
        lock.lock();
      }
    });
  }
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace

struct RegistryRole::Impl {
  explicit Impl(RoleContext role_context)
      : context(role_context),
        transfer_pool("registry-parameters", kTransferThreads, kTransferQueueMax),
        transfers{transfer_pool, context.metrics, context.logger, false},
        service(context.handlers, transfers) {}

  void Maintain() {
    const Status status = domain->Maintain();
    if (!status.ok()) context.logger.Warn("registry maintenance failed", {{"error", status.ToString()}});
  }

  const RoleContext context;
  registry::Toolchain toolchain = MakeToolchain();
  std::optional<crypto::Ed25519SecretKey> key;
  std::unique_ptr<registry::MetadataStore> store;
  std::unique_ptr<registry::ArtifactStore> artifacts;
  std::unique_ptr<OriginDistribution> distribution;
  std::unique_ptr<registry::Registry> domain;
  Periodic maintenance;
  // Its threads use all of the above.
  ThreadPool transfer_pool;
  HandlerContext transfers;
  RegistryHandlers service;
};

RegistryRole::RegistryRole(RoleContext context) : impl_(std::make_unique<Impl>(context)) {}

RegistryRole::~RegistryRole() { Stop(); }

Status RegistryRole::RegisterServices(grpc::ServerBuilder& builder) {
  const Config& config = impl_->context.config;
  const std::filesystem::path folder = config.data_dir / "registry";
  EF_ASSIGN_OR_RETURN(impl_->key, LoadSigningKey(config.registry.signing_key_file, config.data_dir, "manifest"));
  EF_ASSIGN_OR_RETURN(impl_->artifacts, registry::ArtifactStore::Open(folder));
  EF_ASSIGN_OR_RETURN(impl_->store, OpenStore(config, folder));
  builder.RegisterService(&impl_->service);
  return OkStatus();
}

Status RegistryRole::Start(const PeerChannels& peers) {
  impl_->distribution = std::make_unique<OriginDistribution>(peers.origin, *impl_->key);
  impl_->domain = std::make_unique<registry::Registry>(
      registry::RegistryDependencies{*impl_->store, *impl_->artifacts, *impl_->distribution, impl_->toolchain,
                                     impl_->context.clock, impl_->context.logger, impl_->context.metrics},
      OptionsOf(impl_->context.config));
  EF_RETURN_IF_ERROR(impl_->domain->Start());
  impl_->service.Attach(*impl_->domain);
  impl_->maintenance.Start(kMaintenanceInterval, [this] { impl_->Maintain(); });
  impl_->transfers.serving.store(true, std::memory_order_release);
  return OkStatus();
}

void RegistryRole::Drain() {
  if (impl_->domain) impl_->domain->Drain();
}

void RegistryRole::Stop() {
  impl_->maintenance.Stop();
  impl_->transfer_pool.Stop();
  if (impl_->domain) impl_->domain->Stop();
}

}  // namespace edgefleet::services
