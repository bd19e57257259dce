// edgefleet model fetch | eval: a variant's file as a device would get it, and how good it is.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "base/arrays/npz.h"
#include "base/clock.h"
#include "base/file.h"
#include "cdn_origin/manifest/manifest.h"
#include "device_client/runtime/evaluate.h"
#include "device_client/update/curl_fetcher.h"
#include "device_client/update/updater.h"
#include "services/cli/commands.h"
#include "services/cli/local_model.h"

namespace edgefleet::cli {
namespace {

namespace fs = std::filesystem;
namespace pb = registry::v1;

constexpr std::uint64_t kDataFileBytesMax = std::uint64_t{1} << 30;
constexpr std::int64_t kBatch = 64;

struct FetchSpec {
  std::string ref;
  std::string variant = "int8";
  std::string output;
  std::string trust_key;
};
struct EvalSpec {
  std::string model;
  std::string data;
  ExecutionSpec execution;
};

Result<crypto::Ed25519PublicKey> ReadPublicKey(const std::string& path) {
  auto key = crypto::ReadEd25519PublicKey(path);
  if (!key) return InvalidArgument(kReasonUsage, "--trust-key: " + key.error().message());
  return key;
}

Result<pb::Version> Resolve(Context& context, const std::string& text) {
  EF_ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(text));
  if (ref.version == 0 && ref.alias.empty()) {
    return InvalidArgument(kReasonUsage, "'" + text + "' names no version; write NAME@VERSION or NAME:ALIAS");
  }
  pb::GetVersionRequest request;
  request.set_model(ref.model);
  request.set_version(ref.version);
  request.set_alias(ref.alias);
  return context.client.Call(context.client.registry, &Client::Registry::StubInterface::GetVersion, request);
}

Status CheckVariant(const pb::Version& version, const std::string& variant) {
  std::string names;
  for (const auto& v : version.variants()) {
    if (v.name() == variant) return OkStatus();
    names += (names.empty() ? "" : ", ") + v.name();
  }
  return NotFound("VARIANT_MISSING", version.model() + "@" + std::to_string(version.version()) + " has no variant '" + variant +
                                         "'; it has: " + (names.empty() ? "none" : names));
}

// Downloads, verified, into a folder beside the output that a later attempt continues from; then moves the file into place.
Result<update::FetchedTarget> Download(const FetchSpec& spec, const pb::Version& version, const std::string& base_url,
                                       const crypto::Ed25519PublicKey& key) {
  const fs::path folder = spec.output + ".download";
  EF_ASSIGN_OR_RETURN(auto fetcher, update::MakeCurlFetcher({.base_url = base_url}));
  EF_ASSIGN_OR_RETURN(auto store, update::ModelStore::Open(folder));
  NullLogger logger;
  const SystemClock clock;
  const std::string path = version.model() + "/versions/" + std::to_string(version.version()) + ".json";
  update::UpdaterOptions options{
      .model = version.model(), .manifest_path = path, .variants = {spec.variant}, .trusted_keys = {key}};
  update::Updater updater(std::move(options), *fetcher, *store, clock, logger,
                          [](const update::InstalledVersion&) { return OkStatus(); });
  EF_ASSIGN_OR_RETURN(auto fetched, updater.FetchTarget(path, version.version(), spec.variant));
  EF_RETURN_IF_ERROR(RenameDurably(fetched.variant.file, spec.output));
  store.reset();
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return fetched;
}

Status Fetch(Context& context, const FetchSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto key, ReadPublicKey(spec.trust_key));
  EF_ASSIGN_OR_RETURN(const auto version, Resolve(context, spec.ref));
  EF_RETURN_IF_ERROR(CheckVariant(version, spec.variant));
  EF_ASSIGN_OR_RETURN(const auto endpoint,
                      context.client.Call(context.client.origin, &Client::Origin::StubInterface::GetEndpoint,
                                          origin::v1::GetEndpointRequest()));
  EF_ASSIGN_OR_RETURN(const auto fetched, Download(spec, version, endpoint.base_url(), key));
  const std::string digest = HexEncode(fetched.variant.sha256);
  if (context.out.json) {
    context.out.PrintJson({{"model", version.model()},
                           {"version", version.version()},
                           {"variant", spec.variant},
                           {"file", spec.output},
                           {"size", fetched.variant.size},
                           {"sha256", digest},
                           {"bytes_transferred", fetched.bytes_transferred}});
    return OkStatus();
  }
  context.out.PrintFields({{"model", version.model() + "@" + std::to_string(version.version())},
                           {"variant", spec.variant},
                           {"file", spec.output},
                           {"size", FormatBytes(fetched.variant.size)},
                           {"sha-256", digest},
                           {"verified", "signature and digest"}});
  return OkStatus();
}

// The examples of an .npz: fp32 inputs, and int64 `labels`.
class NpzDataset final : public runtime::Dataset {
 public:
  static Result<NpzDataset> Make(arrays::Archive archive) {
    NpzDataset data;
    const auto labels = archive.find("labels");
    if (labels == archive.end() || labels->second.type != arrays::ElementType::kInt64 || labels->second.shape.size() != 1) {
      return InvalidArgument("BAD_DATA", "the data needs an array 'labels' of int64, one for each example");
    }
    data.labels_ = std::move(labels->second);
    archive.erase(labels);
    if (archive.size() != 1 || archive.begin()->second.type != arrays::ElementType::kFloat32) {
      return InvalidArgument("BAD_DATA", "beside 'labels' the data needs exactly one array, the inputs as float32");
    }
    data.inputs_ = std::move(archive.begin()->second);
    const auto examples = data.labels_.shape[0];
    if (examples == 0 || data.inputs_.shape.empty() || data.inputs_.shape[0] != examples) {
      return InvalidArgument("BAD_DATA", "there must be as many inputs as labels, and at least one");
    }
    return data;
  }
  std::size_t size() const override { return labels_.values<std::int64_t>().size(); }
  std::size_t example_size() const override { return inputs_.values<float>().size() / size(); }
  void CopyExample(std::size_t index, std::span<float> out) const override {
    const auto example = inputs_.values<float>().subspan(index * example_size(), example_size());
    std::copy(example.begin(), example.end(), out.begin());
  }
  std::int32_t Label(std::size_t index) const override {
    const std::int64_t label = labels_.values<std::int64_t>()[index];
    return label < 0 || label > INT32_MAX ? -1 : static_cast<std::int32_t>(label);
  }

 private:
  arrays::Array inputs_;
  arrays::Array labels_;
};

Status Eval(Context& context, const EvalSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto graph, LoadModel(spec.model));
  EF_ASSIGN_OR_RETURN(auto data_file, MappedFile::Open(spec.data));
  if (data_file->bytes().size() > kDataFileBytesMax) return InvalidArgument("TOO_LARGE", spec.data + " is larger than 1 GiB");
  EF_ASSIGN_OR_RETURN(auto archive, arrays::ReadNpz(data_file->bytes()));
  EF_ASSIGN_OR_RETURN(const auto data, NpzDataset::Make(std::move(archive)));
  EF_ASSIGN_OR_RETURN(const auto session, MakeSession(graph, spec.execution, std::min(kBatch, runtime::BatchMax(*graph))));
  EF_ASSIGN_OR_RETURN(const auto result, runtime::Evaluate(*session, data));
  const auto& info = session->info();
  if (context.out.json) {
    context.out.PrintJson({{"examples", result.examples},
                           {"accuracy", result.accuracy},
                           {"loss", result.cross_entropy},
                           {"delegate", info.delegate},
                           {"coverage", info.coverage}});
    return OkStatus();
  }
  context.out.PrintFields({{"examples", std::to_string(result.examples)},
                           {"accuracy", FormatPercent(result.accuracy)},
                           {"loss", FormatNumber(result.cross_entropy)},
                           {"delegate", DelegateText(info)}});
  return OkStatus();
}

}  // namespace

void AddModelFileCommands(CLI::App& model, Action& action) {
  auto fetch = std::make_shared<FetchSpec>();
  auto* command = AddCommand(
      model, action, "fetch", "download a variant over HTTP as a device would, and verify it",
      "  edgefleet model fetch fashion:stable --variant int8 -o fashion.efm --trust-key edgefleet-data/keys/manifest.pub\n"
      "\n"
      "Run again after an interruption, the same command goes on where it stopped.\n",
      &Fetch, fetch);
  command->add_option("MODEL", fetch->ref, "NAME@VERSION or NAME:ALIAS")->required();
  command->add_option("--variant", fetch->variant, "int8 or fp32")->capture_default_str();
  command->add_option("-o,--output", fetch->output, "where to write the .efm file")->required();
  command->add_option("--trust-key", fetch->trust_key, "file with the registry's public key, 64 hexadecimal digits")
      ->required()
      ->check(CLI::ExistingFile);

  auto eval = std::make_shared<EvalSpec>();
  command = AddCommand(model, action, "eval", "accuracy of a model file on labelled data, computed here",
                       "  edgefleet model eval fashion.efm test.npz\n"
                       "  edgefleet model eval fashion.efm test.npz --delegate reference --json\n",
                       &Eval, eval);
  command->add_option("FILE", eval->model, "the .efm file")->required()->check(CLI::ExistingFile);
  command->add_option("DATA", eval->data, ".npz with float32 inputs and int64 'labels'")->required()->check(CLI::ExistingFile);
  AddExecutionOptions(*command, eval->execution);
}

}  // namespace edgefleet::cli
