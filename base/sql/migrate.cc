#include "base/sql/sql.h"

namespace edgefleet::sql {
namespace {

Result<std::int64_t> CurrentVersion(Transaction& transaction) {
  EF_ASSIGN_OR_RETURN(Rows rows, transaction.Execute("SELECT COALESCE(MAX(version), 0) FROM schema_migrations"));
  return rows.at(0).Int(0);
}

// Applies the next step, if there is one; `*done` says that there was none.
Status Step(Transaction& transaction, std::span<const Migration> migrations, bool* done) {
  const auto newest = static_cast<std::int64_t>(migrations.size());
  EF_ASSIGN_OR_RETURN(const std::int64_t current, CurrentVersion(transaction));
  if (current > newest) {
    return FailedPrecondition("SCHEMA_NEWER", "the database has schema version " + std::to_string(current) +
                                                  ", this program knows " + std::to_string(newest) + "; run the newer program");
  }
  *done = current == newest;
  if (*done) return OkStatus();
  const Migration& step = migrations[static_cast<std::size_t>(current)];
  EF_RETURN_IF_ERROR(transaction.ExecuteScript(step.script));
  auto recorded =
      transaction.Execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", {current + 1, step.name});
  return recorded ? OkStatus() : recorded.error();
}

}  // namespace

Status Migrate(Database& database, std::span<const Migration> migrations) {
  Status status = database.TransactExclusively([](Transaction& transaction) {
    return transaction.ExecuteScript(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL)");
  });
  for (bool done = false; status.ok() && !done;) {
    status = database.TransactExclusively([&](Transaction& transaction) { return Step(transaction, migrations, &done); });
  }
  return status;
}

}  // namespace edgefleet::sql
