// The presence store of a single process. Its content goes with the process.
#pragma once

#include <memory>

#include "aggregator/selection/presence_store.h"

namespace edgefleet::selection {

std::unique_ptr<PresenceStore> MakeMemoryPresenceStore();

}  // namespace edgefleet::selection
