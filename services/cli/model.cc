// edgefleet model list | show | versions | alias | tag | report
#include <charconv>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

namespace pb = registry::v1;
using Registry = Client::Registry;

struct ListSpec {
  std::string model;
  std::uint32_t limit = 1000;
};
struct RefSpec {
  std::string ref;
};
struct AliasSpec {
  std::string model;
  std::string alias;
  std::uint64_t version = 0;
};
struct TagSpec {
  std::string ref;
  std::vector<std::string> tags;
  bool clear = false;
};

Error Usage(std::string message) { return InvalidArgument(kReasonUsage, std::move(message)); }

std::string Joined(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  std::string joined;
  for (const auto& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

std::string StateOf(const pb::Version& version) {
  std::string state = EnumName(*pb::VersionState_descriptor(), version.state());
  if (version.state() == pb::VERSION_STATE_COMPILING && !version.stage().empty()) state += " (" + version.stage() + ")";
  return state;
}

// "fp32 84.10 %, int8 84.02 %"
std::string Accuracies(const pb::Version& version) {
  std::string text;
  for (const auto& variant : version.variants()) {
    text += (text.empty() ? "" : ", ") + variant.name();
    if (variant.has_metrics()) text += " " + FormatPercent(variant.metrics().accuracy());
  }
  return text;
}

std::string Origin(const pb::Version& version) {
  const auto& lineage = version.lineage();
  if (!lineage.task_id().empty()) return "task " + lineage.task_id() + " round " + std::to_string(lineage.round_number());
  return lineage.parent_version() == 0 ? "published" : "published, after " + std::to_string(lineage.parent_version());
}

Result<pb::GetVersionRequest> VersionRequest(const std::string& text) {
  EF_ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(text));
  if (ref.version == 0 && ref.alias.empty()) return Usage("'" + text + "' names no version; write NAME@VERSION or NAME:ALIAS");
  pb::GetVersionRequest request;
  request.set_model(ref.model);
  request.set_version(ref.version);
  request.set_alias(ref.alias);
  return request;
}

Status List(Context& context, const ListSpec& spec) {
  pb::ListModelsRequest request;
  pb::ListModelsResponse all;
  do {
    EF_ASSIGN_OR_RETURN(auto page, context.client.Call(context.client.registry, &Registry::StubInterface::ListModels, request));
    for (auto& model : *page.mutable_models()) {
      if (static_cast<std::uint32_t>(all.models_size()) < spec.limit) all.add_models()->Swap(&model);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<std::uint32_t>(all.models_size()) < spec.limit);
  if (context.out.json) return context.out.PrintJson({{"models", ToJson(all)["models"]}}), OkStatus();
  std::vector<Row> rows;
  for (const auto& model : all.models()) {
    std::string aliases;
    for (const auto& alias : model.aliases()) {
      aliases += (aliases.empty() ? "" : ", ") + alias.name() + "=" + std::to_string(alias.version());
    }
    rows.push_back({model.name(), std::to_string(model.latest_version()), aliases, FormatTime(model.created_unix_ms())});
  }
  if (rows.empty()) return context.out.PrintLine("no models yet; publish one with 'edgefleet model publish'"), OkStatus();
  context.out.PrintTable({"MODEL", "LATEST", "ALIASES", "CREATED (UTC)"}, rows);
  return OkStatus();
}

Status Versions(Context& context, const ListSpec& spec) {
  pb::ListVersionsRequest request;
  request.set_model(spec.model);
  pb::ListVersionsResponse all;
  do {
    EF_ASSIGN_OR_RETURN(auto page,
                        context.client.Call(context.client.registry, &Registry::StubInterface::ListVersions, request));
    for (auto& version : *page.mutable_versions()) {
      if (static_cast<std::uint32_t>(all.versions_size()) < spec.limit) all.add_versions()->Swap(&version);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<std::uint32_t>(all.versions_size()) < spec.limit);
  if (context.out.json) return context.out.PrintJson({{"versions", ToJson(all)["versions"]}}), OkStatus();
  std::vector<Row> rows;
  for (const auto& version : all.versions()) {
    rows.push_back({std::to_string(version.version()), StateOf(version), Joined(version.aliases()), Accuracies(version),
                    Origin(version), FormatTime(version.created_unix_ms())});
  }
  context.out.PrintTable({"VERSION", "STATE", "ALIASES", "VARIANTS", "ORIGIN", "CREATED (UTC)"}, rows);
  return OkStatus();
}

Status ShowModel(Context& context, const std::string& name) {
  pb::GetModelRequest request;
  request.set_model(name);
  EF_ASSIGN_OR_RETURN(const auto model,
                      context.client.Call(context.client.registry, &Registry::StubInterface::GetModel, request));
  if (context.out.json) return context.out.PrintJson(ToJson(model)), OkStatus();
  context.out.PrintFields({{"model", model.name()},
                           {"latest version", std::to_string(model.latest_version())},
                           {"created", FormatTime(model.created_unix_ms()) + " UTC"}});
  std::vector<Row> rows;
  for (const auto& alias : model.aliases()) {
    rows.push_back(
        {alias.name(), std::to_string(alias.version()), std::to_string(alias.manifest_sequence()), alias.manifest_path()});
  }
  if (!rows.empty()) context.out.PrintTable({"ALIAS", "VERSION", "SEQUENCE", "MANIFEST"}, rows);
  return OkStatus();
}

Status Show(Context& context, const RefSpec& spec) {
  EF_ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(spec.ref));
  if (ref.version == 0 && ref.alias.empty()) return ShowModel(context, ref.model);
  EF_ASSIGN_OR_RETURN(const auto request, VersionRequest(spec.ref));
  EF_ASSIGN_OR_RETURN(const auto version,
                      context.client.Call(context.client.registry, &Registry::StubInterface::GetVersion, request));
  if (context.out.json) return context.out.PrintJson(ToJson(version)), OkStatus();
  PrintVersion(context.out, version);
  return OkStatus();
}

Status SetAlias(Context& context, const AliasSpec& spec) {
  pb::SetAliasRequest request;
  request.set_request_id(crypto::RandomId());
  request.set_model(spec.model);
  request.set_alias(spec.alias);
  request.set_version(spec.version);
  EF_ASSIGN_OR_RETURN(const auto model,
                      context.client.Call(context.client.registry, &Registry::StubInterface::SetAlias, request));
  if (context.out.json) return context.out.PrintJson(ToJson(model)), OkStatus();
  context.out.PrintLine(spec.model + ":" + spec.alias + " is version " + std::to_string(spec.version) + " now");
  return OkStatus();
}

Status SetTags(Context& context, const TagSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto version_request, VersionRequest(spec.ref));
  EF_ASSIGN_OR_RETURN(const auto tags, ParseTags(spec.tags));
  if (tags.empty() != spec.clear) return Usage("give KEY=VALUE tags, or --clear to remove all");
  // Tags are replaced as a whole, by version number.
  EF_ASSIGN_OR_RETURN(const auto present,
                      context.client.Call(context.client.registry, &Registry::StubInterface::GetVersion, version_request));
  pb::SetTagsRequest request;
  request.set_request_id(crypto::RandomId());
  request.set_model(present.model());
  request.set_version(present.version());
  for (const auto& [key, value] : tags) (*request.mutable_tags())[key] = value;
  EF_ASSIGN_OR_RETURN(const auto version,
                      context.client.Call(context.client.registry, &Registry::StubInterface::SetTags, request));
  if (context.out.json) return context.out.PrintJson(ToJson(version)), OkStatus();
  PrintVersion(context.out, version);
  return OkStatus();
}

Status Report(Context& context, const RefSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto request, VersionRequest(spec.ref));
  EF_ASSIGN_OR_RETURN(const auto report,
                      context.client.Call(context.client.registry, &Registry::StubInterface::GetReport, request));
  const Json json = Json::parse(report.json(), nullptr, false);
  if (json.is_discarded()) return Internal("BAD_REPORT", "the registry's report is not JSON");
  if (context.out.json) return context.out.PrintJson(json), OkStatus();
  context.out.PrintLine(json.dump(2, ' ', false, Json::error_handler_t::replace));
  return OkStatus();
}

}  // namespace

Result<ModelRef> ParseModelRef(const std::string& text) {
  ModelRef ref;
  const std::size_t mark = text.find_first_of("@:");
  ref.model = text.substr(0, mark);
  if (ref.model.empty()) return Usage("'" + text + "' names no model; write NAME, NAME@VERSION or NAME:ALIAS");
  if (mark == std::string::npos) return ref;
  const std::string rest = text.substr(mark + 1);
  if (text[mark] == ':') {
    if (rest.empty()) return Usage("'" + text + "' names no alias after the ':'");
    ref.alias = rest;
    return ref;
  }
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), ref.version);
  if (error != std::errc() || end != rest.data() + rest.size() || ref.version == 0) {
    return Usage("'" + rest + "' is not a version; write NAME@3, or NAME:ALIAS for an alias");
  }
  return ref;
}

Result<std::vector<std::pair<std::string, std::string>>> ParseTags(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, std::string>> tags;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) return Usage("'" + text + "' is not a tag; write KEY=VALUE");
    tags.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return tags;
}

void PrintVersion(const Output& out, const pb::Version& version) {
  std::vector<std::pair<std::string, std::string>> fields{{"model", version.model()},
                                                          {"version", std::to_string(version.version())},
                                                          {"state", StateOf(version)},
                                                          {"origin", Origin(version)},
                                                          {"created", FormatTime(version.created_unix_ms()) + " UTC"},
                                                          {"parameters", std::to_string(version.parameter_count())}};
  if (!version.refusal().empty()) fields.emplace_back("refused because", version.refusal());
  if (version.aliases_size() > 0) fields.emplace_back("aliases", Joined(version.aliases()));
  if (version.lineage().epsilon_spent() > 0) {
    fields.emplace_back("privacy", "epsilon " + FormatNumber(version.lineage().epsilon_spent()) + " at delta " +
                                       FormatNumber(version.lineage().delta()));
  }
  for (const auto& [key, value] : version.tags()) fields.emplace_back("tag " + key, value);
  out.PrintFields(fields);
  std::vector<Row> rows;
  for (const auto& v : version.variants()) {
    rows.push_back({v.name(), v.has_metrics() ? FormatPercent(v.metrics().accuracy()) : "-",
                    v.has_metrics() ? FormatNumber(v.metrics().loss()) : "-", FormatBytes(v.size()),
                    v.trainable() ? "yes" : "no", HexEncode(AsBytes(v.sha256()))});
  }
  if (!rows.empty()) out.PrintTable({"VARIANT", "ACCURACY", "LOSS", "SIZE", "TRAINABLE", "SHA-256"}, rows);
}

void AddModelCommands(CLI::App& app, Action& action) {
  CLI::App* model =
      app.add_subcommand("model", "compile, inspect, run and measure model files; publish, list, alias and fetch models");
  model->require_subcommand(1);
  model->fallthrough();
  AddPublishCommand(*model, action);

  auto list = std::make_shared<ListSpec>();
  auto* command = AddCommand(*model, action, "list", "all models", "  edgefleet model list --json\n", &List, list);
  command->add_option("--limit", list->limit, "at most this many")->capture_default_str();

  auto versions = std::make_shared<ListSpec>();
  command = AddCommand(*model, action, "versions", "the versions of a model, newest first",
                       "  edgefleet model versions fashion\n", &Versions, versions);
  command->add_option("NAME", versions->model, "the model")->required();
  command->add_option("--limit", versions->limit, "at most this many")->capture_default_str();

  auto show = std::make_shared<RefSpec>();
  command = AddCommand(
      *model, action, "show", "a model, or one of its versions",
      "  edgefleet model show fashion\n  edgefleet model show fashion@3\n  edgefleet model show fashion:stable\n", &Show, show);
  command->add_option("MODEL", show->ref, "NAME, NAME@VERSION or NAME:ALIAS")->required();

  auto alias = std::make_shared<AliasSpec>();
  command = AddCommand(*model, action, "alias", "point an alias at a version; devices that follow it will install that version",
                       "  edgefleet model alias fashion stable 3\n", &SetAlias, alias);
  command->add_option("NAME", alias->model, "the model")->required();
  command->add_option("ALIAS", alias->alias, "e.g. stable")->required();
  command->add_option("VERSION", alias->version, "a READY version")->required()->check(CLI::PositiveNumber);

  auto tag = std::make_shared<TagSpec>();
  command = AddCommand(*model, action, "tag", "replace the tags of a version",
                       "  edgefleet model tag fashion@3 team=vision stage=pilot\n", &SetTags, tag);
  command->add_option("MODEL", tag->ref, "NAME@VERSION or NAME:ALIAS")->required();
  command->add_option("TAG", tag->tags, "KEY=VALUE");
  command->add_flag("--clear", tag->clear, "remove all tags");

  auto report = std::make_shared<RefSpec>();
  command = AddCommand(*model, action, "report", "the compiler's report on a version, as JSON",
                       "  edgefleet model report fashion@3\n", &Report, report);
  command->add_option("MODEL", report->ref, "NAME@VERSION or NAME:ALIAS")->required();
  AddModelFileCommands(*model, action);
  AddModelCompileCommand(*model, action);
  AddModelInspectCommand(*model, action);
  AddModelRunCommand(*model, action);
  AddModelBenchCommand(*model, action);
}

}  // namespace edgefleet::cli
