// Which roles a process runs.
#pragma once

#include <string>
#include <vector>

#include "services/runtime/bootstrap.h"

namespace edgefleet::services {

// The roles that `role` ("all" or one name) stands for, those that others call first.
std::vector<RoleSpec> RolesOf(const std::string& role);

}  // namespace edgefleet::services
