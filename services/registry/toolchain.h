// The real compiler and the device's own model format, as the registry's toolchain.
#pragma once

#include "registry/compile_worker.h"

namespace edgefleet::services {

registry::Toolchain MakeToolchain();

}  // namespace edgefleet::services
