#include "secagg/guard.h"

namespace edgefleet::secagg {

Status MemoryGuard::Bind(std::string_view round_id, Statement statement, const crypto::Sha256Digest& content) {
  const auto [said, fresh] = said_.try_emplace({std::string(round_id), statement}, content);
  if (fresh || said->second == content) return OkStatus();
  return FailedPrecondition("ALREADY_SAID", "this device has said something else in this round before; leave the round");
}

}  // namespace edgefleet::secagg
