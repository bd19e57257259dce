#include "aggregator/selection/redis_client.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <ctime>

namespace edgefleet::selection::redis {
namespace {

constexpr Millis kRetryAfter{1'000};

Error Unreachable(const std::string& why) {
  return Unavailable("PRESENCE_UNREACHABLE", "Redis does not answer: " + why).RetryAfter(kRetryAfter);
}

timeval ToTimeval(Millis time) {
  return {.tv_sec = time.count() / 1000, .tv_usec = static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

// hiredis writes to sockets with write(): keeps a closed one from ending the process, and leaves the process's handling alone.
class SigpipeBlock {
 public:
  SigpipeBlock() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &former_);
  }
  ~SigpipeBlock() {
    const timespec now{};
    if (!was_pending_) sigtimedwait(&pipe_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &former_, nullptr);
  }
  SigpipeBlock(const SigpipeBlock&) = delete;
  SigpipeBlock& operator=(const SigpipeBlock&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t former_{};
  bool was_pending_ = false;
};

Value ToValue(const redisReply& reply) {
  Value value;
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      value.kind = Value::Kind::kInteger;
      value.integer = reply.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      value.kind = Value::Kind::kText;
      value.text.assign(reply.str, reply.len);
      break;
    case REDIS_REPLY_ARRAY:
      value.kind = Value::Kind::kList;
      value.list.reserve(reply.elements);
      for (std::size_t i = 0; i < reply.elements; ++i) value.list.push_back(ToValue(*reply.element[i]));
      break;
    default:
      break;
  }
  return value;
}

// What an error reply means: its first word is stable.
Status ToStatus(std::string_view error) {
  const std::string_view word = error.substr(0, error.find(' '));
  if (word == "NOSCRIPT") return NotFound("NOSCRIPT", std::string(error));
  if (word == "WRONGTYPE") return DataLoss("PRESENCE_CORRUPT", "Redis holds foreign content: " + std::string(error));
  constexpr std::array kPassing{"LOADING", "BUSY",     "MASTERDOWN", "READONLY", "OOM",
                                "MISCONF", "TRYAGAIN", "NOAUTH",     "WRONGPASS"};
  if (std::find(kPassing.begin(), kPassing.end(), word) != kPassing.end()) return Unreachable(std::string(error));
  return Internal("PRESENCE_ERROR", "Redis refused a command: " + std::string(error));
}

template <typename Number>
bool ParseNumber(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

Error BadUrl() {
  return InvalidArgument("BAD_REDIS_URL", "a Redis URL is redis://[user:password@]host:port/database or redis+unix:///path");
}

}  // namespace

Result<Address> ParseUrl(std::string_view url) {
  constexpr std::string_view kUnix = "redis+unix://";
  constexpr std::string_view kTcp = "redis://";
  Address address;
  if (url.starts_with(kUnix)) {
    address.path = url.substr(kUnix.size());
    if (address.path.size() < 2 || address.path.front() != '/') return BadUrl();
    return address;
  }
  if (!url.starts_with(kTcp)) return BadUrl();
  url.remove_prefix(kTcp.size());
  if (const std::size_t at = url.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = url.substr(0, at);
    const std::size_t colon = login.find(':');
    if (colon == std::string_view::npos) return BadUrl();
    address.user = login.substr(0, colon);
    address.password = login.substr(colon + 1);
    url.remove_prefix(at + 1);
  }
  if (const std::size_t slash = url.find('/'); slash != std::string_view::npos) {
    const std::string_view database = url.substr(slash + 1);
    if (!database.empty() && !ParseNumber(database, address.database)) return BadUrl();
    url = url.substr(0, slash);
  }
  if (const std::size_t colon = url.rfind(':'); colon != std::string_view::npos) {
    if (!ParseNumber(url.substr(colon + 1), address.port) || address.port < 1 || address.port > 65535) return BadUrl();
    url = url.substr(0, colon);
  }
  address.host = url;
  if (address.host.empty()) return BadUrl();
  return address;
}

class Client::Connection {
 public:
  explicit Connection(redisContext* context) : context_(context) {}
  ~Connection() { redisFree(context_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool broken() const { return context_->err != 0; }
  Result<Value> Run(const std::vector<std::string>& words) {
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
      texts.push_back(word.data());
      sizes.push_back(word.size());
    }
    const SigpipeBlock block;
    void* raw = redisCommandArgv(context_, static_cast<int>(words.size()), texts.data(), sizes.data());
    const std::unique_ptr<redisReply, void (*)(void*)> reply(static_cast<redisReply*>(raw), freeReplyObject);
    if (!reply) return Unreachable(context_->errstr);
    if (reply->type == REDIS_REPLY_ERROR) return MakeError(ToStatus({reply->str, reply->len}));
    return ToValue(*reply);
  }

 private:
  redisContext* context_;
};

Client::Client(Address address, RedisOptions options) : address_(std::move(address)), options_(std::move(options)) {}
Client::~Client() = default;

Result<std::unique_ptr<Client::Connection>> Client::Connect() {
  const timeval timeout = ToTimeval(options_.connect_timeout);
  redisContext* context = address_.host.empty() ? redisConnectUnixWithTimeout(address_.path.c_str(), timeout)
                                                : redisConnectWithTimeout(address_.host.c_str(), address_.port, timeout);
  if (context == nullptr) return ResourceExhausted("PRESENCE_BUSY", "out of memory").RetryAfter(kRetryAfter);
  auto connection = std::make_unique<Connection>(context);
  if (context->err != 0) return Unreachable(context->errstr);
  redisSetTimeout(context, ToTimeval(options_.command_timeout));
  if (!address_.password.empty()) {
    std::vector<std::string> login{"AUTH"};
    if (!address_.user.empty()) login.push_back(address_.user);
    login.push_back(address_.password);
    if (auto reply = connection->Run(login); !reply) return MakeError(std::move(reply).error());
  }
  if (address_.database != 0) {
    auto reply = connection->Run({"SELECT", std::to_string(address_.database)});
    if (!reply) return MakeError(std::move(reply).error());
  }
  return connection;
}

// With `fresh`, kept connections are dropped first: when one is broken, those of the same age are too.
Result<std::unique_ptr<Client::Connection>> Client::Take(bool fresh) {
  {
    std::unique_lock lock(mutex_);
    if (fresh) {
      open_ -= idle_.size();
      idle_.clear();
    }
    const auto ready = [&] { return !idle_.empty() || open_ < options_.connections_max; };
    if (!returned_.wait_for(lock, options_.connection_wait_max, ready)) {
      return ResourceExhausted("PRESENCE_BUSY", "all connections to Redis are in use").RetryAfter(kRetryAfter);
    }
    if (!idle_.empty()) {
      std::unique_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
    ++open_;
  }
  Result<std::unique_ptr<Connection>> connection = Connect();
  if (!connection) GiveBack(nullptr);
  return connection;
}

void Client::GiveBack(std::unique_ptr<Connection> connection) {
  {
    std::lock_guard lock(mutex_);
    if (connection && !connection->broken()) {
      idle_.push_back(std::move(connection));
    } else {
      --open_;
    }
  }
  returned_.notify_one();
}

Result<Value> Client::Command(const std::vector<std::string>& words) {
  for (const bool fresh : {false, true}) {
    EF_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Take(fresh));
    Result<Value> value = connection->Run(words);
    const bool again = !fresh && connection->broken();
    GiveBack(std::move(connection));
    if (!again) return value;
  }
  return Unreachable("the connection broke twice");
}

Result<std::string> Client::Digest(std::string_view script, bool reload) {
  if (!reload) {
    std::lock_guard lock(mutex_);
    if (const auto found = digests_.find(script); found != digests_.end()) return found->second;
  }
  EF_ASSIGN_OR_RETURN(Value digest, Command({"SCRIPT", "LOAD", std::string(script)}));
  std::lock_guard lock(mutex_);
  return digests_[script] = std::move(digest.text);
}

Result<Value> Client::Eval(std::string_view script, std::vector<std::string> arguments) {
  std::vector<std::string> words{"EVALSHA", "", "0"};
  words.insert(words.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  for (const bool reload : {false, true}) {
    EF_ASSIGN_OR_RETURN(words[1], Digest(script, reload));
    Result<Value> value = Command(words);
    if (value || value.error().reason() != "NOSCRIPT") return value;
  }
  return Unreachable("it forgets scripts as soon as they are loaded");
}

}  // namespace edgefleet::selection::redis
