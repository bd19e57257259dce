// How lists and maps are kept inside one column: JSON text. Members may be added; unknown ones are ignored.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "registry/model.h"

namespace edgefleet::registry {

std::string EncodePublish(const PublishRequest& request);
std::string EncodeVariants(const std::vector<Variant>& variants);
std::string EncodeTags(const Tags& tags);
std::string EncodeInputs(const Inputs& inputs);
std::string EncodeLineage(const Lineage& lineage);

// DATA_LOSS [STORE_CORRUPT] for text that the above did not write.
Result<PublishRequest> DecodePublish(const std::string& text);
Result<std::vector<Variant>> DecodeVariants(const std::string& text);
Result<Tags> DecodeTags(const std::string& text);
Result<Inputs> DecodeInputs(const std::string& text);
Result<Lineage> DecodeLineage(const std::string& text);

// DATA_LOSS [STORE_CORRUPT] unless 32 bytes.
Result<Digest> DecodeDigest(ByteView bytes);

}  // namespace edgefleet::registry
