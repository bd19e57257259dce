// A round among in-memory members: plays the protocol with chosen dropouts and keeps what each side saw.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "secagg/client.h"
#include "secagg/server.h"

namespace edgefleet::secagg::testing {

using Words = std::vector<std::uint32_t>;

struct Dropouts {
  std::set<std::uint32_t> before_sharing;
  std::set<std::uint32_t> before_upload;
  std::set<std::uint32_t> before_unmasking;
};

// Members 1 to n with random updates; each step leaves out those that dropped before it. Steps that the server refuses return
// its status.
class Fleet {
 public:
  Fleet(std::uint32_t members, std::uint32_t threshold, std::uint64_t vector_length, std::uint64_t seed);

  Status AdvertiseAndClose();
  Status ShareAndClose(const std::set<std::uint32_t>& missing = {});
  Status UploadAndClose(const std::set<std::uint32_t>& missing = {});
  Status AnswerAndUnmask(const std::set<std::uint32_t>& missing = {}, ThreadPool* pool = nullptr);
  // All of it.
  Status Play(const Dropouts& dropouts = {}, ThreadPool* pool = nullptr);

  Client& client(std::uint32_t index) { return clients[index - 1]; }
  // The sum of the plain updates of `members`.
  Words PlainSum(const std::vector<std::uint32_t>& members) const;

  std::uint32_t threshold;
  SeededRandom random;
  std::vector<Client> clients;
  std::vector<Words> updates;                   // plain, by index - 1
  std::vector<Words> masked;                    // as uploaded; empty: not uploaded
  std::vector<std::vector<SealedShares>> sent;  // by sender - 1
  Server server;
  Words sum;  // what the server holds: masked until AnswerAndUnmask has succeeded
};

}  // namespace edgefleet::secagg::testing
