#include "tests/support/private_postgres.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <pqxx/pqxx>
#include <sstream>
#include <thread>
#include <vector>

// libpqxx 6.4 loses the PGresult (2 KiB) of a statement whose connection breaks; nothing else here allocates one.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:PQmakeEmptyPGresult\n"; }

namespace edgefleet::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin/";
constexpr std::chrono::seconds kStartMax{120};
constexpr std::chrono::milliseconds kPollInterval{10};

// Starts a program with stdin from `stdin_fd` (or /dev/null) and its output appended to `log`.
Result<pid_t> Spawn(const std::vector<std::string>& arguments, const fs::path& log, int stdin_fd = -1) {
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return Internal("FORK_FAILED", std::strerror(errno));
  if (pid > 0) return pid;
  if (stdin_fd < 0) stdin_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  dup2(stdin_fd, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execvp(argv[0], argv.data());
  _exit(127);
}

std::vector<std::string> AsPostgres(std::vector<std::string> command) {
  std::vector<std::string> all{"setpriv", "--pdeathsig=QUIT"};
  if (geteuid() == 0) all.insert(all.end(), {"--reuid=postgres", "--regid=postgres", "--clear-groups"});
  all.push_back("--");
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

// Waits for a process to end, killing it at the deadline.
int Reap(pid_t pid, Clock::duration patience) {
  const auto deadline = Clock::now() + patience;
  int state = 0;
  while (waitpid(pid, &state, WNOHANG) == 0) {
    if (Clock::now() > deadline) kill(pid, SIGKILL);
    std::this_thread::sleep_for(kPollInterval);  // poll
  }
  return state;
}

std::string LogTail(const fs::path& log) {
  std::ifstream file(log);
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  return all.size() > 2000 ? all.substr(all.size() - 2000) : all;
}

}  // namespace

Result<std::unique_ptr<PrivatePostgres>> PrivatePostgres::Start() {
  std::string folder = (fs::temp_directory_path() / "edgefleet-pg-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return Internal("TEMP_FOLDER", std::strerror(errno));
  std::unique_ptr<PrivatePostgres> cluster(new PrivatePostgres(folder));
  EF_RETURN_IF_ERROR(cluster->StartJanitor());
  EF_RETURN_IF_ERROR(cluster->Initialize());
  EF_RETURN_IF_ERROR(cluster->StartServer());
  EF_RETURN_IF_ERROR(cluster->WaitUntilReady());
  return cluster;
}

// Removes the folder once the pipe closes, which happens however this process ends.
Status PrivatePostgres::StartJanitor() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Internal("PIPE_FAILED", std::strerror(errno));
  janitor_pipe_ = ends[1];
  // The server may still be writing into the folder when the first attempt runs.
  const std::string script = "read -r _; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf \"$1\" && exit 0; done 2>/dev/null";
  auto started = Spawn({"setsid", "sh", "-c", script, "janitor", folder_.string()}, "/dev/null", ends[0]);
  close(ends[0]);
  if (!started) return started.error();
  janitor_ = *started;
  return OkStatus();
}

Status PrivatePostgres::Initialize() {
  if (geteuid() == 0) {
    const passwd* user = getpwnam("postgres");
    if (user == nullptr) return FailedPrecondition("NO_POSTGRES_USER", "install postgresql: the user postgres is missing");
    if (chown(folder_.c_str(), user->pw_uid, user->pw_gid) != 0) return Internal("CHOWN_FAILED", std::strerror(errno));
  }
  const fs::path log = folder_.string() + "/initdb.log";
  EF_ASSIGN_OR_RETURN(const pid_t pid,
                      Spawn(AsPostgres({std::string(kPrograms) + "initdb", "--no-sync", "--auth=trust", "--username=edgefleet",
                                        "--encoding=UTF8", "--locale=C", "-D", (folder_ / "data").string()}),
                            log));
  if (Reap(pid, kStartMax) != 0) return Internal("INITDB_FAILED", LogTail(log));
  return OkStatus();
}

Status PrivatePostgres::StartServer() {
  // Without fsync a killed process loses nothing (the kernel has it); only a power cut would.
  EF_ASSIGN_OR_RETURN(
      server_, Spawn(AsPostgres({std::string(kPrograms) + "postgres", "-D", (folder_ / "data").string(), "-k", folder_.string(),
                                 "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c",
                                 "max_connections=64", "-c", "shared_buffers=16MB"}),
                     folder_ / "server.log"));
  return OkStatus();
}

Status PrivatePostgres::WaitUntilReady() {
  const auto deadline = Clock::now() + kStartMax;
  std::string last;
  while (Clock::now() < deadline) {
    try {
      pqxx::connection connection(Url());
      return OkStatus();
    } catch (const std::exception& error) {
      last = error.what();
    }
    int state = 0;
    if (waitpid(server_, &state, WNOHANG) == server_) {
      server_ = -1;
      return Internal("POSTGRES_ENDED", LogTail(folder_ / "server.log"));
    }
    std::this_thread::sleep_for(kPollInterval);  // poll
  }
  return DeadlineExceeded("POSTGRES_NOT_READY", last);
}

std::string PrivatePostgres::Url(const std::string& database) const {
  return "postgresql:///" + database + "?host=" + folder_.string() + "&user=edgefleet";
}

Result<std::string> PrivatePostgres::NewDatabase() {
  static std::atomic<int> counter{0};
  const std::string name = "test_" + std::to_string(++counter);
  try {
    pqxx::connection connection(Url());
    pqxx::nontransaction(connection).exec("CREATE DATABASE " + name);
  } catch (const std::exception& error) {
    return Internal("CREATE_DATABASE", error.what());
  }
  return Url(name);
}

void PrivatePostgres::StopServer(int signal) {
  if (server_ < 0) return;
  kill(server_, signal);
  Reap(server_, kStartMax);
  server_ = -1;
}

void PrivatePostgres::Kill9() { StopServer(SIGKILL); }

Status PrivatePostgres::Restart() {
  // The killed server's children notice its death and go; until then a new one refuses to start.
  const auto deadline = Clock::now() + kStartMax;
  Status status = OkStatus();
  do {
    EF_RETURN_IF_ERROR(StartServer());
    status = WaitUntilReady();
  } while (status.reason() == "POSTGRES_ENDED" && Clock::now() < deadline);
  return status;
}

PrivatePostgres::~PrivatePostgres() {
  StopServer(SIGQUIT);
  if (janitor_pipe_ >= 0) close(janitor_pipe_);
  if (janitor_ > 0) Reap(janitor_, kStartMax);
}

}  // namespace edgefleet::test
