// The SQL port: what a store needs from a relational database, so that one store serves SQLite and PostgreSQL alike. Adapters:
// base/adapters/sqlite and base/adapters/postgres.
//
// The common dialect: parameters are $1, $2, ...; types BIGINT, DOUBLE PRECISION, TEXT, BYTEA; booleans are BIGINT 0 or 1;
// UPSERT as ON CONFLICT ... DO; RETURNING; CAST(x AS t), never x::t; no FOR UPDATE: every transaction is serializable.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::sql {

// NULL, BIGINT, DOUBLE PRECISION, TEXT, BYTEA.
class Value {
 public:
  using Storage = std::variant<std::monostate, std::int64_t, double, std::string, Bytes>;

  Value() = default;
  Value(bool value) : storage_(std::int64_t{value}) {}                        // NOLINT(google-explicit-constructor)
  Value(std::int32_t value) : storage_(std::int64_t{value}) {}                // NOLINT(google-explicit-constructor)
  Value(std::uint32_t value) : storage_(std::int64_t{value}) {}               // NOLINT(google-explicit-constructor)
  Value(std::int64_t value) : storage_(value) {}                              // NOLINT(google-explicit-constructor)
  Value(std::uint64_t value) : storage_(static_cast<std::int64_t>(value)) {}  // NOLINT(google-explicit-constructor)
  Value(double value) : storage_(value) {}                                    // NOLINT(google-explicit-constructor)
  Value(std::string value) : storage_(std::move(value)) {}                    // NOLINT(google-explicit-constructor)
  Value(std::string_view value) : storage_(std::string(value)) {}             // NOLINT(google-explicit-constructor)
  Value(const char* value) : storage_(std::string(value)) {}                  // NOLINT(google-explicit-constructor)
  Value(Bytes value) : storage_(std::move(value)) {}                          // NOLINT(google-explicit-constructor)
  Value(ByteView value) : storage_(ToBytes(value)) {}                         // NOLINT(google-explicit-constructor)

  const Storage& storage() const { return storage_; }

 private:
  Storage storage_;
};

// One row of an answer. A getter yields the type's zero for NULL; asking for another type than the column has is a programming
// error and yields zero as well.
class Row {
 public:
  explicit Row(std::vector<Value> values) : values_(std::move(values)) {}
  std::size_t size() const { return values_.size(); }
  bool IsNull(std::size_t column) const { return std::holds_alternative<std::monostate>(values_.at(column).storage()); }
  std::int64_t Int(std::size_t column) const { return Get<std::int64_t>(column); }
  std::uint64_t Unsigned(std::size_t column) const { return static_cast<std::uint64_t>(Int(column)); }
  bool Bool(std::size_t column) const { return Int(column) != 0; }
  double Real(std::size_t column) const { return Get<double>(column); }
  std::string Text(std::size_t column) const { return Get<std::string>(column); }
  Bytes Blob(std::size_t column) const { return Get<Bytes>(column); }

 private:
  template <typename T>
  T Get(std::size_t column) const {
    const T* value = std::get_if<T>(&values_.at(column).storage());
    return value == nullptr ? T{} : *value;
  }
  std::vector<Value> values_;
};
using Rows = std::vector<Row>;

// Lives for one call of a transaction's body. After an error the body must return; the transaction is rolled back.
class Transaction {
 public:
  virtual ~Transaction() = default;
  // One statement. ALREADY_EXISTS [CONSTRAINT] when a unique key is taken, FAILED_PRECONDITION [CONSTRAINT] for other
  // constraints.
  virtual Result<Rows> Execute(std::string_view statement, std::span<const Value> parameters) = 0;
  // Several statements separated by semicolons, without parameters: migrations.
  virtual Status ExecuteScript(std::string_view script) = 0;

  Result<Rows> Execute(std::string_view statement, std::initializer_list<Value> parameters = {}) {
    return Execute(statement, std::span(parameters.begin(), parameters.size()));
  }
};

using TransactionBody = std::function<Status(Transaction&)>;

// Thread-safe.
class Database {
 public:
  virtual ~Database() = default;
  // Runs `body` in a serializable transaction and commits durably when it returns OK; anything else rolls back and is returned.
  // `body` may run more than once (a conflict with another transaction, a lost connection): it must have no effect but on the
  // database and must overwrite what it hands out. UNAVAILABLE [STORE_UNREACHABLE] with retry-after when the database cannot be
  // reached: the transaction was then not committed, or (only when the connection broke while committing) may have been.
  // ABORTED [STORE_CONFLICT] when conflicts did not end.
  virtual Status Transact(const TransactionBody& body) = 0;
  // The same, while no other transaction of this kind runs in any process on this database; for changes of the schema.
  virtual Status TransactExclusively(const TransactionBody& body) = 0;
};

// Steps of a schema, in order, versions 1, 2, 3, ... Never change one that was released; add another.
struct Migration {
  std::string_view name;
  std::string_view script;
};

// Brings the database to the last of `migrations`: one transaction each, recorded in the table schema_migrations; safe when
// several processes do it at once. FAILED_PRECONDITION [SCHEMA_NEWER] when the database was written by a newer program.
Status Migrate(Database& database, std::span<const Migration> migrations);

}  // namespace edgefleet::sql
