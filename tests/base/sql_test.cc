// The SQL port's contract, on SQLite and on PostgreSQL.
#include "base/sql/sql.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/adapters/postgres/postgres.h"
#include "base/adapters/sqlite/sqlite.h"
#include "tests/support/private_postgres.h"

namespace edgefleet {
namespace {

using sql::Migration;
using sql::Rows;
using sql::Transaction;

constexpr Migration kFirst{"items", "CREATE TABLE items (id BIGINT PRIMARY KEY, amount BIGINT NOT NULL)"};
constexpr Migration kSecond{"kinds",
                            "CREATE TABLE kinds (i BIGINT, d DOUBLE PRECISION, t TEXT, b BYTEA);"
                            "ALTER TABLE items ADD COLUMN note TEXT NOT NULL DEFAULT ''"};

class SqlTest : public testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    auto started = test::PrivatePostgres::Start();
    ASSERT_TRUE(started) << started.error().ToString();
    cluster_ = std::move(*started).release();
  }
  static void TearDownTestSuite() { delete cluster_; }

  void SetUp() override {
    if (GetParam()) {
      auto url = cluster_->NewDatabase();
      ASSERT_TRUE(url) << url.error().ToString();
      url_ = *url;
    } else {
      std::string folder = testing::TempDir() + "sql-XXXXXX";
      ASSERT_NE(mkdtemp(folder.data()), nullptr);
      folder_ = folder;
    }
    database_ = Open();
  }
  void TearDown() override {
    database_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<sql::Database> Open() {
    auto opened =
        GetParam() ? postgres::Open({.url = url_, .schema = "area", .connections_max = 4}) : sqlite::Open(folder_ / "store.db");
    EXPECT_TRUE(opened) << opened.error().ToString();
    return opened ? std::move(*opened) : nullptr;
  }

  Status Run(std::string_view statement, std::initializer_list<sql::Value> parameters = {}) {
    return database_->Transact([&](Transaction& transaction) -> Status {
      auto rows = transaction.Execute(statement, parameters);
      return rows ? OkStatus() : rows.error();
    });
  }
  Rows Query(std::string_view statement) {
    Rows rows;
    Status status = database_->Transact([&](Transaction& transaction) -> Status {
      EF_ASSIGN_OR_RETURN(rows, transaction.Execute(statement));
      return OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return rows;
  }

  static inline test::PrivatePostgres* cluster_ = nullptr;
  std::string url_;
  std::filesystem::path folder_;
  std::unique_ptr<sql::Database> database_;
};

TEST_P(SqlTest, MigrationsRunOnceInOrderAndAreRecorded) {
  const Migration first[] = {kFirst};
  ASSERT_TRUE(sql::Migrate(*database_, first).ok());
  ASSERT_TRUE(Run("INSERT INTO items (id, amount) VALUES (1, 5)").ok());
  const Migration both[] = {kFirst, kSecond};
  ASSERT_TRUE(sql::Migrate(*database_, both).ok());
  ASSERT_TRUE(sql::Migrate(*database_, both).ok());
  const Rows rows = Query("SELECT version, name FROM schema_migrations ORDER BY version");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].Int(0), 2);
  EXPECT_EQ(rows[1].Text(1), "kinds");
  EXPECT_EQ(Query("SELECT amount FROM items WHERE id = 1").at(0).Int(0), 5);
}

TEST_P(SqlTest, NewerSchemaIsRefused) {
  const Migration both[] = {kFirst, kSecond};
  ASSERT_TRUE(sql::Migrate(*database_, both).ok());
  const Migration first[] = {kFirst};
  EXPECT_EQ(sql::Migrate(*database_, first).reason(), "SCHEMA_NEWER");
}

TEST_P(SqlTest, BrokenMigrationLeavesTheFormerSchema) {
  const Migration broken[] = {kFirst, {"broken", "CREATE TABLE half (i BIGINT); CREATE NONSENSE"}};
  EXPECT_FALSE(sql::Migrate(*database_, broken).ok());
  EXPECT_EQ(Query("SELECT MAX(version) FROM schema_migrations").at(0).Int(0), 1);
  EXPECT_FALSE(Run("SELECT * FROM half").ok());
  const Migration both[] = {kFirst, kSecond};
  EXPECT_TRUE(sql::Migrate(*database_, both).ok());
}

TEST_P(SqlTest, ProcessesThatMigrateAtOnceDoNotDisturbEachOther) {
  const Migration both[] = {kFirst, kSecond};
  std::vector<std::thread> threads;
  std::vector<Status> statuses(4);
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    threads.emplace_back([&, i] {
      auto own = Open();
      statuses[i] = sql::Migrate(*own, both);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& status : statuses) EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_P(SqlTest, EveryTypeComesBackAsItWentIn) {
  const Migration both[] = {kFirst, kSecond};
  ASSERT_TRUE(sql::Migrate(*database_, both).ok());
  const std::string text = "quote ' and \u00e9 and ; -- \\x";
  Bytes bytes(256);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  const std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  ASSERT_TRUE(Run("INSERT INTO kinds (i, d, t, b) VALUES ($1, $2, $3, $4)", {lowest, 0.1, text, bytes}).ok());
  ASSERT_TRUE(Run("INSERT INTO kinds (i, d, t, b) VALUES ($1, $2, $3, $4)", {1, 1e300, "", Bytes{}}).ok());
  ASSERT_TRUE(Run("INSERT INTO kinds (i, d, t, b) VALUES ($1, $2, $3, $4)", {2, {}, {}, {}}).ok());
  const Rows rows = Query("SELECT i, d, t, b FROM kinds ORDER BY i");
  EXPECT_EQ(rows[0].Int(0), lowest);
  EXPECT_EQ(rows[0].Real(1), 0.1);
  EXPECT_EQ(rows[0].Text(2), text);
  EXPECT_EQ(rows[0].Blob(3), bytes);
  EXPECT_EQ(rows[1].Real(1), 1e300);
  EXPECT_FALSE(rows[1].IsNull(2));
  EXPECT_FALSE(rows[1].IsNull(3));
  EXPECT_TRUE(rows[2].IsNull(1) && rows[2].IsNull(2) && rows[2].IsNull(3));
}

TEST_P(SqlTest, FailedBodyChangesNothing) {
  const Migration first[] = {kFirst};
  ASSERT_TRUE(sql::Migrate(*database_, first).ok());
  Status status = database_->Transact([](Transaction& transaction) -> Status {
    EF_ASSIGN_OR_RETURN(Rows rows, transaction.Execute("INSERT INTO items (id, amount) VALUES (1, 1)"));
    return InvalidArgument("NO", "the body changed its mind");
  });
  EXPECT_EQ(status.reason(), "NO");
  EXPECT_EQ(Query("SELECT COUNT(*) FROM items").at(0).Int(0), 0);
}

TEST_P(SqlTest, TakenKeyIsAlreadyExists) {
  const Migration first[] = {kFirst};
  ASSERT_TRUE(sql::Migrate(*database_, first).ok());
  ASSERT_TRUE(Run("INSERT INTO items (id, amount) VALUES (1, 1)").ok());
  const Status status = Run("INSERT INTO items (id, amount) VALUES (1, 2)");
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(status.reason(), "CONSTRAINT");
  EXPECT_EQ(Run("INSERT INTO items (id) VALUES (2)").code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Run("INSERT INTO items (id, amount) VALUES (2, 2)").ok());
}

TEST_P(SqlTest, ConcurrentReadModifyWriteLosesNothing) {
  const Migration first[] = {kFirst};
  ASSERT_TRUE(sql::Migrate(*database_, first).ok());
  ASSERT_TRUE(Run("INSERT INTO items (id, amount) VALUES (1, 0)").ok());
  constexpr int kThreads = 4, kEach = 10;
  std::vector<std::thread> threads;
  std::atomic<int> committed{0};
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < kEach; ++n) {
        Status status = database_->Transact([](Transaction& transaction) -> Status {
          EF_ASSIGN_OR_RETURN(Rows rows, transaction.Execute("SELECT amount FROM items WHERE id = 1"));
          EF_ASSIGN_OR_RETURN(rows, transaction.Execute("UPDATE items SET amount = $1 WHERE id = 1", {rows.at(0).Int(0) + 1}));
          return OkStatus();
        });
        if (status.ok())
          ++committed;
        else
          EXPECT_EQ(status.reason(), "STORE_CONFLICT");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(Query("SELECT amount FROM items WHERE id = 1").at(0).Int(0), committed.load());
  EXPECT_GT(committed.load(), 0);
}

INSTANTIATE_TEST_SUITE_P(Sqlite, SqlTest, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Postgres, SqlTest, testing::Values(true));

TEST(SqliteTest, FileThatIsNoDatabaseIsRefused) {
  const std::filesystem::path file = testing::TempDir() + "not-a-database.db";
  std::ofstream(file) << std::string(5000, 'x');
  const auto opened = sqlite::Open(file);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason(), "STORE_CORRUPT");
  std::filesystem::remove(file);
}

TEST(PostgresTest, BadSchemaNameIsRefused) {
  const auto opened = postgres::Open({.url = "postgresql:///x?host=/nonexistent", .schema = "a; DROP"});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason(), "BAD_SCHEMA");
}

TEST(PostgresTest, UnreachableServerSaysSoAndWhenToRetry) {
  const auto opened = postgres::Open({.url = "postgresql:///x?host=/nonexistent", .schema = "area"});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason(), "STORE_UNREACHABLE");
  EXPECT_TRUE(opened.error().retry_after().has_value());
}

TEST(PostgresTest, SurvivesTheServersDeath) {
  auto cluster = test::PrivatePostgres::Start();
  ASSERT_TRUE(cluster) << cluster.error().ToString();
  auto database = postgres::Open({.url = (*cluster)->Url(), .schema = "area"});
  ASSERT_TRUE(database) << database.error().ToString();
  const Migration first[] = {kFirst};
  ASSERT_TRUE(sql::Migrate(**database, first).ok());
  auto insert = [&](int id) {
    return (*database)->Transact([id](Transaction& transaction) -> Status {
      auto rows = transaction.Execute("INSERT INTO items (id, amount) VALUES ($1, 1)", {id});
      return rows ? OkStatus() : rows.error();
    });
  };
  ASSERT_TRUE(insert(1).ok());
  (*cluster)->Kill9();
  EXPECT_EQ(insert(2).reason(), "STORE_UNREACHABLE");
  const Status restarted = (*cluster)->Restart();
  ASSERT_TRUE(restarted.ok()) << restarted.ToString();
  const Status inserted = insert(3);
  EXPECT_TRUE(inserted.ok()) << inserted.ToString();
  std::int64_t count = 0;
  ASSERT_TRUE((*database)
                  ->Transact([&](Transaction& transaction) -> Status {
                    EF_ASSIGN_OR_RETURN(Rows rows, transaction.Execute("SELECT COUNT(*) FROM items"));
                    count = rows.at(0).Int(0);
                    return OkStatus();
                  })
                  .ok());
  EXPECT_EQ(count, 2);
}

}  // namespace
}  // namespace edgefleet
