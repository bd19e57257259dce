// A TaskSpec as JSON text, the form in which the store keeps it.
#pragma once

#include <string>
#include <string_view>

#include "aggregator/rounds/task.h"

namespace edgefleet::rounds {

std::string EncodeSpec(const TaskSpec& spec);
// DATA_LOSS [BAD_SPEC] for text that EncodeSpec did not write.
Result<TaskSpec> DecodeSpec(std::string_view text);

}  // namespace edgefleet::rounds
