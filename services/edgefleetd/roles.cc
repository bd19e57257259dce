#include "services/edgefleetd/roles.h"

#include "services/aggregator/aggregator_role.h"
#include "services/origin/origin_role.h"
#include "services/registry/registry_role.h"
#include "services/selector/selector_role.h"

namespace edgefleet::services {

std::vector<RoleSpec> RolesOf(const std::string& role) {
  std::vector<RoleSpec> specs{
      {"origin", [](RoleContext context) { return std::make_unique<OriginRole>(context); }},
      {"registry", [](RoleContext context) { return std::make_unique<RegistryRole>(context); }},
      {"selector", [](RoleContext context) { return std::make_unique<SelectorRole>(context); }},
      {"aggregator", [](RoleContext context) { return std::make_unique<AggregatorRole>(context); }},
  };
  if (role != "all") std::erase_if(specs, [&](const RoleSpec& spec) { return spec.name != role; });
  return specs;
}

}  // namespace edgefleet::services
