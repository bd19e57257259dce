// The RoundStore over the SQL port, for SQLite (one process) and PostgreSQL (any number of replicas).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "aggregator/rounds/round_store.h"

namespace edgefleet::rounds {

// Opens, or makes, the file and brings its schema up to date. Errors of base/adapters/sqlite and sql::Migrate.
Result<std::unique_ptr<RoundStore>> OpenSqliteRoundStore(const std::filesystem::path& file);
// Uses the PostgreSQL schema "rounds". Errors of base/adapters/postgres and sql::Migrate.
Result<std::unique_ptr<RoundStore>> OpenPostgresRoundStore(const std::string& url);

}  // namespace edgefleet::rounds
