#include "registry/store/codec.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace edgefleet::registry {
namespace {

using Json = nlohmann::json;

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

template <typename T, typename Read>
Result<T> Parse(const std::string& text, Read read) {
  try {
    return read(Json::parse(text));
  } catch (const std::exception& error) {
    return DataLoss("STORE_CORRUPT", std::string("a stored value cannot be read: ") + error.what());
  }
}

Digest ReadDigest(const Json& json) {
  const auto bytes = HexDecode(json.get<std::string>());
  const auto digest = bytes ? DecodeDigest(*bytes) : Result<Digest>(tl::unexpected<Status>(bytes.error()));
  if (!digest) throw std::runtime_error(digest.error().message());
  return *digest;
}

Json OfOptional(const std::optional<Digest>& digest) { return digest ? Json(HexEncode(*digest)) : Json(nullptr); }
std::optional<Digest> ReadOptional(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional<Digest>(ReadDigest(json));
}

Json OfOptions(const PublishOptions& options) { return {{"accuracy_drop_points_max", options.accuracy_drop_points_max}}; }
PublishOptions ReadOptions(const Json& json) { return {json.at("accuracy_drop_points_max").get<double>()}; }

Json OfVariant(const Variant& variant) {
  Json json{{"name", variant.name},
            {"precision", variant.precision},
            {"sha256", HexEncode(variant.sha256)},
            {"size", variant.size},
            {"trainable", variant.trainable}};
  if (variant.metrics) {
    json["metrics"] = {
        {"examples", variant.metrics->examples}, {"accuracy", variant.metrics->accuracy}, {"loss", variant.metrics->loss}};
  }
  return json;
}

Variant ReadVariant(const Json& json) {
  Variant variant{.name = json.at("name"),
                  .precision = json.at("precision"),
                  .sha256 = ReadDigest(json.at("sha256")),
                  .size = json.at("size"),
                  .metrics = std::nullopt,
                  .trainable = json.at("trainable")};
  if (const auto found = json.find("metrics"); found != json.end()) {
    variant.metrics = Metrics{found->at("examples"), found->at("accuracy"), found->at("loss")};
  }
  return variant;
}

}  // namespace

std::string EncodePublish(const PublishRequest& request) {
  Json artifacts = Json::array();
  for (const ArtifactSpec& artifact : request.artifacts) {
    artifacts.push_back(
        {{"kind", static_cast<int>(artifact.kind)}, {"size", artifact.size}, {"sha256", HexEncode(artifact.sha256)}});
  }
  return Dump({{"model", request.model},
               {"artifacts", artifacts},
               {"tags", request.tags},
               {"options", OfOptions(request.options)},
               {"parent_version", request.parent_version}});
}

Result<PublishRequest> DecodePublish(const std::string& text) {
  return Parse<PublishRequest>(text, [](const Json& json) {
    PublishRequest request{.model = json.at("model"),
                           .artifacts = {},
                           .tags = json.at("tags").get<Tags>(),
                           .options = ReadOptions(json.at("options")),
                           .parent_version = json.at("parent_version")};
    for (const Json& artifact : json.at("artifacts")) {
      request.artifacts.push_back(
          {static_cast<ArtifactKind>(artifact.at("kind").get<int>()), artifact.at("size"), ReadDigest(artifact.at("sha256"))});
    }
    return request;
  });
}

std::string EncodeVariants(const std::vector<Variant>& variants) {
  Json json = Json::array();
  for (const Variant& variant : variants) json.push_back(OfVariant(variant));
  return Dump(json);
}

Result<std::vector<Variant>> DecodeVariants(const std::string& text) {
  return Parse<std::vector<Variant>>(text, [](const Json& json) {
    std::vector<Variant> variants;
    for (const Json& variant : json) variants.push_back(ReadVariant(variant));
    return variants;
  });
}

std::string EncodeTags(const Tags& tags) { return Dump(Json(tags)); }

Result<Tags> DecodeTags(const std::string& text) {
  return Parse<Tags>(text, [](const Json& json) { return json.get<Tags>(); });
}

std::string EncodeInputs(const Inputs& inputs) {
  return Dump({{"onnx", HexEncode(inputs.onnx)},
               {"calibration", OfOptional(inputs.calibration)},
               {"evaluation", OfOptional(inputs.evaluation)},
               {"parameters", OfOptional(inputs.parameters)},
               {"options", OfOptions(inputs.options)}});
}

Result<Inputs> DecodeInputs(const std::string& text) {
  return Parse<Inputs>(text, [](const Json& json) {
    return Inputs{ReadDigest(json.at("onnx")), ReadOptional(json.at("calibration")), ReadOptional(json.at("evaluation")),
                  ReadOptional(json.at("parameters")), ReadOptions(json.at("options"))};
  });
}

std::string EncodeLineage(const Lineage& lineage) {
  return Dump({{"parent_version", lineage.parent_version},
               {"task_id", lineage.task_id},
               {"round_id", lineage.round_id},
               {"round_number", lineage.round_number},
               {"participants", lineage.participants},
               {"dropouts", lineage.dropouts},
               {"epsilon_spent", lineage.epsilon_spent},
               {"delta", lineage.delta}});
}

Result<Lineage> DecodeLineage(const std::string& text) {
  return Parse<Lineage>(text, [](const Json& json) {
    return Lineage{json.at("parent_version"), json.at("task_id"),  json.at("round_id"),      json.at("round_number"),
                   json.at("participants"),   json.at("dropouts"), json.at("epsilon_spent"), json.at("delta")};
  });
}

Result<Digest> DecodeDigest(ByteView bytes) {
  Digest digest{};
  if (bytes.size() != digest.size()) return DataLoss("STORE_CORRUPT", "a stored digest does not have 32 bytes");
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

}  // namespace edgefleet::registry
