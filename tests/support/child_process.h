// Programs under test as child processes. None outlives its object.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace edgefleet::test {

struct RunResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string out;
  std::string err;
};

// Runs to the end. `environment` ("NAME=value") is added to the test's own.
RunResult RunProgram(const std::vector<std::string>& command, const std::vector<std::string>& environment = {});

// A running program; its stderr is read line by line, its stdout discarded. Killed and reaped by the destructor. Not
// thread-safe.
class ChildProcess {
 public:
  explicit ChildProcess(const std::vector<std::string>& command);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The next line of stderr that contains `text`; nothing when the program closed it first.
  std::optional<std::string> WaitForLine(const std::string& text);
  void Signal(int signal) const;
  // Waits for the end. Exit code, or 128 + signal.
  int Wait();

 private:
  pid_t pid_ = -1;
  int stderr_ = -1;
  std::string buffer_;
};

}  // namespace edgefleet::test
