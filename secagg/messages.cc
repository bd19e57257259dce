#include "secagg/messages.h"

#include <algorithm>

namespace edgefleet::secagg {

std::uint32_t SafeThreshold(std::uint32_t members, std::uint32_t participants_min) {
  return std::max(members / 2 + 1, std::min(participants_min, members));
}

}  // namespace edgefleet::secagg
