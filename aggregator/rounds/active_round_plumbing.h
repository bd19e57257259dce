// How a round gets from pool to pool and from try to try; part of active_round.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "aggregator/rounds/active_round.h"

namespace edgefleet::rounds {

inline constexpr Millis kBackoffMin{100};
inline constexpr Millis kBackoffMax{5'000};

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
