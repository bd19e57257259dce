// Scripts against one Redis over a bounded set of kept connections.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "aggregator/selection/redis_presence_store.h"

namespace edgefleet::selection::redis {

struct Value {
  enum class Kind : std::uint8_t { kNil, kInteger, kText, kList };
  Kind kind = Kind::kNil;
  std::int64_t integer = 0;
  std::string text;
  std::vector<Value> list;
};

struct Address {
  std::string host;  // empty: a unix socket
  int port = 6379;
  std::string path;
  std::uint32_t database = 0;
  std::string user;
  std::string password;
};

// redis://[[user]:password@]host[:port][/database] or redis+unix:///path. INVALID_ARGUMENT [BAD_REDIS_URL].
Result<Address> ParseUrl(std::string_view url);

// Thread-safe. Commands must be harmless when repeated: one that fails on a kept connection is sent once more on a new one.
// UNAVAILABLE [PRESENCE_UNREACHABLE], RESOURCE_EXHAUSTED [PRESENCE_BUSY], DATA_LOSS [PRESENCE_CORRUPT], INTERNAL
// [PRESENCE_ERROR].
class Client {
 public:
  Client(Address address, RedisOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Result<Value> Command(const std::vector<std::string>& words);
  // Runs a Lua script by its digest, loading it where the server does not have it. `script` is a constant.
  Result<Value> Eval(std::string_view script, std::vector<std::string> arguments);

 private:
  class Connection;

  Result<std::unique_ptr<Connection>> Take(bool fresh);
  void GiveBack(std::unique_ptr<Connection> connection);
  Result<std::unique_ptr<Connection>> Connect();
  Result<std::string> Digest(std::string_view script, bool reload);

  const Address address_;
  const RedisOptions options_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Connection>> idle_;
  std::size_t open_ = 0;                             // idle or in use
  std::map<std::string_view, std::string> digests_;  // by script
};

}  // namespace edgefleet::selection::redis
