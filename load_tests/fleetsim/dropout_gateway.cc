#include "load_tests/fleetsim/dropout_gateway.h"

#include <optional>
#include <utility>

namespace edgefleet::fleetsim {
namespace {

using device::RoundStep;

class SilentAfterStep final : public device::RoundGateway {
 public:
  // No step: silent from the start.
  SilentAfterStep(std::unique_ptr<device::RoundGateway> round, std::optional<RoundStep> last, std::function<void()> on_drop)
      : round_(std::move(round)), last_(last), on_drop_(std::move(on_drop)), silent_(!last) {}

  Status AdvertiseKeys(const secagg::KeyAdvert& advert) override {
    return Do(RoundStep::kAdvertisedKeys, [&] { return round_->AdvertiseKeys(advert); });
  }
  Result<device::PhaseUpdate> AwaitPhase(device::Phase after, std::chrono::milliseconds wait) override {
    if (silent_) return Gone();
    return round_->AwaitPhase(after, wait);
  }
  Status ShareKeys(const secagg::SharedKeys& shared) override {
    return Do(RoundStep::kSharedKeys, [&] { return round_->ShareKeys(shared); });
  }
  Status UploadUpdate(ByteView packed, const secagg::UploadProof& proof) override {
    return Do(RoundStep::kUploaded, [&] { return round_->UploadUpdate(packed, proof); });
  }
  Status Confirm(const secagg::Confirmation& confirmation) override {
    return Do(RoundStep::kConfirmed, [&] { return round_->Confirm(confirmation); });
  }
  Status Unmask(const secagg::UnmaskAnswer& answer) override {
    return Do(RoundStep::kUnmasked, [&] { return round_->Unmask(answer); });
  }
  Status Leave(const std::string& reason) override {
    if (silent_) return Gone();
    return round_->Leave(reason);
  }

 private:
  static Error Gone() { return Aborted(kDroppedReason, "this device has dropped out"); }

  template <typename Call>
  Status Do(RoundStep step, const Call& call) {
    if (silent_) return Gone();
    Status status = call();
    if (status.ok() && step == last_) {
      silent_ = true;
      on_drop_();
    }
    return status;
  }

  std::unique_ptr<device::RoundGateway> round_;
  const std::optional<RoundStep> last_;
  std::function<void()> on_drop_;
  bool silent_;
};

class DropoutFleet final : public device::FleetGateway {
 public:
  DropoutFleet(std::unique_ptr<device::FleetGateway> fleet, const DropoutOptions& options, std::function<void()> on_drop)
      : fleet_(std::move(fleet)), options_(options), random_(options.seed), on_drop_(std::move(on_drop)) {}

  Result<device::CheckInOutcome> CheckIn(const device::Profile& profile) override { return fleet_->CheckIn(profile); }
  std::unique_ptr<device::RoundGateway> OpenRound(const device::Assignment& assignment) override {
    auto round = fleet_->OpenRound(assignment);
    // The selector assigns the same round again; a device that has dropped out of it stays silent.
    if (assignment.round_id == dropped_) return std::make_unique<SilentAfterStep>(std::move(round), std::nullopt, on_drop_);
    if (random_.Unit() >= options_.rate) return round;
    return std::make_unique<SilentAfterStep>(std::move(round), options_.after, [this, id = assignment.round_id] {
      dropped_ = id;
      on_drop_();
    });
  }
  Status Report(const device::HealthReport& report) override { return fleet_->Report(report); }

 private:
  std::unique_ptr<device::FleetGateway> fleet_;
  const DropoutOptions options_;
  SeededRandom random_;
  std::function<void()> on_drop_;
  std::string dropped_;  // the round that this device dropped out of last
};

}  // namespace

std::unique_ptr<device::FleetGateway> InjectDropouts(std::unique_ptr<device::FleetGateway> fleet, const DropoutOptions& options,
                                                     std::function<void()> on_drop) {
  return std::make_unique<DropoutFleet>(std::move(fleet), options, std::move(on_drop));
}

}  // namespace edgefleet::fleetsim
