// A round in memory: the real secagg server behind the device's RoundGateway port, for any number of devices on threads.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "device_client/federated/fleet_gateway.h"
#include "secagg/encoding.h"
#include "secagg/packing.h"
#include "secagg/server.h"

namespace edgefleet::device {

struct InMemoryRoundOptions {
  std::string round_id = "round-1";
  secagg::Adversary adversary = secagg::Adversary::kSemiHonest;
  secagg::EncodedShape shape;
  std::size_t expected = 0;  // devices
  std::uint32_t threshold = 2;
  std::uint32_t survivors_min = 2;
  std::vector<crypto::Ed25519PublicKey> authorities;  // active rounds
  bool patient = false;                               // waits for all also in CONFIRMING and UNMASKING
};

// What a device has sent, by the name of the call.
using Sent = std::map<std::string, int>;

class InMemoryRound {
 public:
  // Moves on when all expected devices have done a step or left; from CONFIRMING on as soon as it can, unless it is patient.
  explicit InMemoryRound(InMemoryRoundOptions options)
      : options_(std::move(options)),
        server_(secagg::Server::Create({.config = {.round_id = options_.round_id,
                                                   .adversary = options_.adversary,
                                                   .vector_length = options_.shape.elements,
                                                   .element_bits = options_.shape.element_bits},
                                        .server_nonce = Bytes(secagg::kDigestSize, std::byte{5}),
                                        .authorities = options_.authorities})
                    .value()),
        sum_(options_.shape.elements) {}

  // Changes what the device is told, to play a hostile server.
  using Tamper = std::function<void(PhaseUpdate&)>;
  std::unique_ptr<RoundGateway> Join(Tamper tamper = {}, Sent* sent = nullptr);

  const std::vector<std::uint32_t>& sum() const { return sum_; }
  std::vector<std::string> left() const {
    std::lock_guard lock(mutex_);
    return left_;
  }
  Phase phase() const {
    std::lock_guard lock(mutex_);
    return phase_;
  }

 private:
  friend class InMemoryGateway;

  struct Member {
    bool shared = false;
    bool uploaded = false;
    bool confirmed = false;
    bool answered = false;
    bool left = false;
  };

  bool AllHave(bool Member::*done) const {
    return std::all_of(members_.begin(), members_.end(), [&](const auto& m) { return m.second.*done || m.second.left; });
  }

  bool Enough(bool can) const { return can && !options_.patient; }

  void Advance() {
    if (phase_ == Phase::kSelecting && members_.size() >= options_.expected) {
      const auto degree = static_cast<std::uint32_t>(members_.size() - 1);
      Enter(server_.CloseRoster({degree, options_.threshold}, options_.survivors_min), Phase::kTraining);
    } else if (phase_ == Phase::kTraining && AllHave(&Member::shared)) {
      Enter(server_.CloseSharing(), Phase::kCollecting);
    }
    if (phase_ == Phase::kCollecting && AllHave(&Member::uploaded)) {
      Enter(server_.CloseUploads(), options_.adversary == secagg::Adversary::kActive ? Phase::kConfirming : Phase::kUnmasking);
      for (auto& [index, member] : members_)
        member.confirmed = !server_.IsConfirmer(index);  // who is not asked has said it all
    } else if (phase_ == Phase::kConfirming && (Enough(server_.CanCloseConfirmations()) || AllHave(&Member::confirmed))) {
      Enter(server_.CloseConfirmations(), Phase::kUnmasking);
    } else if (phase_ == Phase::kUnmasking && (Enough(server_.CanUnmask()) || AllHave(&Member::answered))) {
      Enter(server_.Unmask(sum_, nullptr), Phase::kCommitted);
    }
    changed_.notify_all();
  }
  void Enter(const Status& status, Phase next) {
    phase_ = status.ok() ? next : Phase::kFailed;
    if (!status.ok()) failure_ = status.reason();
  }

  const InMemoryRoundOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  secagg::Server server_;
  std::vector<std::uint32_t> sum_;
  std::map<std::uint32_t, Member> members_;
  Phase phase_ = Phase::kSelecting;
  std::string failure_;
  std::vector<std::string> left_;
};

class InMemoryGateway final : public RoundGateway {
 public:
  InMemoryGateway(InMemoryRound& round, InMemoryRound::Tamper tamper, Sent* sent)
      : round_(round), tamper_(std::move(tamper)), sent_(sent) {}
  // A device that has gone without a word is not waited for.
  ~InMemoryGateway() override {
    std::lock_guard lock(round_.mutex_);
    if (index_ == 0) return;
    round_.members_[index_].left = true;
    round_.Advance();
  }

  Status AdvertiseKeys(const secagg::KeyAdvert& advert) override {
    const auto lock = Note("advert");
    EF_ASSIGN_OR_RETURN(index_, round_.server_.AddAdvert(advert));
    round_.members_[index_] = {};
    round_.Advance();
    return OkStatus();
  }
  Result<PhaseUpdate> AwaitPhase(Phase after, std::chrono::milliseconds) override {
    std::unique_lock lock(round_.mutex_);
    round_.changed_.wait(lock, [&] { return round_.phase_ > after; });
    PhaseUpdate update;
    update.phase = round_.phase_;
    update.failure_reason = round_.failure_;
    if (update.phase == Phase::kTraining) {
      EF_ASSIGN_OR_RETURN(update.setup, round_.server_.Setup(index_));
    } else if (update.phase == Phase::kCollecting) {
      EF_ASSIGN_OR_RETURN(update.inbox, round_.server_.InboxOf(index_));
    } else if (update.phase == Phase::kConfirming) {
      if (round_.server_.IsConfirmer(index_)) update.survivors = round_.server_.SurvivorBitmap().value();
    } else if (update.phase == Phase::kUnmasking) {
      EF_ASSIGN_OR_RETURN(update.request, round_.server_.Request(index_));
    }
    if (tamper_) tamper_(update);
    return update;
  }
  Status ShareKeys(const secagg::SharedKeys& shared) override {
    const auto lock = Note("shares");
    EF_RETURN_IF_ERROR(round_.server_.AddShares(index_, shared));
    round_.members_[index_].shared = true;
    round_.Advance();
    return OkStatus();
  }
  Status UploadUpdate(ByteView packed, const secagg::UploadProof& proof) override {
    const auto lock = Note("update");
    EF_RETURN_IF_ERROR(round_.server_.AddUpload(index_, proof));
    secagg::UnpackAdd(packed, round_.options_.shape.element_bits, round_.sum_);
    round_.members_[index_].uploaded = true;
    round_.Advance();
    return OkStatus();
  }
  Status Confirm(const secagg::Confirmation& confirmation) override {
    const auto lock = Note("confirmation");
    if (round_.phase_ != Phase::kConfirming) return FailedPrecondition("WRONG_PHASE", "not confirming");
    EF_RETURN_IF_ERROR(round_.server_.AddConfirmation(index_, confirmation));
    round_.members_[index_].confirmed = true;
    round_.Advance();
    return OkStatus();
  }
  Status Unmask(const secagg::UnmaskAnswer& answer) override {
    const auto lock = Note("answer");
    if (round_.phase_ != Phase::kUnmasking) return FailedPrecondition("WRONG_PHASE", "not unmasking");
    EF_RETURN_IF_ERROR(round_.server_.AddAnswer(index_, answer));
    round_.members_[index_].answered = true;
    round_.Advance();
    return OkStatus();
  }
  Status Leave(const std::string& reason) override {
    const auto lock = Note("leave");
    round_.left_.push_back(reason);
    // One that has not advertised is no member; the round goes on without it.
    if (index_ != 0) round_.members_[index_].left = true;
    round_.Advance();
    return OkStatus();
  }

 private:
  std::unique_lock<std::mutex> Note(const std::string& call) {
    std::unique_lock lock(round_.mutex_);
    if (sent_ != nullptr) ++(*sent_)[call];
    return lock;
  }

  InMemoryRound& round_;
  const InMemoryRound::Tamper tamper_;
  Sent* const sent_;
  std::uint32_t index_ = 0;
};

inline std::unique_ptr<RoundGateway> InMemoryRound::Join(Tamper tamper, Sent* sent) {
  return std::make_unique<InMemoryGateway>(*this, std::move(tamper), sent);
}

}  // namespace edgefleet::device
