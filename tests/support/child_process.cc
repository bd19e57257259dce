#include "tests/support/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/temp_dir.h"

namespace edgefleet::test {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const auto& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::vector<std::string>& added) {
  std::vector<std::string> all = added;
  for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
  return all;
}

// The child takes over the descriptors `out` and `err`, with no signal blocked.
pid_t Spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment, int out, int err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, command.front().c_str(), &actions, &attributes, Pointers(command).data(),
                                 Pointers(Environment(environment)).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  EXPECT_EQ(failed, 0) << "cannot run " << command.front();
  return failed == 0 ? pid : -1;
}

int ExitCode(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Content(int fd) {
  std::string text;
  char buffer[4096];
  lseek(fd, 0, SEEK_SET);
  for (ssize_t got = 0; (got = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

}  // namespace

RunResult RunProgram(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  const TempDir dir;
  const int out = open((dir.path() / "out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const int err = open((dir.path() / "err").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  RunResult result;
  if (const pid_t pid = Spawn(command, environment, out, err); pid > 0) result.exit_code = ExitCode(pid);
  result.out = Content(out);
  result.err = Content(err);
  close(out);
  close(err);
  return result;
}

ChildProcess::ChildProcess(const std::vector<std::string>& command) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) ADD_FAILURE() << "no pipe";
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  pid_ = Spawn(command, {}, null, ends[1]);
  close(null);
  close(ends[1]);
  stderr_ = ends[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    Signal(SIGKILL);
    Wait();
  }
  close(stderr_);
}

std::optional<std::string> ChildProcess::WaitForLine(const std::string& text) {
  while (true) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (line.find(text) != std::string::npos) return line;
      continue;
    }
    char bytes[4096];
    const ssize_t got = read(stderr_, bytes, sizeof bytes);
    if (got <= 0) return std::nullopt;
    buffer_.append(bytes, static_cast<std::size_t>(got));
  }
}

void ChildProcess::Signal(int signal) const { kill(pid_, signal); }

int ChildProcess::Wait() {
  const int code = ExitCode(pid_);
  pid_ = -1;
  return code;
}

}  // namespace edgefleet::test
