// Bytes and their hexadecimal form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edgefleet {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView AsBytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view AsText(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes ToBytes(ByteView bytes) { return {bytes.begin(), bytes.end()}; }
inline std::string ToString(ByteView bytes) { return std::string(AsText(bytes)); }

// Lower-case hexadecimal.
std::string HexEncode(ByteView bytes);
// Accepts both cases; INVALID_ARGUMENT [BAD_HEX] on an odd length or a foreign character.
Result<Bytes> HexDecode(std::string_view hex);

}  // namespace edgefleet
