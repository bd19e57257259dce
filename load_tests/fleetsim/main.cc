// edgefleet-fleetsim: a simulated fleet of real device libraries with shards of Fashion-MNIST.
#include <pthread.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/crypto/key_file.h"
#include "base/file.h"
#include "load_tests/fashion/fashion_data.h"
#include "load_tests/fleetsim/fleet.h"

namespace {

using edgefleet::Result;
using edgefleet::Status;
namespace fashion = edgefleet::fashion;
namespace fleetsim = edgefleet::fleetsim;
using Json = nlohmann::json;

constexpr std::size_t kSortedShards = 2;  // a device, as in McMahan et al. 2017
const std::map<std::string, edgefleet::device::RoundStep> kDropoutSteps = {
    {"advertise", edgefleet::device::RoundStep::kAdvertisedKeys},
    {"share", edgefleet::device::RoundStep::kSharedKeys},
    {"upload", edgefleet::device::RoundStep::kUploaded},
    {"confirm", edgefleet::device::RoundStep::kConfirmed}};

struct Arguments {
  fleetsim::FleetOptions fleet;
  std::string trust_key_file;
  std::string enrolment_authority_file;
  std::string dataset = fashion::kDefaultFolder;
  std::string sharding = "iid";
  std::string status_file;
  double run_seconds = 0;
};

Json ToJson(const fleetsim::FleetTotals& totals) {
  Json by_version = Json::object();
  for (const auto& [version, count] : totals.devices_by_version) by_version[std::to_string(version)] = count;
  return {{"devices_by_version", by_version},
          {"installs", totals.installs},
          {"installs_by_delta", totals.installs_by_delta},
          {"bytes_by_delta", totals.bytes_by_delta},
          {"bytes_in_full", totals.bytes_in_full},
          {"update_failures", totals.update_failures},
          {"inferences", totals.inferences},
          {"inferences_right", totals.inferences_right},
          {"rounds_contributed", totals.rounds_contributed},
          {"rounds_not_counted", totals.rounds_not_counted},
          {"dropouts_injected", totals.dropouts_injected},
          {"errors_by_reason", totals.errors_by_reason}};
}

void AddOptions(CLI::App& app, Arguments& arguments) {
  auto& fleet = arguments.fleet;
  app.add_option("--devices", fleet.devices)->capture_default_str()->check(CLI::Range(1, 10'000));
  app.add_option("--state-dir", fleet.state_dir, "one folder a device below it")->required();
  app.add_option("--origin", fleet.origin_url, "http://host:port")->required();
  app.add_option("--fleet", fleet.fleet_address, "host:port of the selector")->required();
  app.add_option("--trust-key", arguments.trust_key_file, "manifest.pub of the registry")->required()->check(CLI::ExistingFile);
  app.add_option("--model", fleet.model)->required();
  app.add_option("--alias", fleet.alias)->capture_default_str();
  app.add_option("--classes", fleet.classes, "device classes, spread evenly")->delimiter(',')->capture_default_str();
  app.add_option("--regions", fleet.regions, "regions, spread evenly")->delimiter(',')->capture_default_str();
  app.add_option("--dataset", arguments.dataset, "folder of Fashion-MNIST's IDX files")->capture_default_str();
  app.add_option("--sharding", arguments.sharding, "iid, or sorted: two label-sorted shards each (McMahan et al. 2017)")
      ->capture_default_str()
      ->check(CLI::IsMember({"iid", "sorted"}));
  app.add_option("--enrolment-authority", arguments.enrolment_authority_file,
                 "file with the authority's Ed25519 seed (hex): enrols every device; without it no active rounds")
      ->check(CLI::ExistingFile);
  app.add_option("--dropout", fleet.dropout_rate, "share of assignments that go silent in the middle")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--dropout-after", fleet.dropout_after, "their last step: advertise, share, upload or confirm [share]")
      ->transform(CLI::CheckedTransformer(kDropoutSteps));
  app.add_option("--seed", fleet.seed)->capture_default_str();
  app.add_option("--train-threads", fleet.train_threads, "devices that train at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_option_function<std::int64_t>(
         "--update-interval-ms", [&fleet](std::int64_t ms) { fleet.update_interval = edgefleet::Millis(ms); },
         "how often a device looks for a new version [2000]")
      ->check(CLI::Range(50, 3'600'000));
  app.add_option("--status-file", arguments.status_file, "totals as JSON, rewritten every second");
  app.add_option("--run-seconds", arguments.run_seconds, "stop by itself after this long; 0: at SIGTERM")
      ->capture_default_str();
  app.footer("Prints the fleet's totals as one JSON object when it ends. Exit codes: 0 ok, 1 failure, 2 usage.");
}

// Until SIGINT, SIGTERM or the end of `run_seconds`; all threads have the signals blocked.
Status RunUntilStopped(const fleetsim::Fleet& fleet, const Arguments& arguments) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM}) sigaddset(&signals, number);
  constexpr timespec kTick{.tv_sec = 1, .tv_nsec = 0};
  for (double elapsed = 0; arguments.run_seconds <= 0 || elapsed < arguments.run_seconds; elapsed += 1) {
    if (sigtimedwait(&signals, nullptr, &kTick) > 0) break;
    if (!arguments.status_file.empty()) {
      EF_RETURN_IF_ERROR(edgefleet::WriteFileAtomic(arguments.status_file, edgefleet::AsBytes(ToJson(fleet.Totals()).dump())));
    }
  }
  return edgefleet::OkStatus();
}

Status Run(Arguments& arguments) {
  EF_ASSIGN_OR_RETURN(arguments.fleet.trusted_key, edgefleet::crypto::ReadEd25519PublicKey(arguments.trust_key_file));
  if (!arguments.enrolment_authority_file.empty()) {
    EF_ASSIGN_OR_RETURN(arguments.fleet.enrolment_authority,
                        edgefleet::crypto::ReadEd25519SecretKey(arguments.enrolment_authority_file));
  }
  EF_ASSIGN_OR_RETURN(const auto data, fashion::LoadFashionMnist(arguments.dataset));
  const auto& fleet_options = arguments.fleet;
  EF_ASSIGN_OR_RETURN(
      auto split, arguments.sharding == "iid"
                      ? fashion::ShardIid(data.devices->size(), fleet_options.devices, fleet_options.seed)
                      : fashion::ShardSorted(data.devices->labels, fleet_options.devices, kSortedShards, fleet_options.seed));
  std::vector<std::unique_ptr<edgefleet::runtime::Dataset>> shards;
  for (auto& shard : split) shards.push_back(std::make_unique<fashion::ShardDataset>(data.devices, std::move(shard)));
  fleetsim::Fleet fleet(arguments.fleet, std::move(shards));
  EF_RETURN_IF_ERROR(fleet.Start());
  EF_RETURN_IF_ERROR(RunUntilStopped(fleet, arguments));
  fleet.Stop();
  std::cout << ToJson(fleet.Totals()) << std::endl;
  return edgefleet::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Arguments arguments;
  CLI::App app("edgefleet-fleetsim: N virtual devices in one process, each the real library with its own state and data.");
  AddOptions(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (Status status = Run(arguments); !status.ok()) {
    std::cerr << "error: " << status.message() << " [" << status.reason() << "]\n";
    return 1;
  }
  return 0;
}
