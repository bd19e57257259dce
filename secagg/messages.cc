#include "secagg/messages.h"

#include <bit>

namespace edgefleet::secagg {

std::size_t CountBits(ByteView bitmap) {
  std::size_t count = 0;
  for (const std::byte byte : bitmap) count += static_cast<std::size_t>(std::popcount(static_cast<unsigned char>(byte)));
  return count;
}

bool IsBitmapOf(ByteView bitmap, std::size_t things) {
  if (bitmap.size() != BitmapSize(things)) return false;
  return things % 8 == 0 || (bitmap.back() >> (things % 8)) == std::byte{0};
}

}  // namespace edgefleet::secagg
