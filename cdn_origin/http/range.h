// Range requests (RFC 9110, section 14) and entity tags (section 8.8.3).
#pragma once

#include <cstdint>
#include <string_view>

namespace edgefleet::http {

struct ByteRange {
  enum class Kind {
    kWhole,          // no range, or one to be ignored: malformed, of another unit, or several
    kPart,           // `first` and `length` lie inside the file
    kUnsatisfiable,  // 416
  };
  Kind kind = Kind::kWhole;
  std::uint64_t first = 0;
  std::uint64_t length = 0;
  bool operator==(const ByteRange&) const = default;
};

// Of a Range field's value, for a file of `size` bytes. Accepts one range: "bytes=0-99", "bytes=100-", "bytes=-100".
ByteRange ParseRange(std::string_view value, std::uint64_t size);

// Whether `etag` is in the list of an If-None-Match or If-Match field; "*" matches. Weak comparison (RFC 9110,
// section 8.8.3.2).
bool AnyEtagMatches(std::string_view list, std::string_view etag);

}  // namespace edgefleet::http
