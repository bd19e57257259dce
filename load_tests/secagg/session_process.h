// A secagg::Server in a process of its own, for measuring its memory apart from the members', and the frames that members talk
// to it with over a socket: kind (1 byte), member (4), size of the body (4), body; little-endian. Each request has one reply.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "load_tests/secagg/simulated_round.h"

namespace edgefleet::load_tests {

enum class Ask : std::uint8_t {
  kAdvert = 1,
  kCloseRoster,
  kSetup,
  kShares,
  kCloseSharing,
  kInbox,
  kUpload,  // packed elements
  kCloseUploads,
  kSurvivors,
  kAnswer,
  kUnmask,  // the reply: the sum's words, then ServerFigures
};

// Fields of a body, each with its size in 4 bytes before it.
Bytes Join(std::initializer_list<ByteView> fields);
// Ends the program unless there are exactly `count`.
std::vector<Bytes> Split(ByteView body, std::size_t count);

struct ServerFigures {
  std::uint64_t rss_before = 0;  // bytes, of the process before the round
  std::uint64_t rss_peak = 0;
  double unmask_seconds = 0;
};

// Forks the server, so there must be no other thread yet. Requests may come from several threads.
class ServerProcess {
 public:
  explicit ServerProcess(const RoundOptions& options);
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  Bytes Call(Ask kind, std::uint32_t index = 0, ByteView body = {});

 private:
  std::mutex mutex_;
  int socket_ = -1;
  pid_t pid_ = -1;
};

}  // namespace edgefleet::load_tests
