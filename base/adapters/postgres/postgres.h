// PostgreSQL behind the SQL port: a bounded pool of connections, opened on demand and replaced when they break.
#pragma once

#include <memory>
#include <string>

#include "base/sql/sql.h"

namespace edgefleet::postgres {

struct Options {
  std::string url;     // "postgresql://user:password@host:port/database?..." or a libpq keyword string
  std::string schema;  // one PostgreSQL schema an area, [a-z_]+; made by Open when it is missing
  std::size_t connections_max = 8;
};

// Transactions are serializable; one that loses to another is run again, up to 20 times with random pauses. A transaction whose
// connection breaks before its commit is run once more on a new connection. When all connections are taken for over 10 s:
// RESOURCE_EXHAUSTED [STORE_BUSY] with retry-after. UNAVAILABLE [STORE_UNREACHABLE] when the server cannot be reached now.
Result<std::unique_ptr<sql::Database>> Open(const Options& options);

}  // namespace edgefleet::postgres
