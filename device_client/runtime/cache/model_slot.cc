#include "device_client/runtime/cache/model_slot.h"

#include <utility>

namespace edgefleet::runtime {

struct ModelSlot::Loaded {
  ModelVersion version;
  std::shared_ptr<LoadedModel> model;
};

ModelSlot::ModelSlot(ModelCache& cache, const Clock& clock, ModelSlotOptions options)
    : cache_(cache), clock_(clock), options_(options) {}

ModelSlot::~ModelSlot() { SetLastGood(std::nullopt); }

Result<VersionLease> ModelSlot::Borrow() const {
  const auto loaded = current_.Load();
  if (!loaded) return FailedPrecondition("NO_MODEL", "no model is loaded yet");
  EF_ASSIGN_OR_RETURN(SessionLease session, loaded->model->Borrow());
  return VersionLease({loaded, &loaded->version}, std::move(session));
}

std::shared_ptr<const ModelVersion> ModelSlot::current() const {
  const auto loaded = current_.Load();
  return loaded ? std::shared_ptr<const ModelVersion>(loaded, &loaded->version) : nullptr;
}

Status ModelSlot::Swap(ModelVersion next, Former former) {
  std::lock_guard lock(mutex_);
  return SwapLocked(std::move(next), former);
}

Status ModelSlot::SwapLocked(ModelVersion next, Former former) {
  CollectLocked();
  EF_ASSIGN_OR_RETURN(const auto model, cache_.Acquire(next.source));
  const auto before = current_.Load();
  model->KeepIdle(kSessionsMax);
  if (before) model->Warm(before->model->sessions());  // no reader shall have to make a session where it had one
  current_.Exchange(std::make_shared<const Loaded>(Loaded{std::move(next), model}));
  retired_.erase(model->source().sha256);
  if (!before) return OkStatus();
  if (before->model != model) before->model->KeepIdle(1);
  if (former == Former::kLastGood) {
    SetLastGood(before->version);
  } else {
    if (last_good_ && last_good_->source.sha256 == model->source().sha256) SetLastGood(std::nullopt);
    Retire(before->version.source.sha256);
  }
  CollectLocked();
  return OkStatus();
}

Status ModelSlot::RollBack() {
  std::lock_guard lock(mutex_);
  if (!last_good_) return FailedPrecondition("NO_LAST_GOOD", "no former version is known to be good");
  return SwapLocked(*last_good_, Former::kDropped);
}

std::size_t ModelSlot::Collect() {
  std::lock_guard lock(mutex_);
  CollectLocked();
  return retired_.size();
}

void ModelSlot::SetLastGood(std::optional<ModelVersion> version) {
  // Pinned first, so that a version with the same file stays. Above the cache's limit it is a model like others.
  const bool pinned = version && cache_.Pin(version->source.sha256).ok();
  const auto before = std::exchange(last_good_, std::move(version));
  if (std::exchange(last_good_pinned_, pinned)) cache_.Unpin(before->source.sha256);
  if (before) Retire(before->source.sha256);
}

void ModelSlot::Retire(const crypto::Sha256Digest& sha256) {
  const auto loaded = current_.Load();
  if (loaded && loaded->version.source.sha256 == sha256) return;
  if (last_good_ && last_good_->source.sha256 == sha256) return;
  retired_.insert_or_assign(sha256, clock_.Now());
}

void ModelSlot::CollectLocked() {
  std::erase_if(retired_, [&](const auto& retired) {
    const auto& [sha256, since] = retired;
    if (clock_.Now() - since < options_.grace_period) return false;
    static_cast<void>(cache_.Evict(sha256));  // refused while another slot has pinned it, which then keeps it
    return true;
  });
}

}  // namespace edgefleet::runtime
