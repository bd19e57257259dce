// Replays the transcript of a round (secagg/transcript/transcript.h) without a server: whoever has the file can tell whether
// the aggregator that signed it followed the protocol, as far as public data shows.
//
// Checked: the chain of hashes and the signature of every record; that each member's keys are well-formed, used once and, in
// the active variant, signed by an enrolled identity; that roster digest, session id and neighbour graph follow from them; that
// k and t are private under the verifier's own assumptions with all the dropouts that survivors_min allows; that dropouts lie
// no closer together than chance explains (active variant); that sharers, survivors, confirmations and answers are what the
// protocol makes of one another, with t holders of every secret that was needed. The states of secagg/server_states.h do it, so
// the rules are those that the aggregator runs.
//
// It cannot tell what a member did that the file does not name, whether the aggregator kept other transcripts under the same
// key, or, in the semi-honest variant, whether the members exist.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "secagg/messages.h"
#include "secagg/transcript/transcript.h"

namespace edgefleet::secagg {

struct VerifyOptions {
  std::optional<crypto::Ed25519PublicKey> signer;     // who must have signed; nobody in particular: the file names its key
  std::vector<crypto::Ed25519PublicKey> authorities;  // who must have enrolled the members; empty: those the file names
  double corrupt_fraction = 0.1;                      // of the members that may collude with the server: [0, 1)
};

// Numbers are 0 from the record on that the round did not reach.
struct TranscriptSummary {
  SessionConfig config;
  crypto::Ed25519PublicKey signer{};
  std::uint64_t records = 0;
  std::uint32_t members = 0;  // n
  GraphParameters graph;      // k and t
  std::uint32_t survivors_min = 0;
  std::uint32_t sharers = 0;
  std::uint32_t survivors = 0;
  std::uint32_t dropouts = 0;  // members that are not survivors
  std::uint32_t confirmations = 0;
  std::uint32_t answers = 0;
  std::vector<Blame> blames;       // complaints first
  std::optional<Outcome> outcome;  // nothing: the record of the end is missing
  std::string reason;              // of a failure
};

// DATA_LOSS [TRANSCRIPT_INVALID] with the record, counted from 0, and what is wrong; INVALID_ARGUMENT [BAD_ASSUMPTIONS] for a
// corrupt fraction out of range. Reads record after record; memory for the largest one and O(n k). Time: 0.25 ms a member in
// the active variant.
Result<TranscriptSummary> VerifyTranscript(std::istream& transcript, const VerifyOptions& options);
// Also NOT_FOUND [FILE_MISSING] and the other errors of base/file.h.
Result<TranscriptSummary> VerifyTranscript(const std::filesystem::path& file, const VerifyOptions& options);

}  // namespace edgefleet::secagg
