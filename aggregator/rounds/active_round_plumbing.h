// How a round gets from pool to pool and from try to try; part of active_round.
#pragma once

#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>

#include "aggregator/rounds/active_round.h"

namespace edgefleet::rounds {

inline constexpr Millis kBackoffMin{100};
inline constexpr Millis kBackoffMax{5'000};
inline constexpr Millis kStoreMax{60'000};
inline constexpr Millis kRepost{50};

inline constexpr Millis kBusyRetry{200};

inline Error RoundClosed(const std::string& message) { return FailedPrecondition("ROUND_CLOSED", message); }
inline Error Busy() {
  return std::move(Unavailable("ROUND_BUSY", "the round is changing its phase; send this again")).RetryAfter(kBusyRetry);
}
inline Error NotHere() {
  return std::move(Unavailable("ROUND_NOT_HERE", "another process goes on with this round")).RetryAfter(kBusyRetry);
}

// Runs `task` on the strand, or answers why that is impossible now.
template <typename T>
void ActiveRound::OnStrand(Answer<T> answer, std::function<void(const Answer<T>&)> task) {
  Status submitted = strand_->Submit([self = shared_from_this(), answer, task = std::move(task)] { task(answer); });
  if (!submitted.ok()) answer(MakeError(std::move(submitted)));
}

// Tries again until the executor has room; a stopped one drops the task.
template <typename Executor>
void ActiveRound::Submit(Executor& executor, edgefleet::Task task) {
  if (executor.Submit(task).code() != StatusCode::kResourceExhausted) return;
  ports_.timer.At(ports_.clock.Now() + kRepost,
                  [self = shared_from_this(), &executor, task = std::move(task)] { self->Submit(executor, task); });
}

// Runs `step` on the work pool and `then` on the strand. While the other side is out of reach and `until` has not come, it is
// tried again with growing pauses. When the round has moved on meanwhile, nothing more happens.
template <typename T>
void ActiveRound::Call(std::function<Result<T>()> step, WallTime until, std::function<void(Result<T>)> then, Millis backoff) {
  Work([self = shared_from_this(), step = std::move(step), until, then = std::move(then), backoff, phase = record_.phase] {
    auto result = std::make_shared<Result<T>>(step());
    self->Post([self, step, until, then, backoff, phase, result] {
      // A failure that still has to be stored is not overtaken.
      if (self->Over(phase) || (self->failing_ && !IsFinal(phase))) return;
      self->gateway_error_.reset();
      if (!*result && WorthRetry(result->error())) {
        self->gateway_error_ = result->error();
        if (self->ports_.clock.Now() + backoff < until) {
          self->After(backoff, [self, step, until, then, backoff, phase] {
            if (!self->Over(phase)) self->Call<T>(step, until, then, std::min(backoff * 2, kBackoffMax));
          });
          return;
        }
      }
      then(std::move(*result));
    });
  });
}

template <typename T>
void ActiveRound::Call(std::function<Result<T>()> step, WallTime until, std::function<void(Result<T>)> then) {
  Call<T>(std::move(step), until, std::move(then), kBackoffMin);
}

}  // namespace edgefleet::rounds
