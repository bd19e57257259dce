#include "services/runtime/bootstrap.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/executor.h"
#include "base/file.h"
#include "proto/rpc/status.h"
#include "services/runtime/address.h"
#include "services/runtime/logging.h"
#include "services/runtime/prometheus_metrics.h"
#include "services/runtime/rpc_handlers.h"

namespace edgefleet::services {
namespace {

constexpr std::size_t kServerMemoryBytes = std::size_t{512} << 20;  // gRPC's buffers, over all connections

// One role with what belongs to it alone. Members go in reverse order: the role before what it uses.
struct RoleSlot {
  RoleSlot(const RoleSpec& spec, const Config& config, Metrics& metrics, LogLevel level, const Clock& clock)
      : logger(MakeJsonLogger(level, spec.name, clock)),
        pool(spec.name, config.server.handler_threads, config.server.handler_queue_max),
        handlers{pool, metrics, *logger, false},
        role(spec.make(RoleContext{config, *logger, metrics, clock, handlers})) {}

  std::unique_ptr<Logger> logger;
  ThreadPool pool;
  HandlerContext handlers;
  std::unique_ptr<Role> role;
  bool registered = false;
};

// What a process on this machine dials to reach a listening address.
std::string Dialable(const HostPort& bound) {
  HostPort address = bound;
  if (address.wildcard()) address.host = address.host == "::" ? "::1" : "127.0.0.1";
  return address.ToString();
}

// What others dial: the machine's name where we listen on every address.
std::string Advertised(const Config& config, const HostPort& bound) {
  if (!config.listen.advertise.empty()) return config.listen.advertise;
  HostPort address = bound;
  char name[256] = {};
  if (address.wildcard() && gethostname(name, sizeof name - 1) == 0) address.host = name;
  return address.ToString();
}

std::shared_ptr<grpc::Channel> DialPeer(const std::string& target) {
  if (target.empty()) return nullptr;
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // peers are neighbours, never behind a web proxy
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
}

PeerChannels DialPeers(const Config& config, const HostPort& bound) {
  PeerChannels peers;
  peers.advertised_address = Advertised(config, bound);
  if (config.role == "all") {
    peers.registry = peers.origin = peers.selector = peers.aggregator = DialPeer(Dialable(bound));
    return peers;
  }
  peers.registry = DialPeer(config.peers.registry);
  peers.origin = DialPeer(config.peers.origin);
  peers.selector = DialPeer(config.peers.selector);
  peers.aggregator = DialPeer(config.peers.aggregator);
  return peers;
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  builder.SetMaxSendMessageSize(rpc::kMessageBytesMax);
  // The receive limit counts decompressed bytes, so a compressed message could grow far beyond it first.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetResourceQuota(grpc::ResourceQuota("edgefleetd").Resize(kServerMemoryBytes));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a taken port is an error, not a half of the traffic
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1024);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 15 * 60'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 2 * 3600'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 10 * 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  // Devices behind carrier NAT ping often and without calls.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
}

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

struct Process::State {
  explicit State(const Config& c) : config(c) {}

  Status ListenMetrics();
  void MakeRoles(const std::vector<RoleSpec>& specs);
  Status BuildServer();
  Status StartRoles();
  Status WritePortFile() const;
  void SetServing(bool serving);

  const Config config;
  SystemClock clock;
  LogLevel level = LogLevel::kInfo;
  std::unique_ptr<Logger> logger;
  PrometheusMetrics metrics;
  std::vector<std::unique_ptr<RoleSlot>> slots;
  std::unique_ptr<grpc::Server> server;
  HostPort bound;
  BoundAddresses addresses;
  bool stopped = false;
};

Status Process::State::ListenMetrics() {
  EF_ASSIGN_OR_RETURN(HostPort listen, ParseHostPort(config.listen.metrics));
  EF_ASSIGN_OR_RETURN(listen.port, metrics.Listen(listen.host, listen.port));
  addresses.metrics = listen.ToString();
  return OkStatus();
}

void Process::State::MakeRoles(const std::vector<RoleSpec>& specs) {
  for (const RoleSpec& spec : specs) slots.push_back(std::make_unique<RoleSlot>(spec, config, metrics, level, clock));
}

Status Process::State::BuildServer() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder);
  EF_ASSIGN_OR_RETURN(bound, ParseHostPort(config.listen.grpc));
  int port = 0;
  builder.AddListeningPort(bound.ToString(), grpc::InsecureServerCredentials(), &port);
  for (auto& slot : slots) {
    slot->registered = true;
    Status registered = slot->role->RegisterServices(builder);
    if (!registered.ok()) return std::move(registered).Annotate("role " + std::string(slot->role->name()));
  }
  server = builder.BuildAndStart();
  if (!server || port == 0) {
    return Unavailable("CANNOT_LISTEN", "cannot listen on " + config.listen.grpc +
                                            "; is the port taken? choose another with listen.grpc or --listen-grpc");
  }
  SetServing(false);
  bound.port = static_cast<std::uint16_t>(port);
  addresses.grpc = bound.ToString();
  return OkStatus();
}

Status Process::State::StartRoles() {
  const PeerChannels peers = DialPeers(config, bound);
  for (auto& slot : slots) {
    Status started = slot->role->Start(peers);
    if (!started.ok()) return std::move(started).Annotate("role " + std::string(slot->role->name()));
    slot->handlers.serving.store(true, std::memory_order_release);
    if (std::string http = slot->role->http_address(); !http.empty()) addresses.http = std::move(http);
    slot->logger->Info("role started");
  }
  SetServing(true);
  return OkStatus();
}

Status Process::State::WritePortFile() const {
  if (config.port_file.empty()) return OkStatus();
  const nlohmann::ordered_json ports{{"grpc", addresses.grpc}, {"http", addresses.http}, {"metrics", addresses.metrics}};
  Status written = WriteFileAtomic(config.port_file, AsBytes(ports.dump() + "\n"));
  if (!written.ok()) return std::move(written).Annotate("port file");
  return OkStatus();
}

void Process::State::SetServing(bool serving) {
  if (auto* health = server->GetHealthCheckService()) {
    health->SetServingStatus(serving);
    for (auto& slot : slots) health->SetServingStatus(std::string(slot->role->name()), serving);
  }
}

Process::Process(std::unique_ptr<State> state) : state_(std::move(state)) {}
Process::~Process() { Stop(); }

Result<std::unique_ptr<Process>> Process::Start(const Config& config, const std::vector<RoleSpec>& roles) {
  rpc::KeepGrpcRunning();
  std::unique_ptr<Process> process(new Process(std::make_unique<State>(config)));
  State& state = *process->state_;
  EF_ASSIGN_OR_RETURN(state.level, ParseLogLevel(config.log.level));
  state.logger = MakeJsonLogger(state.level, config.role, state.clock);
  EF_RETURN_IF_ERROR(state.ListenMetrics());
  state.MakeRoles(roles);
  EF_RETURN_IF_ERROR(state.BuildServer());
  EF_RETURN_IF_ERROR(state.StartRoles());
  EF_RETURN_IF_ERROR(state.WritePortFile());
  state.logger->Info("serving", {{"grpc", state.addresses.grpc},
                                 {"http", state.addresses.http},
                                 {"metrics", state.addresses.metrics},
                                 {"data_dir", config.data_dir.string()}});
  return process;
}

const BoundAddresses& Process::addresses() const { return state_->addresses; }

void Process::ReportNotServing() { state_->SetServing(false); }

void Process::Stop() {
  if (std::exchange(state_->stopped, true)) return;
  auto& slots = state_->slots;
  if (state_->server) {
    ReportNotServing();
    for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) (*slot)->role->Drain();
    const auto grace = std::chrono::milliseconds(state_->config.server.shutdown_grace_ms);
    state_->server->Shutdown(std::chrono::system_clock::now() + grace);
    for (auto& slot : slots) slot->pool.Stop();
    state_->server.reset();
  }
  for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
    if ((*slot)->registered) (*slot)->role->Stop();
  }
  slots.clear();
  if (state_->logger) state_->logger->Info("stopped");
}

void BlockStopSignals() {
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

Status ServeUntilSignal(const Config& config, const std::vector<RoleSpec>& roles) {
  EF_ASSIGN_OR_RETURN(auto process, Process::Start(config, roles));
  const sigset_t set = StopSignals();
  int received = 0;
  sigwait(&set, &received);
  process->ReportNotServing();
  // Balancers notice; a second signal cuts the wait short.
  const std::int64_t spread_ms = config.server.readiness_spread_ms;
  const timespec spread{static_cast<time_t>(spread_ms / 1000), static_cast<long>(spread_ms % 1000) * 1'000'000};
  if (spread_ms > 0) sigtimedwait(&set, nullptr, &spread);
  process->Stop();
  return OkStatus();
}

}  // namespace edgefleet::services
