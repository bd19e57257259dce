#include "base/adapters/postgres/postgres.h"

#include <array>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <pqxx/pqxx>
#include <random>
#include <thread>
#include <vector>

namespace edgefleet::postgres {
namespace {

using sql::Row;
using sql::Rows;
using sql::Value;

constexpr std::chrono::seconds kPoolWaitMax{10};
constexpr std::chrono::milliseconds kRetryAfter{1000};
constexpr int kConflictAttemptsMax = 20;
// Any constant serves, so long as every edgefleet process uses the same.
constexpr std::int64_t kMigrationLock = 0x65646765666c6565;

// PostgreSQL's own type numbers (src/include/catalog/pg_type.dat); they never change.
constexpr pqxx::oid kBool = 16, kBytea = 17, kInt8 = 20, kInt2 = 21, kInt4 = 23, kFloat4 = 700, kFloat8 = 701;

// A parameter in libpq's text form; its type is what the statement needs at that place. Nothing means NULL.
using Parameter = std::optional<std::string>;

Parameter ToParameter(const Value& value) {
  struct Visitor {
    Parameter operator()(std::monostate) const { return std::nullopt; }
    Parameter operator()(std::int64_t number) const { return std::to_string(number); }
    Parameter operator()(double number) const {
      std::array<char, 32> text{};
      const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;  // shortest that reads back the same
      return std::string(text.data(), end);
    }
    Parameter operator()(const std::string& text) const { return text; }
    Parameter operator()(const Bytes& bytes) const { return "\\x" + HexEncode(bytes); }
  };
  return std::visit(Visitor{}, value.storage());
}

Value FromField(const pqxx::field& field) {
  if (field.is_null()) return {};
  switch (field.type()) {
    case kBool:
      return Value(field.as<bool>());
    case kInt2:
    case kInt4:
    case kInt8:
      return Value(field.as<std::int64_t>());
    case kFloat4:
    case kFloat8:
      return Value(field.as<double>());
    case kBytea: {
      const pqxx::binarystring bytes(field);
      const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
      return Value(Bytes(data, data + bytes.size()));
    }
    default:
      return Value(std::string(field.c_str(), field.size()));
  }
}

// What becomes of a failed attempt.
enum class Failure { kFinal, kConflict, kConnectionLost };

struct Outcome {
  Status status;
  Failure failure = Failure::kFinal;
};

Status Unreachable(const std::string& detail) {
  return std::move(Unavailable("STORE_UNREACHABLE", "PostgreSQL: " + detail)).RetryAfter(kRetryAfter);
}

Outcome FromSqlError(const pqxx::sql_error& error) {
  const std::string& state = error.sqlstate();
  const std::string message = std::string("PostgreSQL: ") + error.what();
  const std::string state_class = state.substr(0, 2);
  if (state == "40001" || state == "40P01") return {Aborted("STORE_CONFLICT", message), Failure::kConflict};
  // 08: connection exceptions; 57P01-57P03: the server shuts down, crashed, or starts.
  if (state_class == "08" || state == "57P01" || state == "57P02" || state == "57P03") {
    return {Unreachable(error.what()), Failure::kConnectionLost};
  }
  if (state == "23505") return {AlreadyExists("CONSTRAINT", message)};
  if (state_class == "23") return {FailedPrecondition("CONSTRAINT", message)};
  if (state == "53100") return {ResourceExhausted("DISK_FULL", message + "; free space and try again")};
  if (state_class == "53") return {std::move(ResourceExhausted("STORE_BUSY", message)).RetryAfter(kRetryAfter)};
  if (state == "42501") return {PermissionDenied("STORE_DENIED", message)};
  return {Internal("STORE_ERROR", message + " (SQLSTATE " + state + ")")};
}

// Runs `work`, turning libpqxx's exceptions into values; the only place where they are caught.
template <typename Work>
Outcome Guard(Work work) {
  try {
    return {work()};
  } catch (const pqxx::in_doubt_error& error) {
    // Run again it might be done twice: only the caller, who has a request id, may decide that.
    return {Unreachable(std::string("connection lost while committing, the outcome is not known: ") + error.what())};
  } catch (const pqxx::broken_connection& error) {
    return {Unreachable(error.what()), Failure::kConnectionLost};
  } catch (const pqxx::transaction_rollback& error) {
    return {Aborted("STORE_CONFLICT", std::string("PostgreSQL: ") + error.what()), Failure::kConflict};
  } catch (const pqxx::sql_error& error) {
    return FromSqlError(error);
  } catch (const std::exception& error) {
    return {Internal("STORE_ERROR", std::string("PostgreSQL: ") + error.what())};
  }
}

class PostgresTransaction final : public sql::Transaction {
 public:
  explicit PostgresTransaction(pqxx::transaction_base& work) : work_(work) {}

  Result<Rows> Execute(std::string_view statement, std::span<const Value> parameters) override {
    Rows rows;
    Status status = Run([&] {
      std::vector<Parameter> texts;
      texts.reserve(parameters.size());
      for (const Value& value : parameters) texts.push_back(ToParameter(value));
      const pqxx::result result =
          work_.exec_params(std::string(statement), pqxx::prepare::make_dynamic_params(texts.begin(), texts.end()));
      rows.reserve(result.size());
      for (const auto& row : result) {
        std::vector<Value> values;
        values.reserve(row.size());
        for (const auto& field : row) values.push_back(FromField(field));
        rows.emplace_back(std::move(values));
      }
    });
    if (!status.ok()) return MakeError(std::move(status));
    return rows;
  }

  Status ExecuteScript(std::string_view script) override {
    return Run([&] { work_.exec(std::string(script)); });
  }

  // The first failure of a statement, which decides whether the transaction is run again even if the body hides it.
  const std::optional<Outcome>& failure() const { return failure_; }

 private:
  template <typename Statement>
  Status Run(Statement statement) {
    if (failure_) return failure_->status;  // PostgreSQL refuses everything after an error
    Outcome outcome = Guard([&] {
      statement();
      return OkStatus();
    });
    if (!outcome.status.ok()) failure_ = outcome;
    return outcome.status;
  }

  pqxx::transaction_base& work_;
  std::optional<Outcome> failure_;
};

class PostgresDatabase final : public sql::Database {
 public:
  explicit PostgresDatabase(const Options& options) : options_(options), url_(WithConnectTimeout(options.url)) {}

  Status Transact(const sql::TransactionBody& body) override { return Retry(Attempt<pqxx::serializable>, body); }

  Status TransactExclusively(const sql::TransactionBody& body) override {
    // Read committed: a serializable transaction would see the database as it was before the wait for the lock.
    return Retry(Attempt<pqxx::read_committed>, [&body](sql::Transaction& transaction) -> Status {
      auto locked = transaction.Execute("SELECT pg_advisory_xact_lock($1)", std::array<Value, 1>{kMigrationLock});
      return locked ? body(transaction) : locked.error();
    });
  }

  Status CreateSchema() {
    if (options_.schema.empty() || options_.schema.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") != std::string::npos) {
      return InvalidArgument("BAD_SCHEMA", "the PostgreSQL schema '" + options_.schema + "' must match [a-z_]+");
    }
    return TransactExclusively([this](sql::Transaction& transaction) -> Status {
      return transaction.ExecuteScript("CREATE SCHEMA IF NOT EXISTS " + options_.schema);
    });
  }

 private:
  struct Acquired {
    std::unique_ptr<pqxx::connection> connection;
    Outcome outcome;
  };

  Status Retry(Outcome (*attempt_once)(pqxx::connection&, const sql::TransactionBody&), const sql::TransactionBody& body) {
    bool reconnected = false;
    for (int attempt = 1;; ++attempt) {
      EF_ASSIGN_OR_RETURN(auto connection, Acquire());
      Outcome outcome = connection.outcome.status.ok() ? attempt_once(*connection.connection, body) : connection.outcome;
      // A connection that saw any failure but the body's own is not used again.
      Release(outcome.failure == Failure::kConnectionLost || outcome.status.reason() == "STORE_UNREACHABLE"
                  ? nullptr
                  : std::move(connection.connection));
      if (outcome.failure == Failure::kConnectionLost && !reconnected && connection.outcome.status.ok()) {
        reconnected = true;
        DropIdle();  // they broke together with this one
        continue;
      }
      if (outcome.failure != Failure::kConflict || attempt == kConflictAttemptsMax) return outcome.status;
      Pause(attempt);
    }
  }

  static std::string WithConnectTimeout(const std::string& url) {
    if (url.find("connect_timeout") != std::string::npos) return url;
    const bool keywords = url.find("://") == std::string::npos;
    const char* separator = keywords ? " " : url.find('?') == std::string::npos ? "?" : "&";
    return url + separator + "connect_timeout=5";
  }

  // Waits for a free place in the pool, then takes an idle connection or opens one. Every Acquired value must be Released.
  Result<Acquired> Acquire() {
    {
      std::unique_lock lock(mutex_);
      if (!freed_.wait_for(lock, kPoolWaitMax, [this] { return in_use_ < options_.connections_max; })) {
        return std::move(ResourceExhausted("STORE_BUSY", "all connections to PostgreSQL are busy")).RetryAfter(kRetryAfter);
      }
      ++in_use_;
      if (!idle_.empty()) {
        Acquired acquired{std::move(idle_.back()), {}};
        idle_.pop_back();
        return acquired;
      }
    }
    Acquired acquired;
    acquired.outcome = Guard([&] {
      acquired.connection = std::make_unique<pqxx::connection>(url_);
      acquired.connection->set_variable("search_path", options_.schema);
      return OkStatus();
    });
    return acquired;
  }

  void Release(std::unique_ptr<pqxx::connection> connection) {
    std::lock_guard lock(mutex_);
    --in_use_;
    if (connection != nullptr) idle_.push_back(std::move(connection));
    freed_.notify_one();
  }

  void DropIdle() {
    std::vector<std::unique_ptr<pqxx::connection>> dropped;
    std::lock_guard lock(mutex_);
    dropped.swap(idle_);
  }

  template <pqxx::isolation_level kIsolation>
  static Outcome Attempt(pqxx::connection& connection, const sql::TransactionBody& body) {
    std::optional<Outcome> statement_failure;
    Outcome outcome = Guard([&]() -> Status {
      pqxx::transaction<kIsolation> work(connection);
      PostgresTransaction transaction(work);
      Status status = body(transaction);
      statement_failure = transaction.failure();
      if (statement_failure && statement_failure->failure != Failure::kFinal) return statement_failure->status;
      if (status.ok()) work.commit();
      return status;
    });
    if (statement_failure && statement_failure->failure != Failure::kFinal) return *statement_failure;
    return outcome;
  }

  static void Pause(int attempt) {
    thread_local std::minstd_rand random{std::random_device{}()};
    const int pause_ms_max = std::min(1 << attempt, 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(std::uniform_int_distribution<int>(0, pause_ms_max)(random)));
  }

  const Options options_;
  const std::string url_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::size_t in_use_ = 0;
  std::vector<std::unique_ptr<pqxx::connection>> idle_;
};

}  // namespace

Result<std::unique_ptr<sql::Database>> Open(const Options& options) {
  auto database = std::make_unique<PostgresDatabase>(options);
  EF_RETURN_IF_ERROR(database->CreateSchema());
  return database;
}

}  // namespace edgefleet::postgres
