// A round in memory: the real secagg server behind the device's RoundGateway port, for any number of devices on threads.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device_client/federated/fleet_gateway.h"
#include "secagg/server.h"

namespace edgefleet::device {

class InMemoryRound {
 public:
  // Moves on when `expected` devices have done a step or left.
  InMemoryRound(std::string round_id, std::uint64_t parameters, std::size_t expected, std::uint32_t threshold)
      : server_(secagg::Server::Create({.round_id = std::move(round_id), .vector_length = parameters + 1, .members_max = 4096})
                    .value()),
        sum_(parameters + 1),
        expected_(expected),
        threshold_(threshold) {}

  std::unique_ptr<RoundGateway> Join();

  // Changes what a device is told, to play a hostile server. Set before devices join.
  std::function<void(PhaseUpdate&)> tamper;

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
    bool left = false;
  };

  bool AllHave(bool Member::*done) const {
    return std::all_of(members_.begin(), members_.end(), [&](const auto& m) { return m.second.*done || m.second.left; });
  }

  void Advance() {
    if (phase_ == Phase::kSelecting && members_.size() >= expected_) {
      Enter(server_.CloseRoster(threshold_), Phase::kTraining);
    } else if (phase_ == Phase::kTraining && AllHave(&Member::shared)) {
      Enter(server_.CloseSharing(), Phase::kCollecting);
    }
    if (phase_ == Phase::kCollecting && AllHave(&Member::uploaded)) {
      Enter(server_.CloseUploads(), Phase::kUnmasking);
    } else if (phase_ == Phase::kUnmasking && server_.CanUnmask()) {
      Enter(server_.Unmask(sum_, nullptr), Phase::kCommitted);
    }
    changed_.notify_all();
  }
  void Enter(const Status& status, Phase next) {
    phase_ = status.ok() ? next : Phase::kFailed;
    if (!status.ok()) failure_ = status.reason();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  secagg::Server server_;
  std::vector<std::uint32_t> sum_;
  const std::size_t expected_;
  const std::uint32_t threshold_;
  std::map<std::uint32_t, Member> members_;
  Phase phase_ = Phase::kSelecting;
  std::string failure_;
  std::vector<std::string> left_;
};

class InMemoryGateway final : public RoundGateway {
 public:
  explicit InMemoryGateway(InMemoryRound& round) : round_(round) {}

  Status AdvertiseKeys(const secagg::KeyAdvert& advert) override {
    std::lock_guard lock(round_.mutex_);
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
      EF_ASSIGN_OR_RETURN(update.inbox, round_.server_.Inbox(index_));
    } else if (update.phase == Phase::kUnmasking) {
      update.survivors = round_.server_.survivors();
    }
    if (round_.tamper) round_.tamper(update);
    return update;
  }
  Status ShareKeys(const std::vector<secagg::SealedShares>& shares) override {
    std::lock_guard lock(round_.mutex_);
    EF_RETURN_IF_ERROR(round_.server_.AddShares(index_, shares));
    round_.members_[index_].shared = true;
    round_.Advance();
    return OkStatus();
  }
  Status UploadUpdate(const std::vector<std::uint32_t>& words) override {
    std::lock_guard lock(round_.mutex_);
    EF_RETURN_IF_ERROR(round_.server_.AddUpload(index_));
    for (std::size_t i = 0; i < words.size(); ++i) round_.sum_[i] += words[i];
    round_.members_[index_].uploaded = true;
    round_.Advance();
    return OkStatus();
  }
  Status Unmask(const secagg::UnmaskAnswer& answer) override {
    std::lock_guard lock(round_.mutex_);
    if (round_.phase_ != Phase::kUnmasking) return FailedPrecondition("WRONG_PHASE", "not unmasking");
    EF_RETURN_IF_ERROR(round_.server_.AddAnswer(index_, answer));
    round_.Advance();
    return OkStatus();
  }
  Status Leave(const std::string& reason) override {
    std::lock_guard lock(round_.mutex_);
    round_.left_.push_back(reason);
    round_.members_[index_].left = true;
    round_.Advance();
    return OkStatus();
  }

 private:
  InMemoryRound& round_;
  std::uint32_t index_ = 0;
};

inline std::unique_ptr<RoundGateway> InMemoryRound::Join() { return std::make_unique<InMemoryGateway>(*this); }

}  // namespace edgefleet::device
