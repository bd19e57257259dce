// The only file that includes Boost.Asio and Beast: its coroutines are slow to compile.
#include "cdn_origin/http/server.h"

#include <sys/sendfile.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace edgefleet::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kSendBytesMax = 1024 * 1024;  // in one call of sendfile, before other connections get their turn
constexpr std::size_t kLingerBytesMax = 64 * 1024;
constexpr milliseconds kLingerTime{2'000};
constexpr milliseconds kAcceptRetry{50};

using Parser = beast::http::request_parser<beast::http::empty_body>;

std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

std::string HeadText(const Response& response, bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " + std::string(ReasonPhrase(response.status)) + "\r\n";
  for (const auto& [name, value] : response.fields) head += name + ": " + value + "\r\n";
  if (response.status != 304) head += "Content-Length: " + std::to_string(response.length) + "\r\n";
  head += "Date: " + HttpDate() + "\r\nServer: edgefleet\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

// What a request that could not be read as one is answered with; status 0: nothing, the peer is gone.
Response RefusalOf(const error_code& error) {
  using Cause = beast::http::error;
  const auto with = [](int status, std::string reason, std::string message) {
    Response response = ErrorResponse(InvalidArgument(std::move(reason), std::move(message)));
    response.status = status;
    return response;
  };
  if (error == Cause::header_limit) return with(431, "HEADERS_TOO_LARGE", "the request head is too large");
  if (error == Cause::body_limit) return with(413, "BODY_NOT_ALLOWED", "requests have no body here");
  const bool peer_gone = error == Cause::end_of_stream || error == Cause::partial_message;
  const bool malformed = error.category() == make_error_code(Cause::bad_method).category();
  if (malformed && !peer_gone) return with(400, "BAD_REQUEST", "not an HTTP/1.1 request: " + error.message());
  Response nothing;
  nothing.status = 0;
  return nothing;
}

struct Shared;

// One client, on its own strand.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, Shared& shared)
      : socket_(std::move(socket)), watchdog_(socket_.get_executor()), shared_(shared) {}
  ~Connection();

  asio::awaitable<void> Run();
  // From any thread: acts on the strand.
  void PostClose(bool only_if_idle);

 private:
  asio::awaitable<bool> ServeOne();
  asio::awaitable<bool> AwaitRequest();
  asio::awaitable<bool> Answer(Response response, bool keep_alive);
  asio::awaitable<bool> SendFile(const Response& response);
  asio::awaitable<void> Linger();
  Response Decide(const Parser& parser, bool& keep_alive);
  // Closes the socket unless it is armed anew within `limit`.
  void Arm(milliseconds limit);
  void ArmForBody();

  tcp::socket socket_;
  asio::steady_timer watchdog_;
  Shared& shared_;
  beast::flat_buffer buffer_;
  std::chrono::steady_clock::time_point body_deadline_;
  bool idle_ = true;
};

struct Shared {
  const ServerOptions options;
  ContentSource& source;
  Metrics& metrics;
  std::atomic<bool> draining{false};

  std::mutex mutex;
  std::condition_variable changed;
  std::map<Connection*, std::weak_ptr<Connection>> connections;

  void Count(const Response& response) {
    metrics
        .GetCounter("edgefleet_origin_http_requests_total", "HTTP requests answered",
                    {{"kind", std::string(response.kind)}, {"code", std::to_string(response.status)}})
        .Increment();
  }
  void CountSent(std::string_view kind, std::size_t bytes) {
    metrics.GetCounter("edgefleet_origin_http_sent_bytes_total", "body bytes sent", {{"kind", std::string(kind)}})
        .Add(static_cast<double>(bytes));
  }
  void ShowConnections() {
    metrics.GetGauge("edgefleet_origin_http_connections", "open HTTP connections").Set(static_cast<double>(connections.size()));
  }
  std::shared_ptr<Connection> Add(tcp::socket socket) {
    auto connection = std::make_shared<Connection>(std::move(socket), *this);
    std::lock_guard lock(mutex);
    connections.emplace(connection.get(), connection);
    ShowConnections();
    return connection;
  }
  void Remove(Connection* connection) {
    std::lock_guard lock(mutex);
    connections.erase(connection);
    ShowConnections();
    changed.notify_all();
  }
  void CloseAll(bool only_if_idle) {
    std::vector<std::shared_ptr<Connection>> open;  // let go outside the lock: the last owner's end takes it
    {
      std::lock_guard lock(mutex);
      for (auto& [key, weak] : connections) {
        if (auto connection = weak.lock()) open.push_back(std::move(connection));
      }
    }
    for (auto& connection : open) connection->PostClose(only_if_idle);
  }
};

Connection::~Connection() { shared_.Remove(this); }

void Connection::Arm(milliseconds limit) {
  watchdog_.expires_after(limit);
  watchdog_.async_wait([self = weak_from_this()](const error_code& error) {
    const auto connection = error ? nullptr : self.lock();
    if (!connection || connection->watchdog_.expiry() > std::chrono::steady_clock::now()) return;
    error_code ignored;
    connection->socket_.close(ignored);
  });
}

void Connection::ArmForBody() {
  const auto left = std::chrono::duration_cast<milliseconds>(body_deadline_ - std::chrono::steady_clock::now());
  Arm(std::clamp(left, milliseconds(0), shared_.options.stall_timeout));
}

void Connection::PostClose(bool only_if_idle) {
  asio::post(socket_.get_executor(), [self = shared_from_this(), only_if_idle] {
    error_code ignored;
    if (!only_if_idle || self->idle_) self->socket_.close(ignored);
  });
}

asio::awaitable<void> Connection::Run() {
  try {
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.native_non_blocking(true, ignored);
    buffer_.max_size(shared_.options.header_bytes_max + 1024);
    buffer_.reserve(1024);
    while (co_await ServeOne()) {
    }
    watchdog_.cancel();
    socket_.close(ignored);
  } catch (const std::exception&) {  // out of memory: this connection ends, the others go on
  }
}

// Waits, in peace, for the first byte of the next request.
asio::awaitable<bool> Connection::AwaitRequest() {
  idle_ = true;
  if (shared_.draining) co_return false;
  if (buffer_.size() == 0) {
    Arm(shared_.options.idle_timeout);
    auto [error] = co_await socket_.async_wait(tcp::socket::wait_read, kAwait);
    if (error) co_return false;
  }
  idle_ = false;
  co_return true;
}

asio::awaitable<bool> Connection::ServeOne() {
  const bool more = co_await AwaitRequest();
  if (!more) co_return false;
  Arm(shared_.options.header_timeout);
  Parser parser;
  parser.header_limit(shared_.options.header_bytes_max);
  auto [error, bytes] = co_await beast::http::async_read_header(socket_, buffer_, parser, kAwait);
  bool keep_alive = false;
  Response response = error ? RefusalOf(error) : Decide(parser, keep_alive);
  if (response.status == 0) co_return false;
  keep_alive = keep_alive && !shared_.draining;
  const bool sent = co_await Answer(std::move(response), keep_alive);
  if (sent && !keep_alive) co_await Linger();
  co_return sent&& keep_alive;
}

Response Connection::Decide(const Parser& parser, bool& keep_alive) {
  using beast::http::field;
  const auto& request = parser.get();
  const auto text = [](const auto& view) { return std::string_view(view.data(), view.size()); };
  if (request.version() >= 11 && request.count(field::host) != 1) {
    return ErrorResponse(InvalidArgument("BAD_REQUEST", "an HTTP/1.1 request has one Host field"));
  }
  const RequestHead head{text(request.method_string()),  text(request.target()),         text(request[field::range]),
                         text(request[field::if_range]), text(request[field::if_match]), text(request[field::if_none_match])};
  if (!parser.is_done()) {  // a body would follow; it is not read, so the connection ends
    if (head.method == "GET" || head.method == "HEAD") {
      return ErrorResponse(InvalidArgument("BODY_NOT_ALLOWED", "requests have no body here"));
    }
    return Respond(head, shared_.source);
  }
  keep_alive = request.keep_alive();
  return Respond(head, shared_.source);
}

asio::awaitable<bool> Connection::Answer(Response response, bool keep_alive) {
  shared_.Count(response);
  const auto transfer_time = std::chrono::seconds(response.length / shared_.options.body_bytes_per_second_min);
  body_deadline_ = std::chrono::steady_clock::now() + shared_.options.stall_timeout + transfer_time;
  ArmForBody();
  const std::string head = HeadText(response, keep_alive);
  std::vector<asio::const_buffer> buffers{asio::buffer(head)};
  const bool from_memory = response.has_body && response.file.fd() < 0;
  if (from_memory) buffers.push_back(asio::buffer(response.bytes.data() + response.offset, response.length));
  auto [error, written] = co_await asio::async_write(socket_, buffers, kAwait);
  if (error) co_return false;
  if (from_memory) shared_.CountSent(response.kind, response.length);
  if (!response.has_body || from_memory) co_return true;
  const bool sent = co_await SendFile(response);
  co_return sent;
}

asio::awaitable<bool> Connection::SendFile(const Response& response) {
  off_t offset = static_cast<off_t>(response.offset);
  std::uint64_t left = response.length;
  while (left > 0) {
    const ssize_t sent =
        ::sendfile(socket_.native_handle(), response.file.fd(), &offset, std::min<std::uint64_t>(left, kSendBytesMax));
    if (sent > 0) {
      left -= static_cast<std::uint64_t>(sent);
      shared_.CountSent(response.kind, static_cast<std::size_t>(sent));
      ArmForBody();
      co_await asio::post(socket_.get_executor(), asio::use_awaitable);  // let the other connections have their turn
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    if (sent == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) co_return false;  // 0: the file was cut short
    auto [error] = co_await socket_.async_wait(tcp::socket::wait_write, kAwait);
    if (error) co_return false;
  }
  co_return true;
}

// Closing with unread bytes would reset the connection and could destroy the answer on its way (RFC 9112, section 9.6).
asio::awaitable<void> Connection::Linger() {
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  Arm(kLingerTime);
  idle_ = true;
  char sink[4096];
  for (std::size_t discarded = 0; discarded < kLingerBytesMax;) {
    auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(sink), kAwait);
    if (error) co_return;
    discarded += bytes;
  }
}

asio::awaitable<void> RunConnection(std::shared_ptr<Connection> connection) { co_await connection->Run(); }

// Too many connections: a short answer if the socket takes it at once, and the end.
void Reject(tcp::socket socket, Shared& shared) {
  Response busy =
      ErrorResponse(ResourceExhausted("TOO_MANY_CONNECTIONS", "the origin is at its connection limit; retry later"));
  shared.Count(busy);
  const std::string text = HeadText(busy, false) + std::string(AsText(busy.bytes));
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(text), ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

Result<tcp::endpoint> Resolve(asio::io_context& io, const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return InvalidArgument("BAD_ADDRESS", "'" + address + "' is not host:port");
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, address.substr(colon + 1), tcp::resolver::passive, error);
  if (error || found.empty()) return InvalidArgument("BAD_ADDRESS", "'" + address + "': " + error.message());
  return found.begin()->endpoint();
}

}  // namespace

class Server::Impl {
 public:
  Impl(const ServerOptions& options, ContentSource& source, Metrics& metrics)
      : shared_{options, source, metrics}, io_(static_cast<int>(options.threads)), acceptor_(asio::make_strand(io_)) {}

  Status Listen() {
    EF_ASSIGN_OR_RETURN(const tcp::endpoint endpoint, Resolve(io_, shared_.options.listen));
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return Unavailable("ADDRESS_IN_USE", "cannot listen on " + shared_.options.listen + ": " + error.message());
    const tcp::endpoint bound = acceptor_.local_endpoint();
    const std::string host = bound.address().to_string();
    address_ = (bound.address().is_v6() ? "[" + host + "]" : host) + ":" + std::to_string(bound.port());
    return OkStatus();
  }

  void Launch() {
    asio::co_spawn(acceptor_.get_executor(), Accept(), asio::detached);
    for (std::uint32_t i = 0; i < shared_.options.threads; ++i) {
      threads_.emplace_back([this] {
        sigset_t pipe;  // sendfile has no flag against SIGPIPE
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
        io_.run();
      });
    }
  }

  const std::string& address() const { return address_; }

  void Drain() {
    if (shared_.draining.exchange(true)) return;
    asio::post(acceptor_.get_executor(), [this] {
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
    });
    shared_.CloseAll(/*only_if_idle=*/true);
  }

  void Stop(milliseconds grace) {
    Drain();
    const auto none_left = [this] { return shared_.connections.empty(); };
    std::unique_lock lock(shared_.mutex);
    if (!shared_.changed.wait_for(lock, grace, none_left)) {
      lock.unlock();
      shared_.CloseAll(/*only_if_idle=*/false);
    } else {
      lock.unlock();
    }
    for (auto& thread : threads_) thread.join();  // run() returns when the last coroutine has ended
    threads_.clear();
  }

 private:
  asio::awaitable<void> Accept() {
    while (!shared_.draining) {
      auto [error, socket] = co_await acceptor_.async_accept(asio::make_strand(io_), kAwait);
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) break;
      if (error) {  // out of descriptors, for instance: others will be closed
        retry_.expires_after(kAcceptRetry);
        co_await retry_.async_wait(kAwait);
        continue;
      }
      Admit(std::move(socket));
    }
  }

  void Admit(tcp::socket socket) {
    {
      std::unique_lock lock(shared_.mutex);
      if (shared_.connections.size() >= shared_.options.connections_max) {
        lock.unlock();
        return Reject(std::move(socket), shared_);
      }
    }
    auto executor = socket.get_executor();
    auto connection = shared_.Add(std::move(socket));
    asio::co_spawn(executor, RunConnection(std::move(connection)), asio::detached);
  }

  Shared shared_;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  asio::steady_timer retry_{acceptor_.get_executor()};
  std::string address_;
  std::vector<std::thread> threads_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { Stop(milliseconds(0)); }

Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, ContentSource& source, Metrics& metrics) {
  if (options.threads < 1 || options.threads > 64) return InvalidArgument("BAD_OPTIONS", "threads is not 1 to 64");
  try {
    auto impl = std::make_unique<Impl>(options, source, metrics);
    EF_RETURN_IF_ERROR(impl->Listen());
    impl->Launch();
    return std::unique_ptr<Server>(new Server(std::move(impl)));
  } catch (const std::exception& error) {
    return Internal("HTTP_START", error.what());
  }
}

const std::string& Server::address() const { return impl_->address(); }
void Server::Drain() { impl_->Drain(); }
void Server::Stop(milliseconds grace) { impl_->Stop(grace); }

}  // namespace edgefleet::http
