// What the devices of a round have said so far and what follows from it: members and secure aggregation. It changes by records
// alone, so replaying a round's journal makes the same state again.
#pragma once

#include <memory>
#include <string>

#include "aggregator/rounds/journal_records.h"
#include "aggregator/rounds/members.h"
#include "secagg/server.h"

namespace edgefleet::rounds {

// Not thread-safe; one owner at a time.
class RoundState {
 public:
  // INVALID_ARGUMENT [BAD_SELECTION]; those of secagg::Server::Create.
  static Result<RoundState> Create(const RoundStarted& started, const DevicesAssigned& assigned);

  // Takes a message, whose device the caller has admitted. A refused one changes nothing: the errors of secagg::Server,
  // NOT_FOUND [NOT_A_MEMBER].
  Status Apply(const DeviceAdvertised& record);
  Status Apply(const DeviceShared& record);
  Status Apply(const DeviceUploaded& record);
  Status Apply(const DeviceConfirmed& record);
  Status Apply(const DeviceAnswered& record);
  Status Apply(const DeviceLeft& record);
  // The update of a device is in the sum. A repetition succeeds. DATA_LOSS [ROUND_DAMAGED] in the active variant when the
  // device has not proven whom it masked for: then the round cannot be unmasked.
  Status CountUpload(const std::string& device_id);
  // Ends a phase. The errors of the Server's closings; for kSharesRevealed FAILED_PRECONDITION [BELOW_THRESHOLD] unless the
  // server can unmask; FAILED_PRECONDITION [WRONG_PHASE] for other events.
  Status Apply(const PhaseClosed& record);

  // Whether the device has sent this message before. ALREADY_EXISTS [ALREADY_SUBMITTED] if it was another one.
  template <typename Record>
  Result<bool> Repeats(const Member& member, const Record& record) const {
    const auto& said = Said(member, record);
    if (!said) return false;
    if (*said == DigestOf(record)) return true;
    return AlreadyExists("ALREADY_SUBMITTED", "this device has sent another message of this kind in this round");
  }

  // The phase that the round's messages belong to; the stored phase follows it. At most kAggregating.
  Phase phase() const { return phase_; }
  // Ascending ids of the devices whose updates may be in the sum: in COLLECTING the sharers (in the active variant those that
  // have sent their proof), later the survivors.
  std::vector<std::string> Uploaders() const;
  // Enters counts and graph.
  void Fill(Round& round) const;

  Members& members() { return members_; }
  const Members& members() const { return members_; }
  // Null after ReleaseServer.
  const std::shared_ptr<secagg::Server>& server() const { return server_; }
  void ReleaseServer() { server_.reset(); }

 private:
  RoundState(Members members, secagg::Server server);

  static crypto::Sha256Digest DigestOf(const JournalRecord& record) { return crypto::Sha256(EncodeRecord(record)); }
  static const std::optional<crypto::Sha256Digest>& Said(const Member& m, const DeviceAdvertised&) { return m.advert; }
  static const std::optional<crypto::Sha256Digest>& Said(const Member& m, const DeviceShared&) { return m.shares; }
  static const std::optional<crypto::Sha256Digest>& Said(const Member& m, const DeviceConfirmed&) { return m.confirmation; }
  static const std::optional<crypto::Sha256Digest>& Said(const Member& m, const DeviceAnswered&) { return m.answer; }

  Result<Member*> Find(const std::string& device_id);
  bool active() const;
  void MarkSharers();

  Members members_;
  std::shared_ptr<secagg::Server> server_;
  Phase phase_ = Phase::kSelecting;
};

}  // namespace edgefleet::rounds
