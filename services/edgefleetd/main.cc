// edgefleetd: the edgefleet server, one role or all of them in one process.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "services/edgefleetd/roles.h"
#include "services/runtime/bootstrap.h"
#include "services/runtime/config.h"

namespace edgefleet::services {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitBadConfig = 2;

constexpr char kExamples[] = R"(
Examples:
  edgefleetd --data-dir /var/lib/edgefleet
      every role in one process: SQLite, files and memory below the data folder
  edgefleetd --config /etc/edgefleet/edgefleet.yaml --check-config
      is this configuration right?
  edgefleetd --role selector --redis-url redis://cache:6379/0 --listen-grpc 0.0.0.0:7070
      one role of a cluster
  edgefleetd --listen-grpc 127.0.0.1:0 --listen-metrics 127.0.0.1:0 --port-file ports.json
      on ports that the kernel chooses, written to a file once it serves

Exit codes: 0 stopped in order, 1 could not start or run, 2 bad configuration or usage.)";

struct Options {
  std::string config_file;
  bool check = false;
  bool print = false;
  Config overrides;  // values given on the command line
};

// One option that overrides one configuration key.
template <typename T>
void Override(CLI::App& app, std::vector<std::function<void(Config&)>>& overrides, const std::string& flag, T& value,
              T& (*key)(Config&), const std::string& help, const char* environment = nullptr) {
  auto* option = app.add_option(flag, value, help);
  if (environment != nullptr) option->envname(environment);
  overrides.push_back([option, &value, key](Config& config) {
    if (option->count() > 0) key(config) = value;
  });
}

std::vector<std::function<void(Config&)>> DeclareOptions(CLI::App& app, Options& options) {
  std::vector<std::function<void(Config&)>> set;
  Config& o = options.overrides;
  app.add_option("--config", options.config_file, "YAML configuration; what is given here beside it counts more")
      ->type_name("FILE");
  auto text = [&](const char* flag, std::string& value, std::string& (*key)(Config&), const char* help,
                  const char* environment = nullptr) { Override(app, set, flag, value, key, help, environment); };
  text(
      "--role", o.role, [](Config& c) -> std::string& { return c.role; }, "all, registry, origin, selector or aggregator");
  Override<std::filesystem::path>(
      app, set, "--data-dir", o.data_dir, [](Config& c) -> std::filesystem::path& { return c.data_dir; },
      "folder for everything that must last");
  text(
      "--listen-grpc", o.listen.grpc, [](Config& c) -> std::string& { return c.listen.grpc; },
      "host:port; port 0: any free one");
  text(
      "--listen-http", o.listen.http, [](Config& c) -> std::string& { return c.listen.http; }, "host:port of the origin");
  text(
      "--listen-metrics", o.listen.metrics, [](Config& c) -> std::string& { return c.listen.metrics; },
      "host:port of /metrics");
  text(
      "--advertise", o.listen.advertise, [](Config& c) -> std::string& { return c.listen.advertise; },
      "host:port that others dial for gRPC");
  text(
      "--advertise-http", o.listen.advertise_http, [](Config& c) -> std::string& { return c.listen.advertise_http; },
      "http://host:port that devices fetch from");
  text(
      "--postgres-url", o.postgres_url, [](Config& c) -> std::string& { return c.postgres_url; },
      "PostgreSQL instead of SQLite", "EDGEFLEET_POSTGRES_URL");
  text(
      "--redis-url", o.redis_url, [](Config& c) -> std::string& { return c.redis_url; }, "Redis instead of memory",
      "EDGEFLEET_REDIS_URL");
  text(
      "--peer-registry", o.peers.registry, [](Config& c) -> std::string& { return c.peers.registry; }, "host:port");
  text(
      "--peer-origin", o.peers.origin, [](Config& c) -> std::string& { return c.peers.origin; }, "host:port");
  text(
      "--peer-selector", o.peers.selector, [](Config& c) -> std::string& { return c.peers.selector; }, "host:port");
  text(
      "--peer-aggregator", o.peers.aggregator, [](Config& c) -> std::string& { return c.peers.aggregator; }, "host:port");
  Override<std::filesystem::path>(
      app, set, "--port-file", o.port_file, [](Config& c) -> std::filesystem::path& { return c.port_file; },
      "where to write the bound addresses as JSON once the process serves");
  text(
      "--log-level", o.log.level, [](Config& c) -> std::string& { return c.log.level; }, "debug, info, warn or error");
  app.add_flag("--check-config", options.check, "check the configuration and exit");
  app.add_flag("--print-config", options.print, "print the whole configuration, passwords hidden, and exit");
  app.set_version_flag("--version", std::string("edgefleetd " EDGEFLEET_VERSION));
  app.footer(kExamples);
  return set;
}

int Fail(const Status& status, int code) {
  std::cerr << "error: " << status.message() << " [" << status.reason() << "]\n";
  return code;
}

int Main(int argc, char** argv) {
  BlockStopSignals();
  CLI::App app("edgefleetd: ships models to a fleet of devices and improves them without collecting data");
  Options options;
  const auto overrides = DeclareOptions(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kExitBadConfig;
  }
  Config config;
  if (!options.config_file.empty()) {
    auto loaded = LoadConfig(options.config_file);
    if (!loaded) return Fail(loaded.error(), kExitBadConfig);
    config = std::move(*loaded);
  }
  for (const auto& apply : overrides) apply(config);
  if (Status checked = CheckConfig(config); !checked.ok()) return Fail(checked, kExitBadConfig);
  if (options.print) return std::cout << PrintConfig(config), 0;
  if (options.check) return std::cout << "configuration is valid\n", 0;
  if (Status served = ServeUntilSignal(config, RolesOf(config.role)); !served.ok()) return Fail(served, kExitFailure);
  return 0;
}

}  // namespace
}  // namespace edgefleet::services

int main(int argc, char** argv) { return edgefleet::services::Main(argc, argv); }
