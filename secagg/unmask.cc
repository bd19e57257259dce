#include "secagg/unmask.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "secagg/shamir.h"

namespace edgefleet::secagg {
namespace {

constexpr std::size_t kBlockWords = 64 * 1024;

// Work on numbered blocks that a caller shares with whoever comes to help. A helper that comes after the caller has finished
// finds the door closed and touches nothing, so helpers may sit in a full queue for as long as they like.
class SharedBlocks {
 public:
  SharedBlocks(std::span<const MaskTerm> masks, std::span<std::uint32_t> words) : masks_(masks), words_(words) {}

  void Help() {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      ++helpers_;
    }
    Run();
    std::lock_guard lock(mutex_);
    --helpers_;
    left_.notify_all();
  }

  void RunToTheEnd() {
    Run();
    std::unique_lock lock(mutex_);
    closed_ = true;
    left_.wait(lock, [this] { return helpers_ == 0; });
  }

 private:
  void Run() {
    for (;;) {
      const std::size_t begin = next_.fetch_add(1, std::memory_order_relaxed) * kBlockWords;
      if (begin >= words_.size()) return;
      const auto block = words_.subspan(begin, std::min(kBlockWords, words_.size() - begin));
      for (const MaskTerm& mask : masks_) ApplyMask(mask, begin, block);
    }
  }

  const std::span<const MaskTerm> masks_;
  const std::span<std::uint32_t> words_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable left_;
  int helpers_ = 0;
  bool closed_ = false;
};

Result<Secret> RecoverMaskKey(const Ledger& ledger, const SecretRecovery& recovery, std::span<const Secret* const> shares,
                              std::uint32_t owner) {
  Secret key = recovery.Combine(shares);
  if (PublicKeyOf(key) != ledger.roster[owner - 1].mask_public_key) {
    return DataLoss("BAD_MASK_KEY",
                    "the shares of member " + std::to_string(owner) + "'s mask key do not give the key it advertised");
  }
  return key;
}

}  // namespace

Result<std::vector<MaskTerm>> RecoverMasks(const Ledger& ledger) {
  const SessionId session =
      MakeSessionId(ledger.options.round_id, ledger.threshold, ledger.options.vector_length, ledger.roster);
  const SecretRecovery recovery(ledger.answerers);
  std::vector<MaskTerm> masks;
  masks.reserve(ledger.survivors.size() * (1 + ledger.dropped.size()));
  std::vector<const Secret*> shares(ledger.answerers.size());
  for (std::size_t place = 0; place < ledger.sharers.size(); ++place) {
    const std::uint32_t owner = ledger.sharers[place];
    for (std::size_t k = 0; k < shares.size(); ++k) shares[k] = &ledger.shares[k][place];
    if (std::ranges::binary_search(ledger.survivors, owner)) {
      masks.push_back({SelfMaskKey(recovery.Combine(shares), session, owner), MaskSign::kSubtract});
      continue;
    }
    EF_ASSIGN_OR_RETURN(const Secret mask_key, RecoverMaskKey(ledger, recovery, shares, owner));
    for (const std::uint32_t survivor : ledger.survivors) {
      EF_ASSIGN_OR_RETURN(const Secret agreed, Agree(mask_key, ledger.roster[survivor - 1].mask_public_key));
      masks.push_back({PairwiseMaskKey(agreed, session, survivor, owner), Opposite(PairwiseSign(survivor, owner))});
    }
  }
  return masks;
}

void ApplyMasks(std::span<const MaskTerm> masks, std::span<std::uint32_t> words, ThreadPool* pool) {
  const auto blocks = std::make_shared<SharedBlocks>(masks, words);
  if (pool != nullptr && words.size() > kBlockWords) {
    for (unsigned helper = 1; helper < std::thread::hardware_concurrency(); ++helper) {
      if (!pool->Submit([blocks] { blocks->Help(); }).ok()) break;
    }
  }
  blocks->RunToTheEnd();
}

}  // namespace edgefleet::secagg
