// The durable OneShotGuard: what a device has said in its rounds, in one small file of its state folder. A device that was
// killed in the middle of a round and comes back cannot contradict what it has said before.
//
// The file holds the newest kStatementsMax statements, two a round, so at least the last kStatementsMax / 2 rounds, and is
// written anew, synced and renamed for each statement: after a crash it holds the former or the new list, never a part. What no
// write of ours leaves behind (cut, altered, of another kind) is refused: a device that forgot would speak twice.
//
// Forgetting the oldest is safe. The secrets behind a statement, the device's own and the shares that its neighbours gave it,
// live only in the secagg::Client that made it, and a device has one client at a time: once kStatementsMax / 2 other rounds
// have begun, that client is gone and nothing can make the device reveal a second kind of share in the forgotten round. A
// server that replays the round's id meets a new client with new keys. What is signed with an upload names those keys
// (secagg/identity.h), so members that were told the former ones take it for nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "secagg/guard.h"

namespace edgefleet::device {

inline constexpr std::size_t kStatementsMax = 1024;

class GuardFile final : public secagg::OneShotGuard {
 public:
  // A file that does not exist is a device that has said nothing. The caller keeps other processes from the folder, and removes
  // from it what an interrupted WriteFileAtomic left (update::ModelStore does both). DATA_LOSS [GUARD_DAMAGED], or an error of
  // ReadFile.
  static Result<std::unique_ptr<GuardFile>> Open(std::filesystem::path file);

  Status Bind(std::string_view round_id, secagg::Statement statement, const crypto::Sha256Digest& content) override;
  // Whether it has made the statement, with whatever content.
  bool HasSaid(std::string_view round_id, secagg::Statement statement) const;

 private:
  struct Entry {
    crypto::Sha256Digest subject;  // SHA-256 of statement and round id
    crypto::Sha256Digest content;
  };

  explicit GuardFile(std::filesystem::path file) : file_(std::move(file)) {}
  Status Parse(ByteView text);
  Status Write(const std::vector<Entry>& entries) const;

  const std::filesystem::path file_;
  std::vector<Entry> entries_;  // oldest first
};

}  // namespace edgefleet::device
