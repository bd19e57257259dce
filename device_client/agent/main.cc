// edgefleet-device: the agent that keeps one device's model up to date, runs it, and takes part in federated rounds.
#include <pthread.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "device_client/agent/npy_dataset.h"
#include "device_client/device/device.h"

namespace {

using edgefleet::LogField;
using edgefleet::LogLevel;
using edgefleet::Result;
using edgefleet::Status;
namespace device = edgefleet::device;
using Json = nlohmann::json;

using edgefleet::runtime::LoadMode;
const std::map<std::string, LoadMode> kLoadModes{
    {"mapped", LoadMode::kMapped}, {"eager", LoadMode::kEager}, {"lazy", LoadMode::kLazy}, {"streaming", LoadMode::kStreaming}};

struct Arguments {
  device::DeviceOptions device;
  std::string trust_key_file;
  std::vector<std::string> enrolment_key_files;
  bool require_active = false;
  std::string examples;
  std::string labels;
  std::string input;
  std::int64_t update_interval_ms = 60'000;
  bool json = false;
};

// JSON lines on stderr.
class StderrLogger final : public edgefleet::Logger {
 public:
  void Write(LogLevel level, std::string_view event, std::span<const LogField> fields) override {
    if (level == LogLevel::kDebug) return;
    Json line{{"event", event}};
    for (const auto& field : fields) line[std::string(field.key)] = field.value;
    std::cerr << line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
};

int Fail(const Status& status, bool json) {
  if (json) {
    std::cout << Json{{"error",
                       {{"code", StatusCodeName(status.code())}, {"reason", status.reason()}, {"message", status.message()}}}}
              << std::endl;
  } else {
    std::cerr << "error: " << status.message() << " [" << status.reason() << "]\n";
  }
  return status.code() == edgefleet::StatusCode::kInvalidArgument ? 2 : 1;
}

int PrintStatus(const device::Device& opened, const Arguments& arguments) {
  const auto active = opened.active();
  if (arguments.json) {
    Json out{{"device_id", arguments.device.device_id}, {"model", arguments.device.model}, {"version", nullptr}};
    if (active) out.update({{"version", active->version}, {"variant", active->variant}, {"file", active->file.string()}});
    std::cout << out << std::endl;
  } else if (active) {
    std::cout << active->model << " version " << active->version << " (" << active->variant << ")\n";
  } else {
    std::cout << "no model yet; run 'edgefleet-device update'\n";
  }
  return 0;
}

int PrintIdentity(device::Device& opened, const Arguments& arguments) {
  const auto key = opened.Identity();
  if (!key) return Fail(key.error(), arguments.json);
  const std::string hex = edgefleet::HexEncode(*key);
  if (arguments.json) {
    std::cout << Json{{"device_id", arguments.device.device_id}, {"identity", hex}} << std::endl;
  } else {
    std::cout << hex << '\n';
  }
  return 0;
}

int RunUpdate(device::Device& opened, const Arguments& arguments) {
  const auto result = opened.Update();
  if (!result) return Fail(result.error(), arguments.json);
  if (arguments.json) {
    std::cout << Json{{"changed", result->changed},
                      {"from_version", result->from_version},
                      {"to_version", result->to_version},
                      {"by_delta", result->by_delta},
                      {"bytes", result->bytes_transferred}}
              << std::endl;
  } else if (result->changed) {
    std::cout << "version " << result->from_version << " -> " << result->to_version << (result->by_delta ? " by delta, " : ", ")
              << result->bytes_transferred << " bytes\n";
  } else {
    std::cout << "up to date\n";
  }
  return 0;
}

int RunInfer(device::Device& opened, const Arguments& arguments) {
  const auto input = edgefleet::arrays::NpyFile::Open(arguments.input);
  if (!input) return Fail(input.error(), arguments.json);
  if (input->info().type != edgefleet::arrays::ElementType::kFloat32) {
    return Fail(edgefleet::InvalidArgument("BAD_NPY", arguments.input + " must be float32, not " + input->info().ToString()),
                arguments.json);
  }
  std::vector<float> values(input->data().size() / sizeof(float));
  std::memcpy(values.data(), input->data().data(), input->data().size());
  const auto output = opened.Infer(values);
  if (!output) return Fail(output.error(), arguments.json);
  if (arguments.json) {
    std::cout << Json{{"output", *output}} << std::endl;
  } else {
    for (const float value : *output) std::cout << value << '\n';
  }
  return 0;
}

// Waits for SIGINT or SIGTERM, which every thread has blocked, and passes it on as a stop.
std::jthread StopOnSignal(std::stop_source& stop) {
  return std::jthread([&stop](std::stop_token done) {
    sigset_t signals;
    sigemptyset(&signals);
    for (int number : {SIGINT, SIGTERM}) sigaddset(&signals, number);
    constexpr timespec kPoll{.tv_sec = 0, .tv_nsec = 200'000'000};
    while (!done.stop_requested()) {
      if (sigtimedwait(&signals, nullptr, &kPoll) > 0) {
        stop.request_stop();
        return;
      }
    }
  });
}

int RunAgent(device::Device& opened, const Arguments& arguments, edgefleet::Logger& logger) {
  std::unique_ptr<edgefleet::agent::NpyDataset> examples;
  if (!arguments.examples.empty()) {
    auto loaded = edgefleet::agent::NpyDataset::Open(arguments.examples, arguments.labels);
    if (!loaded) return Fail(loaded.error(), arguments.json);
    examples = std::move(*loaded);
  }
  std::stop_source stop;
  const auto watcher = StopOnSignal(stop);
  device::Control control;
  control.stop = stop.get_token();
  const edgefleet::Millis update_interval(arguments.update_interval_ms);
  edgefleet::SystemClock clock;
  edgefleet::WallTime next_update = clock.Now();
  while (!control.stop.stop_requested()) {
    if (clock.Now() >= next_update) {
      if (const auto updated = opened.Update(control); !updated) {
        logger.Warn("update failed", {{"reason", updated.error().reason()}, {"message", updated.error().message()}});
      } else if (updated->changed) {
        logger.Info("updated", {{"from", updated->from_version}, {"to", updated->to_version}, {"by_delta", updated->by_delta}});
      }
      static_cast<void>(opened.ReportHealth());  // best effort; what could not be sent waits
      next_update = clock.Now() + update_interval;
    }
    auto pause = std::chrono::duration_cast<edgefleet::Millis>(next_update - clock.Now());
    if (examples) {
      const auto part = opened.Participate(device::Conditions{}, *examples, control);
      if (!part) logger.Warn("round not finished", {{"reason", part.error().reason()}, {"message", part.error().message()}});
      pause = std::min(pause, part ? part->retry_after : part.error().retry_after().value_or(edgefleet::Millis(5000)));
    }
    control.Wait(std::max(pause, edgefleet::Millis(100)));
  }
  return 0;
}

void AddDeviceOptions(CLI::App& app, Arguments& arguments) {
  auto& options = arguments.device;
  app.set_config("--config", "", "read options from a TOML or INI file");
  app.add_option("--state-dir", options.state_dir, "where the device keeps everything")->required();
  app.add_option("--device-id", options.device_id, "unique in the fleet")->required();
  app.add_option("--device-class", options.device_class, "kind of hardware")->required();
  app.add_option("--region", options.region)->required();
  app.add_option("--os", options.os)->capture_default_str();
  app.add_option("--model", options.model, "model to follow")->required();
  app.add_option("--alias", options.alias)->capture_default_str();
  app.add_option("--variant", options.variant, "what to infer with")->capture_default_str();
  app.add_option("--origin", options.origin_url, "http://host:port of the origin")->required();
  app.add_option("--fleet", options.fleet_address, "host:port of the selector; without it no rounds");
  app.add_option("--trust-key", arguments.trust_key_file, "file with the Ed25519 public key (hex) that signs manifests")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--enrolment-key", arguments.enrolment_key_files,
                 "file with the Ed25519 public key (hex) of an authority that enrols devices; without one no active rounds")
      ->check(CLI::ExistingFile);
  app.add_option("--identity-cert", options.identity_certificate,
                 "file with this device's certificate by the authority [identity.cert in the state folder]");
  app.add_flag("--require-active", arguments.require_active, "take part only in rounds that withstand an active adversary");
  app.add_option("--delegate", options.delegate, "onednn or reference")->capture_default_str();
  app.add_option("--threads", options.threads)->capture_default_str()->check(CLI::Range(1, 64));
  app.add_option("--model-memory", options.model_memory_bytes_max, "bytes for loaded models, e.g. 64MiB")
      ->capture_default_str()
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--load-mode", options.load_mode, "when weights are in memory: mapped, eager, lazy or streaming")
      ->default_str("mapped")
      ->transform(CLI::CheckedTransformer(kLoadModes));
  app.add_flag("--json", arguments.json, "machine-readable output");
}

Status ReadKeys(Arguments& arguments) {
  EF_ASSIGN_OR_RETURN(arguments.device.trusted_keys.emplace_back(),
                      edgefleet::crypto::ReadEd25519PublicKey(arguments.trust_key_file));
  auto& policy = arguments.device.secure_aggregation;
  for (const auto& file : arguments.enrolment_key_files) {
    EF_ASSIGN_OR_RETURN(policy.authorities.emplace_back(), edgefleet::crypto::ReadEd25519PublicKey(file));
  }
  if (arguments.require_active) policy.adversary = edgefleet::secagg::Adversary::kActive;
  return edgefleet::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Arguments arguments;
  CLI::App app("edgefleet-device: keeps one device's model up to date, runs it, and takes part in federated rounds.");
  app.footer(
      "Example:\n  edgefleet-device run --state-dir /var/lib/edgefleet --device-id cam-17 --device-class camera --region eu "
      "\\\n"
      "    --model fashion --origin http://cdn.example:7080 --fleet fleet.example:7070 --trust-key manifest.pub \\\n"
      "    --examples images.npy --labels labels.npy\nExit codes: 0 ok, 1 failure, 2 usage.");
  AddDeviceOptions(app, arguments);
  app.require_subcommand(1);
  app.fallthrough();
  auto* run = app.add_subcommand("run", "update, and with --examples take part in rounds, until SIGTERM");
  auto* examples = run->add_option("--examples", arguments.examples, "local training examples (.npy, float32, one row each)");
  run->add_option("--labels", arguments.labels, "their classes (.npy, integers)")->needs(examples);
  run->add_option("--update-interval-ms", arguments.update_interval_ms)
      ->capture_default_str()
      ->check(CLI::Range(100, 86'400'000));
  auto* update = app.add_subcommand("update", "look for a new version once and install it");
  auto* rollback = app.add_subcommand("rollback", "go back to the last good version");
  auto* status = app.add_subcommand("status", "show the active version");
  auto* identity = app.add_subcommand("identity", "print the public key by which an authority enrols this device");
  auto* infer = app.add_subcommand("infer", "run the active model on one example");
  infer->add_option("--input", arguments.input, ".npy, float32")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  StderrLogger logger;
  if (Status read = ReadKeys(arguments); !read.ok()) return Fail(read, arguments.json);
  device::DeviceHost host;
  host.logger = &logger;
  auto opened = device::Device::Open(arguments.device, std::move(host));
  if (!opened) return Fail(opened.error(), arguments.json);
  if (update->parsed()) return RunUpdate(**opened, arguments);
  if (status->parsed()) return PrintStatus(**opened, arguments);
  if (identity->parsed()) return PrintIdentity(**opened, arguments);
  if (infer->parsed()) return RunInfer(**opened, arguments);
  if (rollback->parsed()) {
    Status rolled = (*opened)->Rollback();
    return rolled.ok() ? PrintStatus(**opened, arguments) : Fail(rolled, arguments.json);
  }
  return run->parsed() ? RunAgent(**opened, arguments, logger) : 2;
}
