// edgefleet secagg params | verify
#include <cmath>

#include "base/crypto/crypto.h"
#include "secagg/parameters.h"
#include "secagg/transcript/verify.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

struct ParamsSpec {
  std::uint64_t clients = 0;
  double corrupt = 0;
  double dropout = 0;
  std::string adversary;
  std::uint32_t correctness = 20;
  std::uint32_t security = 40;
};

constexpr char kSemiHonest[] = "semi-honest";
constexpr char kActive[] = "active";

// "2^-42.7", "never".
std::string FormatBound(double log2) { return std::isinf(log2) ? "never" : "2^" + FormatNumber(std::ceil(log2 * 10) / 10); }

void PrintParameters(const Output& out, const ParamsSpec& spec, const secagg::GraphParameters& parameters,
                     const secagg::Assumptions& assumptions) {
  const secagg::FailureBounds bounds = secagg::BoundFailures(spec.clients, parameters, assumptions);
  const std::string privacy = "2^-" + std::to_string(assumptions.security_bits + 1);
  const std::string correctness = "2^-" + std::to_string(assumptions.correctness_bits);
  const bool complete = parameters.degree + 1 == spec.clients;
  out.PrintFields({{"degree", std::to_string(parameters.degree) + (complete ? " (the complete graph)" : "")},
                   {"threshold", std::to_string(parameters.threshold)},
                   {"dropouts", "up to " + std::to_string(secagg::TolerableDropouts(spec.clients, assumptions)) + " of " +
                                    std::to_string(spec.clients)}});
  out.PrintLine("");
  out.PrintTable({"FAILURE", "AT MOST", "LIMIT"},
                 {{"the honest survivors fall into parts", FormatBound(bounds.disconnected), privacy},
                  {"corrupt neighbours expose a client", FormatBound(bounds.exposed), privacy},
                  {"a client cannot be unmasked, the round fails", FormatBound(bounds.unrecovered), correctness},
                  {"dropouts look chosen, the round fails", FormatBound(bounds.suspected), correctness}});
}

Status Params(Context& context, const ParamsSpec& spec) {
  const secagg::Assumptions assumptions{
      .adversary = spec.adversary == kActive ? secagg::Adversary::kActive : secagg::Adversary::kSemiHonest,
      .corrupt_fraction = spec.corrupt,
      .dropout_fraction = spec.dropout,
      .correctness_bits = spec.correctness,
      .security_bits = spec.security};
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
  command->add_option("--security", spec->security, "40 or 80: privacy may fail with 2^-40 or 2^-80; active rounds ask for 80")
      ->capture_default_str();
}

struct VerifySpec {
  std::string transcript;
  std::string key;
  std::vector<std::string> enrolment_keys;
  double corrupt = secagg::VerifyOptions().corrupt_fraction;
};

Result<crypto::Ed25519PublicKey> ReadKey(const std::string& option, const std::string& path) {
  auto key = crypto::ReadEd25519PublicKey(path);
  if (!key) return InvalidArgument(kReasonUsage, option + ": " + key.error().message());
  return key;
}

Result<secagg::VerifyOptions> OptionsOf(const VerifySpec& spec) {
  secagg::VerifyOptions options{.corrupt_fraction = spec.corrupt};
  if (!spec.key.empty()) {
    EF_ASSIGN_OR_RETURN(options.signer, ReadKey("--key", spec.key));
  }
  for (const std::string& path : spec.enrolment_keys) {
    EF_ASSIGN_OR_RETURN(const auto key, ReadKey("--enrolment-key", path));
    options.authorities.push_back(key);
  }
  return options;
}

std::string VariantOf(const secagg::TranscriptSummary& summary) {
  return summary.config.adversary == secagg::Adversary::kActive ? kActive : kSemiHonest;
}

std::string OutcomeOf(const secagg::TranscriptSummary& summary) {
  if (!summary.outcome) return "unfinished";
  return *summary.outcome == secagg::Outcome::kCommitted ? "committed" : "failed";
}

std::string KindOf(const secagg::Blame& blame) {
  switch (blame.kind) {
    case secagg::Blame::Kind::kBadShare:
      return "bad share";
    case secagg::Blame::Kind::kComplaint:
      return "complaint";
    case secagg::Blame::Kind::kBadDealer:
      return "bad dealer";
  }
  return "";
}

void PrintBlames(const Output& out, const std::vector<secagg::Blame>& blames) {
  if (blames.empty()) return;
  std::vector<Row> rows;
  for (const secagg::Blame& blame : blames) {
    const std::string responder = blame.responder == 0 ? "-" : std::to_string(blame.responder);
    rows.push_back({KindOf(blame), std::to_string(blame.owner), responder});
  }
  out.PrintLine("");
  out.PrintTable({"BLAME", "OWNER", "RESPONDER"}, rows);
}

void PrintSummary(const Output& out, const secagg::TranscriptSummary& summary, const VerifySpec& spec) {
  const std::string reason = summary.reason.empty() ? "" : " (" + summary.reason + ")";
  const bool complete = summary.graph.degree + 1 == summary.members;
  out.PrintFields({{"round", summary.config.round_id},
                   {"variant", VariantOf(summary)},
                   {"outcome", OutcomeOf(summary) + reason},
                   {"members", std::to_string(summary.members)},
                   {"degree", std::to_string(summary.graph.degree) + (complete ? " (the complete graph)" : "")},
                   {"threshold", std::to_string(summary.graph.threshold)},
                   {"sharers", std::to_string(summary.sharers)},
                   {"survivors", std::to_string(summary.survivors) + ", at least " + std::to_string(summary.survivors_min)},
                   {"dropouts", std::to_string(summary.dropouts)},
                   {"confirmations", std::to_string(summary.confirmations)},
                   {"answers", std::to_string(summary.answers)},
                   {"blames", std::to_string(summary.blames.size())},
                   {"records", std::to_string(summary.records) + ", each signed and chained to the one before it"},
                   {"signer", HexEncode(summary.signer) + (spec.key.empty() ? " (give --key to check whose it is)" : "")}});
  PrintBlames(out, summary.blames);
}

Json ToJson(const secagg::TranscriptSummary& summary) {
  Json blames = Json::array();
  for (const secagg::Blame& blame : summary.blames) {
    blames.push_back({{"kind", KindOf(blame)}, {"owner", blame.owner}, {"responder", blame.responder}});
  }
  return {{"round_id", summary.config.round_id},
          {"variant", VariantOf(summary)},
          {"outcome", OutcomeOf(summary)},
          {"reason", summary.reason},
          {"vector_length", summary.config.vector_length},
          {"element_bits", summary.config.element_bits},
          {"members", summary.members},
          {"degree", summary.graph.degree},
          {"threshold", summary.graph.threshold},
          {"survivors_min", summary.survivors_min},
          {"sharers", summary.sharers},
          {"survivors", summary.survivors},
          {"dropouts", summary.dropouts},
          {"confirmations", summary.confirmations},
          {"answers", summary.answers},
          {"blames", std::move(blames)},
          {"records", summary.records},
          {"signer", HexEncode(summary.signer)}};
}

Status Verify(Context& context, const VerifySpec& spec) {
  EF_ASSIGN_OR_RETURN(const secagg::VerifyOptions options, OptionsOf(spec));
  const auto summary = secagg::VerifyTranscript(std::filesystem::path(spec.transcript), options);
  if (!summary && summary.error().reason() == "BAD_ASSUMPTIONS") {
    return InvalidArgument(kReasonUsage, "--corrupt: " + summary.error().message());
  }
  if (!summary) return summary.error();
  if (context.out.json) {
    context.out.PrintJson(ToJson(*summary));
  } else {
    PrintSummary(context.out, *summary, spec);
  }
  return OkStatus();
}

void AddVerifyCommand(CLI::App& parent, Action& action) {
  auto spec = std::make_shared<VerifySpec>();
  auto* command = AddCommand(
      parent, action, "verify", "replay a round's transcript: did the aggregator that signed it follow the protocol?",
      "  edgefleet secagg verify round.jsonl --key transcript.pub\n"
      "  edgefleet secagg verify round.jsonl --key transcript.pub --enrolment-key authority.pub --json\n",
      &Verify, spec);
  command->add_option("TRANSCRIPT", spec->transcript, "the file, as the aggregator wrote it")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--key", spec->key, "file with the aggregator's public transcript key, 64 hexadecimal digits");
  command->add_option("--enrolment-key", spec->enrolment_keys,
                      "file with the public key of an authority that may enrol devices; again for more of them");
  command->add_option("--corrupt", spec->corrupt, "the fraction of the members that may collude with the aggregator")
      ->capture_default_str();
}

}  // namespace

void AddSecaggCommands(CLI::App& app, Action& action) {
  CLI::App* secagg =
      app.add_subcommand("secagg", "secure aggregation: what holds under which assumptions, and what took place");
  secagg->require_subcommand(1);
  secagg->fallthrough();
  AddParamsCommand(*secagg, action);
  AddVerifyCommand(*secagg, action);
}

}  // namespace edgefleet::cli
