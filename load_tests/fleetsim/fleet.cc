#include "load_tests/fleetsim/fleet.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "device_client/federated/identity_file.h"
#include "load_tests/fleetsim/dropout_gateway.h"

namespace edgefleet::fleetsim {
namespace {

constexpr Millis kPauseMin{20};
constexpr Millis kErrorPause{500};

std::string DeviceName(std::size_t index) {
  char name[32];
  std::snprintf(name, sizeof name, "device-%05zu", index);
  return name;
}

// Holds a permit to train while a round's local training runs, and gives it back however the round ends.
class TrainingPermit {
 public:
  explicit TrainingPermit(std::counting_semaphore<1024>& permits) : permits_(permits) {}
  ~TrainingPermit() { Release(); }
  TrainingPermit(const TrainingPermit&) = delete;
  TrainingPermit& operator=(const TrainingPermit&) = delete;
  void Acquire() {
    permits_.acquire();
    held_ = true;
  }
  void Release() {
    if (std::exchange(held_, false)) permits_.release();
  }

 private:
  std::counting_semaphore<1024>& permits_;
  bool held_ = false;
};

}  // namespace

Fleet::Fleet(FleetOptions options, std::vector<std::unique_ptr<runtime::Dataset>> shards)
    : options_(std::move(options)),
      shards_(std::move(shards)),
      channels_(device::GrpcChannels::Create()),
      training_(options_.train_threads) {}

Fleet::~Fleet() { Stop(); }

Status Fleet::Start() {
  for (std::size_t i = 0; i < options_.devices; ++i) {
    EF_ASSIGN_OR_RETURN(auto opened, OpenDevice(i));
    devices_.push_back(std::move(opened));
  }
  for (std::size_t i = 0; i < options_.devices; ++i) threads_.emplace_back([this, i] { RunDevice(i); });
  return OkStatus();
}

void Fleet::Stop() {
  stop_.request_stop();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

Result<std::unique_ptr<device::Device>> Fleet::OpenDevice(std::size_t index) {
  device::DeviceOptions device;
  device.device_id = DeviceName(index);
  device.state_dir = options_.state_dir / device.device_id;
  // Classes and regions are spread independently of one another, so that every stratum has devices.
  device.device_class = options_.classes[index % options_.classes.size()];
  device.region = options_.regions[index / options_.classes.size() % options_.regions.size()];
  device.model = options_.model;
  device.alias = options_.alias;
  device.origin_url = options_.origin_url;
  device.trusted_keys = {options_.trusted_key};
  device::DeviceHost host;
  auto gateway = device::MakeGrpcFleetGateway(options_.fleet_address, device.device_id, device.device_class, channels_);
  const DropoutOptions dropouts{options_.dropout_rate, options_.dropout_after, options_.seed * 1'000'003 + index};
  host.fleet = InjectDropouts(std::move(gateway), dropouts, [this] {
    std::lock_guard lock(mutex_);
    ++totals_.dropouts_injected;
  });
  const auto certificate = device.state_dir / "identity.cert";
  if (options_.enrolment_authority) device.secure_aggregation.authorities = {options_.enrolment_authority->public_key()};
  EF_ASSIGN_OR_RETURN(auto opened, device::Device::Open(std::move(device), std::move(host)));
  if (options_.enrolment_authority) EF_RETURN_IF_ERROR(Enrol(*opened, certificate));
  return opened;
}

Status Fleet::Enrol(device::Device& device, const std::filesystem::path& certificate) const {
  EF_ASSIGN_OR_RETURN(const auto identity, device.Identity());
  return device::WriteCertificate(certificate, secagg::EnrolIdentity(*options_.enrolment_authority, identity));
}

void Fleet::RunDevice(std::size_t index) {
  device::Control control;
  control.stop = stop_.get_token();
  const SystemClock clock;
  SeededRandom random(options_.seed ^ (index << 20));
  // The first polls are spread over one interval.
  WallTime next_update =
      clock.Now() + Millis(random.Below(static_cast<std::uint64_t>(options_.update_interval.count()) / 4 + 1));
  while (!control.stop.stop_requested()) {
    if (clock.Now() >= next_update) {
      TryUpdate(index);
      next_update = clock.Now() + options_.update_interval;
    }
    const Millis until_update = std::chrono::ceil<Millis>(next_update - clock.Now());
    const Millis pause = devices_[index]->active() ? TakePart(index, control) : until_update;
    control.Wait(std::max(kPauseMin, std::min(pause, until_update)));
  }
}

void Fleet::TryUpdate(std::size_t index) {
  const auto updated = devices_[index]->Update();
  if (!updated) {
    {
      std::lock_guard lock(mutex_);
      ++totals_.update_failures;
    }
    CountError(updated.error());
    return;
  }
  if (!updated->changed) return;
  {
    std::lock_guard lock(mutex_);
    ++totals_.installs;
    if (updated->by_delta) ++totals_.installs_by_delta;
    (updated->by_delta ? totals_.bytes_by_delta : totals_.bytes_in_full) += updated->bytes_transferred;
  }
  InferSome(index);
  static_cast<void>(devices_[index]->ReportHealth());  // best effort; counted again next time
}

void Fleet::InferSome(std::size_t index) {
  const auto& shard = *shards_[index];
  std::vector<float> example(shard.example_size());
  std::uint64_t right = 0;
  const std::size_t count = std::min(options_.inferences_per_update, shard.size());
  for (std::size_t i = 0; i < count; ++i) {
    shard.CopyExample(i, example);
    const auto output = devices_[index]->Infer(example);
    if (!output) return CountError(output.error());
    if (std::max_element(output->begin(), output->end()) - output->begin() == shard.Label(i)) ++right;
  }
  std::lock_guard lock(mutex_);
  totals_.inferences += count;
  totals_.inferences_right += right;
}

Millis Fleet::TakePart(std::size_t index, const device::Control& stop) {
  TrainingPermit permit(training_);
  device::Control control = stop;
  control.on_step = [&](device::RoundStep step) {
    if (step == device::RoundStep::kSharedKeys) permit.Acquire();
    if (step == device::RoundStep::kTrained) permit.Release();
  };
  const auto part = devices_[index]->Participate(device::Conditions{}, *shards_[index], control);
  if (!part) {
    if (part.error().reason() != kDroppedReason && part.error().reason() != "HOST_STOPPED") CountError(part.error());
    return part.error().retry_after().value_or(kErrorPause);
  }
  std::lock_guard lock(mutex_);
  if (part->kind == device::Participation::Kind::kContributed) ++totals_.rounds_contributed;
  if (part->kind == device::Participation::Kind::kNotCounted) ++totals_.rounds_not_counted;
  return part->retry_after;
}

void Fleet::CountError(const Status& status) {
  std::lock_guard lock(mutex_);
  ++totals_.errors_by_reason[status.reason()];
}

FleetTotals Fleet::Totals() const {
  std::map<std::uint64_t, std::size_t> by_version;
  for (const auto& device : devices_) {
    const auto active = device->active();
    ++by_version[active ? active->version : 0];
  }
  std::lock_guard lock(mutex_);
  FleetTotals totals = totals_;
  totals.devices_by_version = std::move(by_version);
  return totals;
}

}  // namespace edgefleet::fleetsim
