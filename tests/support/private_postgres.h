// A PostgreSQL cluster of a test's own: in a temporary folder, on a Unix socket there, gone when the test ends or dies.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/status.h"

namespace edgefleet::test {

// Takes about a second to start; make one for a test program (SetUpTestSuite) and a fresh database for each test. Start it from
// a thread that lives as long as the cluster: the server ends with the thread that started it. As root, the server runs as the
// user postgres. Not thread-safe, except Url and NewDatabase.
class PrivatePostgres {
 public:
  static Result<std::unique_ptr<PrivatePostgres>> Start();
  ~PrivatePostgres();
  PrivatePostgres(const PrivatePostgres&) = delete;
  PrivatePostgres& operator=(const PrivatePostgres&) = delete;

  // A URL for libpq.
  std::string Url(const std::string& database = "postgres") const;
  // Creates an empty database and gives its URL.
  Result<std::string> NewDatabase();

  // The crash: SIGKILL to the server, whose processes follow at once. Committed transactions survive.
  void Kill9();
  // Starts it again after Kill9 and waits until it has recovered.
  Status Restart();

 private:
  explicit PrivatePostgres(std::filesystem::path folder) : folder_(std::move(folder)) {}
  Status Initialize();
  Status StartJanitor();
  Status StartServer();
  Status WaitUntilReady();
  void StopServer(int signal);

  const std::filesystem::path folder_;
  pid_t server_ = -1;
  pid_t janitor_ = -1;
  int janitor_pipe_ = -1;
};

}  // namespace edgefleet::test
