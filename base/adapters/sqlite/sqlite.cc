#include "base/adapters/sqlite/sqlite.h"

#include <sqlite3.h>

#include <map>
#include <mutex>
#include <string>

namespace edgefleet::sqlite {
namespace {

using sql::Row;
using sql::Rows;
using sql::Value;

constexpr int kBusyTimeoutMs = 10'000;
constexpr std::size_t kStatementsCachedMax = 128;

struct CloseConnection {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
};
using Connection = std::unique_ptr<sqlite3, CloseConnection>;

struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

Status ErrorOf(sqlite3* connection, int code) {
  const std::string message = std::string("SQLite: ") + (connection ? sqlite3_errmsg(connection) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return std::move(Unavailable("STORE_BUSY", message)).RetryAfter(std::chrono::seconds(1));
    case SQLITE_FULL:
      return ResourceExhausted("DISK_FULL", message + "; free space and try again");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return FailedPrecondition("STORE_CORRUPT", message + "; restore the file from a backup");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return PermissionDenied("STORE_DENIED", message);
    case SQLITE_CONSTRAINT: {
      const bool unique = code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY;
      return Status(unique ? StatusCode::kAlreadyExists : StatusCode::kFailedPrecondition, "CONSTRAINT", message);
    }
    default:
      return Internal("STORE_ERROR", message);
  }
}

int Bind(sqlite3_stmt* statement, int index, const Value& value) {
  struct Visitor {
    sqlite3_stmt* statement;
    int index;
    int operator()(std::monostate) const { return sqlite3_bind_null(statement, index); }
    int operator()(std::int64_t number) const { return sqlite3_bind_int64(statement, index, number); }
    int operator()(double number) const { return sqlite3_bind_double(statement, index, number); }
    int operator()(const std::string& text) const {
      return sqlite3_bind_text64(statement, index, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    }
    int operator()(const Bytes& bytes) const {
      static constexpr std::byte kNothing{};  // a null pointer would bind NULL
      return sqlite3_bind_blob64(statement, index, bytes.empty() ? &kNothing : bytes.data(), bytes.size(), SQLITE_STATIC);
    }
  };
  return std::visit(Visitor{statement, index}, value.storage());
}

Value Column(sqlite3_stmt* statement, int index) {
  switch (sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER:
      return Value(static_cast<std::int64_t>(sqlite3_column_int64(statement, index)));
    case SQLITE_FLOAT:
      return Value(sqlite3_column_double(statement, index));
    case SQLITE_TEXT: {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, index));
      return Value(std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement, index))));
    }
    case SQLITE_BLOB: {
      const auto* bytes = static_cast<const std::byte*>(sqlite3_column_blob(statement, index));
      return Value(Bytes(bytes, bytes + sqlite3_column_bytes(statement, index)));
    }
    default:
      return {};
  }
}

class SqliteDatabase final : public sql::Database, private sql::Transaction {
 public:
  explicit SqliteDatabase(Connection connection) : connection_(std::move(connection)) {}

  Status Transact(const sql::TransactionBody& body) override {
    std::lock_guard lock(mutex_);
    // The write lock comes first: a transaction that starts reading could not be upgraded once another has written.
    EF_RETURN_IF_ERROR(Script("BEGIN IMMEDIATE"));
    Status status = body(*this);
    if (status.ok()) status = Script("COMMIT");
    if (!status.ok() && sqlite3_get_autocommit(connection_.get()) == 0) {
      // The first error is what the caller wants to know; a transaction that cannot be rolled back ends with its connection.
      if (Status rolled_back = Script("ROLLBACK"); !rolled_back.ok()) return std::move(rolled_back).Annotate(status.ToString());
    }
    return status;
  }

  Status TransactExclusively(const sql::TransactionBody& body) override { return Transact(body); }

 private:
  Result<Rows> Execute(std::string_view text, std::span<const Value> parameters) override {
    EF_ASSIGN_OR_RETURN(sqlite3_stmt * statement, Prepare(text));
    auto rows = Step(statement, parameters);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rows;
  }

  Status ExecuteScript(std::string_view script) override { return Script(std::string(script)); }

  Status Script(const std::string& script) {
    const int code = sqlite3_exec(connection_.get(), script.c_str(), nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? OkStatus() : ErrorOf(connection_.get(), sqlite3_extended_errcode(connection_.get()));
  }

  Result<sqlite3_stmt*> Prepare(std::string_view text) {
    if (auto found = statements_.find(text); found != statements_.end()) return found->second.get();
    if (statements_.size() >= kStatementsCachedMax) statements_.clear();
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v3(connection_.get(), text.data(), static_cast<int>(text.size()),
                                        SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    if (code != SQLITE_OK) return MakeError(ErrorOf(connection_.get(), code));
    statements_.emplace(std::string(text), Statement(raw));
    return raw;
  }

  Result<Rows> Step(sqlite3_stmt* statement, std::span<const Value> parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const int index = sqlite3_bind_parameter_index(statement, ("$" + std::to_string(i + 1)).c_str());
      if (index == 0) return Internal("STORE_ERROR", "the statement does not use parameter $" + std::to_string(i + 1));
      const int code = Bind(statement, index, parameters[i]);
      if (code != SQLITE_OK) return MakeError(ErrorOf(connection_.get(), code));
    }
    Rows rows;
    int code = SQLITE_OK;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
      std::vector<Value> values;
      const int columns = sqlite3_column_count(statement);
      values.reserve(static_cast<std::size_t>(columns));
      for (int i = 0; i < columns; ++i) values.push_back(Column(statement, i));
      rows.emplace_back(std::move(values));
    }
    if (code != SQLITE_DONE) return MakeError(ErrorOf(connection_.get(), sqlite3_extended_errcode(connection_.get())));
    return rows;
  }

  std::mutex mutex_;
  Connection connection_;
  std::map<std::string, Statement, std::less<>> statements_;  // after connection_: finalized before it closes
};

}  // namespace

Result<std::unique_ptr<sql::Database>> Open(const std::filesystem::path& file) {
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  int code = sqlite3_open_v2(file.c_str(), &raw, flags, nullptr);
  Connection connection(raw);
  if (code == SQLITE_OK) code = sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  if (code == SQLITE_OK) {
    code = sqlite3_exec(raw, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON", nullptr, nullptr,
                        nullptr);
  }
  if (code != SQLITE_OK) return MakeError(ErrorOf(raw, code).Annotate(file.string()));
  return std::make_unique<SqliteDatabase>(std::move(connection));
}

}  // namespace edgefleet::sqlite
