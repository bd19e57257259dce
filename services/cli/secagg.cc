// edgefleet secagg params
#include <cmath>

#include "secagg/parameters.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

struct ParamsSpec {
  std::uint64_t clients = 0;
  double corrupt = 0;
  double dropout = 0;
  std::string adversary;
  std::uint32_t correctness = 20;
};

constexpr char kSemiHonest[] = "semi-honest";
constexpr char kActive[] = "active";

// "2^-42.7", "never".
std::string FormatBound(double log2) { return std::isinf(log2) ? "never" : "2^" + FormatNumber(std::ceil(log2 * 10) / 10); }

void PrintParameters(const Output& out, const ParamsSpec& spec, const secagg::GraphParameters& parameters,
                     const secagg::Assumptions& assumptions) {
  const secagg::FailureBounds bounds = secagg::BoundFailures(spec.clients, parameters, assumptions);
  const std::string privacy = "2^-" + std::to_string(secagg::kSecurityBits + 1);
  const bool complete = parameters.degree + 1 == spec.clients;
  out.PrintFields({{"degree", std::to_string(parameters.degree) + (complete ? " (the complete graph)" : "")},
                   {"threshold", std::to_string(parameters.threshold)},
                   {"dropouts", "up to " + std::to_string(secagg::TolerableDropouts(spec.clients, assumptions)) + " of " +
                                    std::to_string(spec.clients)}});
  out.PrintLine("");
  out.PrintTable({"FAILURE", "AT MOST", "LIMIT"},
                 {{"the honest survivors fall into parts", FormatBound(bounds.disconnected), privacy},
                  {"corrupt neighbours expose a client", FormatBound(bounds.exposed), privacy},
                  {"a client cannot be unmasked, the round fails", FormatBound(bounds.unrecovered),
                   "2^-" + std::to_string(assumptions.correctness_bits)}});
}

Status Params(Context& context, const ParamsSpec& spec) {
  const secagg::Assumptions assumptions{
      .adversary = spec.adversary == kActive ? secagg::Adversary::kActive : secagg::Adversary::kSemiHonest,
      .corrupt_fraction = spec.corrupt,
      .dropout_fraction = spec.dropout,
      .correctness_bits = spec.correctness};
  const auto parameters = secagg::DeriveParameters(spec.clients, assumptions);
  if (!parameters) {
    const Status& error = parameters.error();
    if (error.code() == StatusCode::kInvalidArgument) return InvalidArgument(kReasonUsage, error.message());
    return error;
  }
  if (context.out.json) {
    context.out.PrintJson({{"degree", parameters->degree}, {"threshold", parameters->threshold}});
  } else {
    PrintParameters(context.out, spec, *parameters, assumptions);
  }
  return OkStatus();
}

void AddParamsCommand(CLI::App& parent, Action& action) {
  auto spec = std::make_shared<ParamsSpec>();
  auto* command = AddCommand(parent, action, "params",
                             "degree and threshold of a secure aggregation (SecAgg+), and what may fail with which probability",
                             "  edgefleet secagg params --clients 1000 --corrupt 0.1 --dropout 0.1 --adversary semi-honest\n"
                             "  edgefleet secagg params --clients 1000 --corrupt 0.1 --dropout 0.3 --adversary active --json\n",
                             &Params, spec);
  command->add_option("--clients", spec->clients, "members of the cohort")
      ->required()
      ->check(CLI::Range(std::uint64_t{1}, secagg::kDerivedMembersMax));
  command->add_option("--corrupt", spec->corrupt, "the fraction that pools what it sees with the server, as 0.1")->required();
  command->add_option("--dropout", spec->dropout, "the fraction that may drop out, as 0.1")->required();
  command->add_option("--adversary", spec->adversary, "active: the server may also tell clients different things")
      ->required()
      ->check(CLI::IsMember({kSemiHonest, kActive}));
  command->add_option("--correctness", spec->correctness, "20 or 30: a round may fail with 2^-20 or 2^-30")
      ->capture_default_str();
}

}  // namespace

void AddSecaggCommands(CLI::App& app, Action& action) {
  CLI::App* secagg = app.add_subcommand("secagg", "secure aggregation: what holds under which assumptions");
  secagg->require_subcommand(1);
  secagg->fallthrough();
  AddParamsCommand(*secagg, action);
}

}  // namespace edgefleet::cli
