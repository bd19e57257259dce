// Plain TCP for tests of HTTP: a client that sends what it likes, and a server whose answers are raw bytes.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>

namespace edgefleet::test {

inline constexpr int kSocketTimeoutS = 60;  // only ends a test that hangs

inline sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline bool SendAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Reads until `text` ends a head; "" when the peer is gone before.
inline std::string ReadHead(int fd) {
  std::string head;
  char byte = 0;
  while (!head.ends_with("\r\n\r\n")) {
    if (::recv(fd, &byte, 1, 0) != 1) return "";
    head += byte;
  }
  return head;
}

class RawClient {
 public:
  // `address`: "127.0.0.1:port". A small receive buffer makes a slow reader.
  explicit RawClient(const std::string& address, int receive_buffer = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const timeval limit{kSocketTimeoutS, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const sockaddr_in to = Loopback(std::stoi(address.substr(address.rfind(':') + 1)));
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool Send(std::string_view text) { return SendAll(fd_, text); }
  void FinishSending() { ::shutdown(fd_, SHUT_WR); }
  std::string ReadHead() { return test::ReadHead(fd_); }
  std::string Read(std::size_t size) {
    std::string text(size, '\0');
    const ssize_t got = ::recv(fd_, text.data(), size, MSG_WAITALL);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }
  // Everything until the peer closes.
  std::string ReadAll() {
    std::string all;
    for (std::string part = Read(65536); !part.empty(); part = Read(65536)) all += part;
    return all;
  }
  // Head and body of one answer to a GET.
  std::pair<std::string, std::string> ReadAnswer() {
    std::string head = ReadHead();
    const std::size_t at = head.find("Content-Length: ");
    return {head, at == std::string::npos ? "" : Read(std::stoull(head.substr(at + 16)))};
  }

 private:
  const int fd_;
};

// Answers each connection's one request with what `answer` makes of its head, byte by byte as given, and closes.
class RawServer {
 public:
  explicit RawServer(std::function<std::string(const std::string& head)> answer)
      : answer_(std::move(answer)), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
    socklen_t size = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~RawServer() {
    stopping_ = true;
    ::shutdown(fd_, SHUT_RDWR);  // wakes accept
    thread_.join();
    ::close(fd_);
  }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void Run() {
    while (!stopping_) {
      const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      const std::string head = test::ReadHead(client);
      if (!head.empty()) SendAll(client, answer_(head));
      ::shutdown(client, SHUT_WR);
      char sink[4096];  // until the client closes too, so that nothing it has not read yet is lost
      while (::recv(client, sink, sizeof sink, 0) > 0) {
      }
      ::close(client);
    }
  }

  const std::function<std::string(const std::string&)> answer_;
  const int fd_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace edgefleet::test
