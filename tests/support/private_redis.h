// A Redis server of a test's own: on a Unix socket in a temporary folder, gone when the test ends or dies.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/status.h"

namespace edgefleet::test {

// Ready in some hundredths of a second. Start it from a thread that lives as long as the server: the server ends with the
// thread that started it. Not thread-safe, except Url.
class PrivateRedis {
 public:
  // With `durable`, every answered change survives Kill9 (appendonly, fsync always); without, a restarted server is empty.
  static Result<std::unique_ptr<PrivateRedis>> Start(bool durable = false);
  ~PrivateRedis();
  PrivateRedis(const PrivateRedis&) = delete;
  PrivateRedis& operator=(const PrivateRedis&) = delete;

  // redis+unix:///...
  std::string Url() const { return "redis+unix://" + Socket(); }

  // The crash: SIGKILL, reaped.
  void Kill9();
  // Starts it again after Kill9 and waits until it has loaded what it kept.
  Status Restart();

 private:
  PrivateRedis(std::filesystem::path folder, bool durable) : folder_(std::move(folder)), durable_(durable) {}
  std::string Socket() const { return (folder_ / "s").string(); }
  Status StartServer();
  Status WaitUntilReady();

  const std::filesystem::path folder_;
  const bool durable_;
  pid_t server_ = -1;
};

}  // namespace edgefleet::test
