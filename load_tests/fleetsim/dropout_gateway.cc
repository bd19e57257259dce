#include "load_tests/fleetsim/dropout_gateway.h"

#include <utility>

namespace edgefleet::fleetsim {
namespace {

class SilentAfterSharing final : public device::RoundGateway {
 public:
  SilentAfterSharing(std::unique_ptr<device::RoundGateway> round, std::function<void()> on_drop)
      : round_(std::move(round)), on_drop_(std::move(on_drop)) {}

  Status AdvertiseKeys(const secagg::KeyAdvert& advert) override { return round_->AdvertiseKeys(advert); }
  Result<device::PhaseUpdate> AwaitPhase(device::Phase after, std::chrono::milliseconds wait) override {
    if (silent_) return MakeError(Gone());
    return round_->AwaitPhase(after, wait);
  }
  Status ShareKeys(const std::vector<secagg::SealedShares>& shares) override {
    Status status = round_->ShareKeys(shares);
    if (status.ok()) {
      silent_ = true;
      on_drop_();
    }
    return status;
  }
  Status UploadUpdate(const std::vector<std::uint32_t>&) override { return Gone(); }
  Status Unmask(const secagg::UnmaskAnswer&) override { return Gone(); }
  Status Leave(const std::string& reason) override { return silent_ ? Gone() : round_->Leave(reason); }

 private:
  static Status Gone() { return Aborted(kDroppedReason, "this device has dropped out"); }

  std::unique_ptr<device::RoundGateway> round_;
  std::function<void()> on_drop_;
  bool silent_ = false;
};

class DropoutFleet final : public device::FleetGateway {
 public:
  DropoutFleet(std::unique_ptr<device::FleetGateway> fleet, double rate, std::uint64_t seed, std::function<void()> on_drop)
      : fleet_(std::move(fleet)), rate_(rate), random_(seed), on_drop_(std::move(on_drop)) {}

  Result<device::CheckInOutcome> CheckIn(const device::Profile& profile) override { return fleet_->CheckIn(profile); }
  std::unique_ptr<device::RoundGateway> OpenRound(const device::Assignment& assignment) override {
    auto round = fleet_->OpenRound(assignment);
    if (random_.Unit() >= rate_) return round;
    return std::make_unique<SilentAfterSharing>(std::move(round), on_drop_);
  }
  Status Report(const device::HealthReport& report) override { return fleet_->Report(report); }

 private:
  std::unique_ptr<device::FleetGateway> fleet_;
  const double rate_;
  SeededRandom random_;
  std::function<void()> on_drop_;
};

}  // namespace

std::unique_ptr<device::FleetGateway> InjectDropouts(std::unique_ptr<device::FleetGateway> fleet, double rate,
                                                     std::uint64_t seed, std::function<void()> on_drop) {
  return std::make_unique<DropoutFleet>(std::move(fleet), rate, seed, std::move(on_drop));
}

}  // namespace edgefleet::fleetsim
