// The public record of one secure aggregation, which `edgefleet secagg verify` and anyone else replays without a server
// (secagg/transcript/verify.h): JSON lines, a record each.
//
//   {"seq":0,"previous":"<hex>","type":"opened", ...,"hash":"<hex>","signature":"<hex>"}
//
// `hash` is the SHA-256 of the line's bytes before `,"hash"`; `previous` is the former record's (zeros in the first), so no
// record can be altered, dropped or moved. `signature` is the aggregator's Ed25519 signature over a label and the hash, in
// every record, so that an unfinished transcript too is attributable. The records, in this order:
//
//   opened         format, round id, variant, cipher, vector's shape, server's nonce, transcript key, enrolment authorities
//   roster         n, k, t, survivors_min, roster digest, session id, all adverts with certificates and signatures
//   shared         for each that shared: its seed commitment and the SHA-256 of its sealed shares; bitmap of the sharers
//   uploads        bitmap of the survivors; their signatures over whom they masked for (active variant)
//   confirmations  the survivors' signatures over who survived (active variant)
//   answers        who revealed shares, and which sealed shares it says did not open
//   ended          committed or failed and why; who was found to have sent what was wrong (may follow any record)
//
// It holds no share, seed, token or device id. Members are known by their session keys, in the active variant also by their
// identity keys: pseudonyms that stay the same from round to round.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "secagg/server.h"

namespace edgefleet::secagg {

enum class Outcome : std::uint8_t { kCommitted = 1, kFailed = 2 };

// Each call appends one record with one write and syncs it: on success it is durable. They block on the disk and are made right
// after the server's closing of the same name has succeeded. Again, after the round was replayed in a new process: a record
// that is there already is left as it is when it says the same, and FAILED_PRECONDITION [TRANSCRIPT_DIFFERS] otherwise. A
// record that does not come after those that are there is FAILED_PRECONDITION [WRONG_PHASE]. Errors of base/file.h; after a
// failed write that cannot be taken back, FAILED_PRECONDITION [TRANSCRIPT_BROKEN] until it is opened anew. Not thread-safe.
class TranscriptWriter {
 public:
  // Creates the file in a folder that is there, or takes up what an ended process has left: checks hashes and signatures, and
  // cuts off a last record that is not whole. One writer at a time for a path. DATA_LOSS [TRANSCRIPT_INVALID] when what is
  // there is not the beginning of a transcript under this key.
  static Result<std::unique_ptr<TranscriptWriter>> Open(const std::filesystem::path& path, const crypto::Ed25519SecretKey& key);
  ~TranscriptWriter();
  TranscriptWriter(const TranscriptWriter&) = delete;
  TranscriptWriter& operator=(const TranscriptWriter&) = delete;

  // After Server::Create. INVALID_ARGUMENT [BAD_SETUP] for a round id that is not printable ASCII or too many authorities.
  Status Opened(const Server& server);
  Status Roster(const Server& server);         // after CloseRoster
  Status Shared(const Server& server);         // after CloseSharing and before CloseUploads, which frees the sealed shares
  Status Uploads(const Server& server);        // after CloseUploads
  Status Confirmations(const Server& server);  // after CloseConfirmations; active variant only
  Status Answers(const Server& server);        // after the last answer, so that they are there if Unmask fails
  // `server` tells who is to blame; null when it is gone. `reason` is a stable identifier, "" when committed; what is not
  // printable ASCII in it is replaced. May follow any record but another outcome.
  Status Ended(const Server* server, Outcome outcome, std::string_view reason);

 private:
  struct File;
  explicit TranscriptWriter(std::unique_ptr<File> file);
  std::unique_ptr<File> file_;
};

}  // namespace edgefleet::secagg
