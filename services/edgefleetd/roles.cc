#include "services/edgefleetd/roles.h"

namespace edgefleet::services {

std::vector<RoleSpec> RolesOf(const std::string& role) {
  std::vector<RoleSpec> specs;
  if (role != "all") std::erase_if(specs, [&](const RoleSpec& spec) { return spec.name != role; });
  return specs;
}

}  // namespace edgefleet::services
