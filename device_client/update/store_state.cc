#include "device_client/update/store_state.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace edgefleet::update {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kFormat = 1;

Error BadState(const std::string& what) {
  return DataLoss("BAD_STATE", "state.json is damaged (" + what + "); remove the state folder to start anew");
}

Json ToJson(const InstalledVariant& variant) {
  return {{"name", variant.name},
          {"precision", variant.precision},
          {"trainable", variant.trainable},
          {"sha256", HexEncode(variant.sha256)},
          {"size", variant.size}};
}

Json ToJson(const InstalledVersion& version) {
  Json variants = Json::array();
  for (const auto& variant : version.variants) variants.push_back(ToJson(variant));
  return {{"version", version.version}, {"variants", std::move(variants)}};
}

Json ToJson(const ModelState& model) {
  Json json = Json::object();
  if (model.active) json["active"] = ToJson(*model.active);
  if (model.last_good) json["last_good"] = ToJson(*model.last_good);
  if (model.trial) {
    json["trial"] = {
        {"version", ToJson(model.trial->version)}, {"sequence", model.trial->sequence}, {"starts", model.trial->starts}};
  }
  if (model.rejected) json["rejected"] = {{"version", model.rejected->version}, {"sequence", model.rejected->sequence}};
  return json;
}

// The readers below throw nlohmann's exceptions on a missing or wrong member; ParseState catches them.

InstalledVariant ReadVariant(const Json& json) {
  InstalledVariant variant{json.at("name"), json.at("precision"), json.at("trainable"), {}, json.at("size"), {}};
  const auto digest = HexDecode(json.at("sha256").get_ref<const std::string&>());
  if (!digest || digest->size() != variant.sha256.size()) throw std::invalid_argument("a digest");
  std::copy(digest->begin(), digest->end(), variant.sha256.begin());
  return variant;
}

InstalledVersion ReadVersion(const std::string& model, const Json& json) {
  InstalledVersion version{model, json.at("version"), {}};
  for (const Json& entry : json.at("variants").get_ref<const Json::array_t&>()) version.variants.push_back(ReadVariant(entry));
  if (version.variants.empty()) throw std::invalid_argument("a version without variants");
  return version;
}

ModelState ReadModel(const std::string& name, const Json& json) {
  if (!json.is_object()) throw std::invalid_argument("a model");
  ModelState model;
  if (json.contains("active")) model.active = ReadVersion(name, json.at("active"));
  if (json.contains("last_good")) model.last_good = ReadVersion(name, json.at("last_good"));
  if (json.contains("trial")) {
    const Json& trial = json.at("trial");
    model.trial = Trial{ReadVersion(name, trial.at("version")), trial.at("sequence"), trial.at("starts")};
  }
  if (json.contains("rejected")) {
    model.rejected = RejectedVersion{json.at("rejected").at("version"), json.at("rejected").at("sequence")};
  }
  return model;
}

CacheEntry ReadCacheEntry(const Json& json) {
  return {json.at("model"), json.at("version"), ReadVariant(json.at("variant")), json.at("used")};
}

StoreState ReadState(const Json& json) {
  StoreState state;
  for (const auto& [name, model] : json.at("models").get_ref<const Json::object_t&>()) {
    state.models.emplace(name, ReadModel(name, model));
  }
  for (const auto& [path, mark] : json.at("manifests").get_ref<const Json::object_t&>()) {
    state.manifests.emplace(path, ManifestMark{mark.at("sequence"), mark.at("etag")});
  }
  for (const Json& entry : json.at("cache").get_ref<const Json::array_t&>()) state.cache.push_back(ReadCacheEntry(entry));
  return state;
}

}  // namespace

std::string StateText(const StoreState& state) {
  Json json = {{"format", kFormat}, {"models", Json::object()}, {"manifests", Json::object()}, {"cache", Json::array()}};
  for (const auto& [name, model] : state.models) json["models"][name] = ToJson(model);
  for (const auto& [path, mark] : state.manifests) {
    json["manifests"][path] = {{"sequence", mark.sequence}, {"etag", mark.etag}};
  }
  for (const auto& entry : state.cache) {
    json["cache"].push_back(
        {{"model", entry.model}, {"version", entry.version}, {"variant", ToJson(entry.variant)}, {"used", entry.used}});
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

Result<StoreState> ParseState(ByteView text) {
  const Json json = Json::parse(AsText(text), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("format") || !json["format"].is_number_unsigned())
    return BadState("not JSON of ours");
  if (json["format"].get<std::uint64_t>() > kFormat) {
    return FailedPrecondition("STATE_TOO_NEW",
                              "later software wrote this state folder; run that, or start anew in another folder");
  }
  try {
    return ReadState(json);
  } catch (const std::exception& error) {
    return BadState(error.what());
  }
}

}  // namespace edgefleet::update
