#include "tests/support/private_redis.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

namespace edgefleet::test {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::seconds kStartMax{60};
constexpr std::chrono::milliseconds kInterval{5};

// True if a server answers PING with PONG; one that still loads its file does not.
bool Answers(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  constexpr std::string_view kPing = "PING\r\n";
  char answer[64];
  ssize_t size = -1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      send(fd, kPing.data(), kPing.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kPing.size())) {
    size = recv(fd, answer, sizeof answer, 0);
  }
  close(fd);
  return size > 0 && std::string_view(answer, static_cast<std::size_t>(size)).starts_with("+PONG");
}

std::string ReadLog(const fs::path& log) {
  std::ifstream file(log);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

Result<std::unique_ptr<PrivateRedis>> PrivateRedis::Start(bool durable) {
  std::string folder = (fs::temp_directory_path() / "edgefleet-redis-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return Internal("TEMP_FOLDER", std::strerror(errno));
  std::unique_ptr<PrivateRedis> server(new PrivateRedis(folder, durable));
  EF_RETURN_IF_ERROR(server->StartServer());
  return server;
}

Status PrivateRedis::StartServer() {
  const std::vector<std::string> arguments{"redis-server",
                                           "--port",
                                           "0",
                                           "--unixsocket",
                                           Socket(),
                                           "--dir",
                                           folder_.string(),
                                           "--save",
                                           "",
                                           "--appendonly",
                                           durable_ ? "yes" : "no",
                                           "--appendfsync",
                                           "always",
                                           "--logfile",
                                           (folder_ / "log").string()};
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  server_ = fork();
  if (server_ < 0) return Internal("FORK_FAILED", std::strerror(errno));
  if (server_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  return WaitUntilReady();
}

Status PrivateRedis::WaitUntilReady() {
  const auto deadline = std::chrono::steady_clock::now() + kStartMax;
  while (!Answers(Socket())) {
    int state = 0;
    if (waitpid(server_, &state, WNOHANG) == server_) {
      server_ = -1;
      return Internal("REDIS_ENDED", "redis-server does not run (is it installed?): " + ReadLog(folder_ / "log"));
    }
    if (std::chrono::steady_clock::now() > deadline) return DeadlineExceeded("REDIS_NOT_READY", ReadLog(folder_ / "log"));
    std::this_thread::sleep_for(kInterval);  // between polls of another process, which tells nobody when it is ready
  }
  return OkStatus();
}

void PrivateRedis::Kill9() {
  if (server_ < 0) return;
  kill(server_, SIGKILL);
  waitpid(server_, nullptr, 0);
  server_ = -1;
}

Status PrivateRedis::Restart() { return StartServer(); }

PrivateRedis::~PrivateRedis() {
  Kill9();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace edgefleet::test
