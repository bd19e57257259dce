#include "services/cli/json.h"

#include <google/protobuf/descriptor.h>

#include <cctype>

#include "base/bytes.h"

namespace edgefleet::cli {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// "VERSION_STATE_" for VersionState.
std::string EnumPrefix(const std::string& type) {
  std::string prefix;
  for (const char c : type) {
    if (std::isupper(static_cast<unsigned char>(c)) != 0 && !prefix.empty()) prefix += '_';
    prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return prefix + "_";
}

Json TextOrHex(const FieldDescriptor& field, const std::string& value) {
  return field.type() == FieldDescriptor::TYPE_BYTES ? Json(HexEncode(AsBytes(value))) : Json(value);
}

// One value: element `index` of a repeated field, the field itself for -1.
Json Value(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? r.GetInt32(message, &field) : r.GetRepeatedInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? r.GetInt64(message, &field) : r.GetRepeatedInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return one ? r.GetUInt32(message, &field) : r.GetRepeatedUInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return one ? r.GetUInt64(message, &field) : r.GetRepeatedUInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return one ? r.GetDouble(message, &field) : r.GetRepeatedDouble(message, &field, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return one ? r.GetFloat(message, &field) : r.GetRepeatedFloat(message, &field, index);
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? r.GetBool(message, &field) : r.GetRepeatedBool(message, &field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumName(*field.enum_type(),
                      one ? r.GetEnumValue(message, &field) : r.GetRepeatedEnumValue(message, &field, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return TextOrHex(field, one ? r.GetString(message, &field) : r.GetRepeatedString(message, &field, index));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(one ? r.GetMessage(message, &field) : r.GetRepeatedMessage(message, &field, index));
  }
  return nullptr;
}

Json MapEntries(const Message& message, const FieldDescriptor& field) {
  Json object = Json::object();
  const Reflection& r = *message.GetReflection();
  for (int i = 0; i < r.FieldSize(message, &field); ++i) {
    const Message& entry = r.GetRepeatedMessage(message, &field, i);
    const Json key = Value(entry, *field.message_type()->map_key(), -1);
    object[key.is_string() ? key.get<std::string>() : key.dump()] = Value(entry, *field.message_type()->map_value(), -1);
  }
  return object;
}

}  // namespace

std::string EnumName(const EnumDescriptor& type, int value) {
  const auto* found = type.FindValueByNumber(value);
  if (found == nullptr) return std::to_string(value);
  const std::string prefix = EnumPrefix(type.name());
  return found->name().starts_with(prefix) ? found->name().substr(prefix.size()) : found->name();
}

Json ToJson(const Message& message) {
  Json object = Json::object();
  const Reflection& r = *message.GetReflection();
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_map()) {
      object[field.name()] = MapEntries(message, field);
    } else if (field.is_repeated()) {
      Json& array = object[field.name()] = Json::array();
      for (int j = 0; j < r.FieldSize(message, &field); ++j) array.push_back(Value(message, field, j));
    } else if (!field.has_presence() || r.HasField(message, &field)) {
      object[field.name()] = Value(message, field, -1);
    }
  }
  return object;
}

}  // namespace edgefleet::cli
