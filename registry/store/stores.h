// The registry's metadata in SQLite or in PostgreSQL: one schema and one set of statements (base/sql).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/status.h"
#include "registry/metadata_store.h"

namespace edgefleet::registry {

// Opens, and migrates to the present schema. Errors: those of sqlite::Open, postgres::Open and sql::Migrate.
Result<std::unique_ptr<MetadataStore>> OpenSqliteStore(const std::filesystem::path& file);
// Tables live in the PostgreSQL schema `registry`.
Result<std::unique_ptr<MetadataStore>> OpenPostgresStore(const std::string& url);

}  // namespace edgefleet::registry
