// edgefleet: the command for ML teams, operators and scripts.
#include <iostream>
#include <string>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/trace.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

constexpr char kExamples[] = R"(
Examples:
  edgefleet model publish fashion cnn.onnx --calibration train.npz --evaluation test.npz --alias stable
  edgefleet model show fashion:stable
  edgefleet task create --model fashion --rounds 10 --cohort 20 --watch
  edgefleet device list --json

With --json each result is one line of JSON on stdout (watch: one line an event), and so is an error:
  {"error":{"code":"NOT_FOUND","reason":"MODEL_UNKNOWN","message":"...","hint":"..."}}

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 unreachable or too late, 5 refused.)";

void DeclareGlobals(CLI::App& app, Endpoints& endpoints, Output& out) {
  app.add_option("--server", endpoints.server, "HOST:PORT of edgefleetd")->envname("EDGEFLEET_SERVER")->capture_default_str();
  app.add_option("--registry", endpoints.registry, "HOST:PORT of the registry, if it is elsewhere")
      ->envname("EDGEFLEET_REGISTRY");
  app.add_option("--origin", endpoints.origin, "HOST:PORT (gRPC) of the origin, if it is elsewhere")
      ->envname("EDGEFLEET_ORIGIN");
  app.add_option("--selector", endpoints.selector, "HOST:PORT of the selector, if it is elsewhere")
      ->envname("EDGEFLEET_SELECTOR");
  app.add_option("--aggregator", endpoints.aggregator, "HOST:PORT of the aggregator, if it is elsewhere")
      ->envname("EDGEFLEET_AGGREGATOR");
  app.add_option("--timeout", endpoints.timeout_s, "seconds for one call")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86400.0));
  app.add_flag("--json", out.json, "machine-readable output");
}

struct VersionSpec {};

Status PrintProgramVersion(Context& context, const VersionSpec&) {
  if (context.out.json) {
    context.out.PrintJson({{"version", EDGEFLEET_VERSION}});
  } else {
    context.out.PrintLine("edgefleet " EDGEFLEET_VERSION);
  }
  return OkStatus();
}

// --help and the like are answered by CLI11; a usage error looks like every other error.
int ExitForParse(const CLI::App& app, const CLI::ParseError& error, const Output& out) {
  if (error.get_exit_code() == 0) return app.exit(error);
  std::string message = error.what();
  const std::vector<std::string> unknown = app.remaining(true);
  if (!unknown.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
    message += "; '" + unknown.front() + "' is unknown here";
  out.PrintError(InvalidArgument(kReasonUsage, message));
  return kExitUsage;
}

int Main(int argc, char** argv) {
  CLI::App app("edgefleet: publish models, run federated tasks, look at the fleet");
  app.require_subcommand(1);
  app.footer(kExamples);
  Endpoints endpoints;
  Output out;
  Action action;
  DeclareGlobals(app, endpoints, out);
  AddModelCommands(app, action);
  AddTaskCommands(app, action);
  AddDeviceCommands(app, action);
  AddSecaggCommands(app, action);
  AddPrivacyCommands(app, action);
  AddCommand(app, action, "version", "the version of this command", "  edgefleet version\n", &PrintProgramVersion,
             std::make_shared<VersionSpec>());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // A failed parse may not have reached --json.
    for (int i = 1; i < argc; ++i) out.json = out.json || std::string_view(argv[i]) == "--json";
    return ExitForParse(app, error, out);
  }
  crypto::SecureRandom random;
  const TraceScope trace(TraceContext::Generate(random));
  rpc::KeepGrpcRunning();
  Client client(endpoints);
  Context context{client, out};
  const Status status = action(context);
  if (!status.ok()) out.PrintError(status);
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace edgefleet::cli

int main(int argc, char** argv) { return edgefleet::cli::Main(argc, argv); }
