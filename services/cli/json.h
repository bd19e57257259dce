// Protobuf messages as JSON for people and scripts: field names as in the contract, 64-bit numbers as numbers, bytes in
// hexadecimal, enum values without their type's prefix ("READY"), fields without presence always there.
#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>

namespace edgefleet::cli {

using Json = nlohmann::ordered_json;

Json ToJson(const google::protobuf::Message& message);
// "READY" for VERSION_STATE_READY.
std::string EnumName(const google::protobuf::EnumDescriptor& type, int value);

}  // namespace edgefleet::cli
