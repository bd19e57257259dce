#include "device_client/runtime/cache/loaded_model.h"

#include <algorithm>
#include <string>

namespace edgefleet::runtime {

Result<std::shared_ptr<LoadedModel>> LoadedModel::Create(ModelSource source, std::shared_ptr<const MappedFile> file,
                                                         Graph graph, const ModelSettings& settings,
                                                         std::shared_ptr<MemoryAccount> account) {
  if (settings.sessions_max < 1 || settings.sessions_max > kSessionsMax) {
    return InvalidArgument("BAD_SESSIONS", "sessions_max is 1 to " + std::to_string(kSessionsMax));
  }
  std::shared_ptr<LoadedModel> model(
      new LoadedModel(std::move(source), std::move(file), std::move(graph), settings, std::move(account)));
  EF_RETURN_IF_ERROR(model->Prepare());
  return model;
}

LoadedModel::LoadedModel(ModelSource source, std::shared_ptr<const MappedFile> file, Graph graph, const ModelSettings& settings,
                         std::shared_ptr<MemoryAccount> account)
    : source_(std::move(source)),
      settings_(settings),
      account_(std::move(account)),
      file_(std::move(file)),
      graph_(std::make_shared<const Graph>(std::move(graph))) {
  for (const Tensor& tensor : graph_->tensors) weight_bytes_ += tensor.data.size();
  weight_bytes_ = std::min(weight_bytes_, file_->bytes().size());
  // One more than may be at work: the one that Warm or KeepIdle has in hand, so that they take none from an inference.
  for (int i = settings_.sessions_max; i >= 0; --i) unused_.Push(static_cast<std::uint32_t>(i));
}

LoadedModel::~LoadedModel() {
  for (auto& session : pool_) session.reset();
  graph_.reset();
  file_.reset();
  account_->GiveBack(model_bytes_ + static_cast<std::size_t>(sessions_.load()) * session_bytes_);
}

Status LoadedModel::Prepare() {
  const std::size_t file_bytes = file_->bytes().size();
  const bool stays = settings_.mode == LoadMode::kEager || settings_.mode == LoadMode::kMapped;
  const std::size_t needed = stays ? file_bytes : file_bytes - weight_bytes_;
  EF_RETURN_IF_ERROR(account_->Reserve(needed));
  model_bytes_ = needed;
  if (settings_.mode == LoadMode::kEager) EF_RETURN_IF_ERROR(file_->Advise(file_->bytes(), PageAdvice::kPopulate));
  EF_RETURN_IF_ERROR(Enter());
  Status status = MakeFirstSession();
  Leave();
  return status;
}

// What a session takes is known once one is made: until then it is bounded by what is free.
Status LoadedModel::MakeFirstSession() {
  while (true) {
    const std::size_t free = account_->Free();
    auto session = MakeSession(std::min(settings_.session_bytes_max, free));
    if (!session) {
      const bool too_large = session.error().reason() == "ARENA_TOO_LARGE" && free < settings_.session_bytes_max;
      if (too_large && account_->MakeRoom()) continue;
      if (!too_large) return std::move(session).error();
      return ResourceExhausted("CACHE_BUDGET", "a session of the model does not fit into the " + std::to_string(free) +
                                                   " bytes that are left of the budget: " + session.error().message());
    }
    const SessionInfo& info = (*session)->info();
    std::size_t bytes = info.memory_bytes;
    // A block, and what is mapped with its first and last page.
    if (settings_.mode == LoadMode::kStreaming) bytes += std::min(weight_bytes_, info.block_weight_bytes + 2 * kFolioBytesMax);
    EF_RETURN_IF_ERROR(account_->Reserve(bytes));
    session_bytes_ = bytes;
    const std::uint32_t index = *unused_.Pop();
    pool_[index] = *std::move(session);
    sessions_ = idle_count_ = 1;
    idle_.Push(index);
    return OkStatus();
  }
}

Result<std::unique_ptr<Session>> LoadedModel::MakeSession(std::size_t bytes_max) {
  SessionOptions options{.delegate = settings_.delegate, .threads = settings_.threads, .memory_bytes_max = bytes_max};
  if (settings_.mode == LoadMode::kLazy || settings_.mode == LoadMode::kStreaming) {
    options.pager = this;
    options.block_weight_bytes = settings_.mode == LoadMode::kStreaming ? settings_.block_weight_bytes : weight_bytes_;
  }
  return Session::Create(graph_, std::move(options));
}

Result<SessionLease> LoadedModel::Borrow() {
  EF_RETURN_IF_ERROR(Enter());
  auto index = TakeSession();
  if (!index) {
    Leave();
    return MakeError(std::move(index).error());
  }
  return SessionLease(shared_from_this(), *index);
}

Result<std::uint32_t> LoadedModel::TakeSession() {
  // An index may move from one stack to the other between the two looks.
  for (int attempt = 0; attempt < kSessionsMax; ++attempt) {
    if (const auto index = idle_.Pop()) {
      --idle_count_;
      return *index;
    }
    if (const auto index = unused_.Pop()) {
      EF_RETURN_IF_ERROR(AddSession(*index));
      return *index;
    }
  }
  return ResourceExhausted("SESSIONS_BUSY", "all " + std::to_string(settings_.sessions_max) +
                                                " sessions of the model are at work; infer on fewer threads or allow more");
}

Status LoadedModel::AddSession(std::uint32_t index) {
  Status status = account_->Reserve(session_bytes_);
  if (status.ok()) {
    auto session = MakeSession(settings_.session_bytes_max);
    if (session) {
      pool_[index] = *std::move(session);
      ++sessions_;
      return OkStatus();
    }
    account_->GiveBack(session_bytes_);
    status = std::move(session).error();
  }
  unused_.Push(index);
  return status;
}

void LoadedModel::PutBack(std::uint32_t index, bool usable) {
  if (!usable || idle_count_.fetch_add(1) >= idle_max_) {
    if (usable) --idle_count_;
    Destroy(index);
    return;
  }
  idle_.Push(index);
}

void LoadedModel::Destroy(std::uint32_t index) {
  pool_[index].reset();
  --sessions_;
  account_->GiveBack(session_bytes_);
  unused_.Push(index);
}

void LoadedModel::Warm(int count) {
  std::lock_guard lock(spare_mutex_);
  if (!Enter().ok()) return;
  while (sessions_ < count && idle_count_ < idle_max_) {
    const auto index = unused_.Pop();
    if (!index || !AddSession(*index).ok()) break;
    PutBack(*index, true);
  }
  Leave();
}

void LoadedModel::KeepIdle(int count) {
  std::lock_guard lock(spare_mutex_);
  idle_max_ = count;
  while (idle_count_ > count) {
    const auto index = idle_.Pop();
    if (!index) break;
    --idle_count_;
    Destroy(*index);
  }
}

Status LoadedModel::Enter() {
  if (settings_.mode != LoadMode::kLazy) return OkStatus();
  std::lock_guard lock(users_mutex_);
  if (users_ == 0) EF_RETURN_IF_ERROR(account_->Reserve(weight_bytes_));
  ++users_;
  return OkStatus();
}

void LoadedModel::Leave() {
  if (settings_.mode != LoadMode::kLazy) return;
  std::lock_guard lock(users_mutex_);
  if (--users_ > 0) return;
  const ByteView all = file_->bytes();
  Advise({&all, 1}, PageAdvice::kRelease);
  account_->GiveBack(weight_bytes_);
}

void LoadedModel::WillRead(std::span<const ByteView> constants) { Advise(constants, PageAdvice::kWillNeed); }

void LoadedModel::DidRead(std::span<const ByteView> constants) {
  if (settings_.mode == LoadMode::kStreaming) Advise(constants, PageAdvice::kRelease);
}

// Best effort: pages that stay are the kernel's to reclaim, for they are clean; and constants that a session has folded are not
// of the file.
void LoadedModel::Advise(std::span<const ByteView> ranges, PageAdvice advice) const {
  for (const ByteView range : ranges) static_cast<void>(file_->Advise(range, advice));
}

SessionLease::~SessionLease() {
  if (!model_) return;
  model_->PutBack(index_, usable_);
  model_->Leave();
}

}  // namespace edgefleet::runtime
