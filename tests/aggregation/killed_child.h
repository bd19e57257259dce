// A process that acknowledges its steps and is killed in the middle of one.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>

namespace edgefleet::aggregation::testing {

using Acknowledge = std::function<void(std::uint64_t step)>;

class KilledChild {
 public:
  // Forks: call it while the process has one thread. The child runs `body` and ends.
  explicit KilledChild(const std::function<void(const Acknowledge&)>& body) {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    child_ = ::fork();
    if (child_ == 0) {
      [&]() noexcept {  // an exception ends the child, not the test
        body([&](std::uint64_t step) {
          if (::write(ends[1], &step, sizeof step) != sizeof step) ::_exit(1);
        });
      }();
      ::_exit(0);
    }
    ::close(ends[1]);
    acknowledged_ = ends[0];
  }
  ~KilledChild() { ::close(acknowledged_); }
  KilledChild(const KilledChild&) = delete;
  KilledChild& operator=(const KilledChild&) = delete;

  // Kills the child when it has acknowledged `steps` steps, or lets it end; returns one more than the last step that it
  // acknowledged, also between the signal and its death.
  std::optional<std::uint64_t> KillAfter(std::uint64_t steps) {
    std::optional<std::uint64_t> done;
    std::uint64_t step = 0;
    for (std::uint64_t seen = 0; seen < steps && ::read(acknowledged_, &step, sizeof step) == sizeof step; ++seen) {
      done = step + 1;
    }
    ::kill(child_, SIGKILL);
    while (::read(acknowledged_, &step, sizeof step) == sizeof step) done = step + 1;
    ::waitpid(child_, nullptr, 0);
    return done;
  }

 private:
  pid_t child_ = -1;
  int acknowledged_ = -1;
};

}  // namespace edgefleet::aggregation::testing
