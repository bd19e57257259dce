// The schema of the round store, step by step (see base/sql/sql.h).
#pragma once

#include <span>

#include "base/sql/sql.h"

namespace edgefleet::rounds {

std::span<const sql::Migration> Migrations();

}  // namespace edgefleet::rounds
