// Inputs that are protobuf messages one after another, as they go over the wire: of each its size (2 bytes, the lower first),
// then its encoding.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"

namespace edgefleet::fuzz {

inline void Append(Bytes& input, const google::protobuf::Message& message) {
  const std::string encoded = message.SerializeAsString();
  for (const std::size_t byte : {encoded.size() % 256, encoded.size() / 256}) input.push_back(static_cast<std::byte>(byte));
  input.insert(input.end(), AsBytes(encoded).begin(), AsBytes(encoded).end());
}

class WireInput {
 public:
  explicit WireInput(ByteView input) : left_(input) { google::protobuf::SetLogHandler(nullptr); }

  std::uint8_t Byte() { return left_.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(Take(1)[0]); }

  // The next message; nothing if it is cut off, or no encoding of such a message: gRPC refuses that before anyone sees it.
  template <typename Message>
  std::optional<Message> Next() {
    const std::size_t low = Byte();
    const std::size_t size = low + 256 * std::size_t{Byte()};
    if (left_.empty()) return std::nullopt;
    const ByteView encoded = Take(size);
    Message message;
    if (!message.ParseFromArray(encoded.data(), static_cast<int>(encoded.size()))) return std::nullopt;
    message.DiscardUnknownFields();
    return message;
  }

 private:
  ByteView Take(std::size_t size) {
    const ByteView taken = left_.first(std::min(size, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  ByteView left_;
};

inline bool Same(const google::protobuf::Message& one, const google::protobuf::Message& other) {
  return one.SerializeAsString() == other.SerializeAsString();
}

}  // namespace edgefleet::fuzz
