// SQLite behind the SQL port: one file, one process. WAL, synchronous=FULL, foreign keys enforced.
#pragma once

#include <filesystem>
#include <memory>

#include "base/sql/sql.h"

namespace edgefleet::sqlite {

// Makes the file when it is missing; its folder must exist. Transactions run one at a time and take the write lock at their
// begin; another process that holds it for over 10 s gives UNAVAILABLE [STORE_BUSY]. FAILED_PRECONDITION [STORE_CORRUPT] when
// the file is not a healthy database, RESOURCE_EXHAUSTED [DISK_FULL] when nothing more can be written.
Result<std::unique_ptr<sql::Database>> Open(const std::filesystem::path& file);

}  // namespace edgefleet::sqlite
