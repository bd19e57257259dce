#include "load_tests/secagg/session_process.h"

#include <malloc.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "secagg/packing.h"

namespace edgefleet::load_tests {
namespace {

constexpr std::size_t kBodyMax = 64 << 20;

struct Header {
  std::uint8_t kind = 0;
  std::uint32_t index = 0;
  std::uint32_t size = 0;
};

bool WriteAll(int socket, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (done <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return true;
}

bool ReadAll(int socket, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::recv(socket, bytes.data(), bytes.size(), 0);
    if (done <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return true;
}

bool WriteFrame(int socket, std::uint8_t kind, std::uint32_t index, ByteView body) {
  const Header header{kind, index, static_cast<std::uint32_t>(body.size())};
  return WriteAll(socket, std::as_bytes(std::span(&header, 1))) && WriteAll(socket, body);
}

bool ReadFrame(int socket, Header& header, Bytes& body) {
  if (!ReadAll(socket, std::as_writable_bytes(std::span(&header, 1))) || header.size > kBodyMax) return false;
  body.resize(header.size);
  return ReadAll(socket, body);
}

// A figure in kilobytes from the process's status (proc(5)), in bytes.
std::uint64_t FromStatus(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kilobytes = 0;
    if (word == name + ":" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

// The other end: everything that a server of a round does but the network and the disk.
class SessionServer {
 public:
  explicit SessionServer(const RoundOptions& options)
      : options_(options),
        server_(Must(secagg::Server::Create({.config = ConfigOf(options),
                                             .server_nonce = Bytes(secagg::kDigestSize, std::byte{7}),
                                             .members_max = options.members}))),
        sum_(options.vector_length) {}

  Bytes Handle(Ask kind, std::uint32_t index, ByteView body);

 private:
  Bytes Setup(std::uint32_t index) const;
  void Upload(std::uint32_t index, ByteView packed);
  Bytes Unmask();

  const RoundOptions options_;
  ServerFigures figures_{.rss_before = FromStatus("VmRSS")};  // first, before there is anything
  secagg::Server server_;
  Words sum_;
};

Bytes SessionServer::Handle(Ask kind, std::uint32_t index, ByteView body) {
  switch (kind) {
    case Ask::kAdvert: {
      auto fields = Split(body, 2);
      Must(server_.AddAdvert({.cipher_public_key = std::move(fields[0]), .mask_public_key = std::move(fields[1])}));
      return {};
    }
    case Ask::kCloseRoster:
      Must(server_.CloseRoster(options_.graph, options_.survivors_min));
      return {};
    case Ask::kSetup:
      return Setup(index);
    case Ask::kShares: {
      auto fields = Split(body, 2);
      Must(server_.AddShares(index, {std::move(fields[0]), std::move(fields[1])}));
      return {};
    }
    case Ask::kCloseSharing:
      Must(server_.CloseSharing());
      return {};
    case Ask::kInbox: {
      const secagg::Inbox inbox = Must(server_.InboxOf(index));
      return Join({inbox.sharers, inbox.senders, inbox.sealed});
    }
    case Ask::kUpload:
      Upload(index, body);
      return {};
    case Ask::kCloseUploads:
      Must(server_.CloseUploads());
      return {};
    case Ask::kSurvivors:
      return Must(server_.Request(index)).survivors;
    case Ask::kAnswer: {
      auto fields = Split(body, 3);
      Must(server_.AddAnswer(index, {std::move(fields[0]), std::move(fields[1]), std::move(fields[2])}));
      return {};
    }
    case Ask::kUnmask:
      return Unmask();
  }
  Must(Internal("BAD_FRAME", "a frame of no known kind"));
  return {};
}

Bytes SessionServer::Setup(std::uint32_t index) const {
  const secagg::RoundSetup setup = Must(server_.Setup(index));
  Bytes keys;
  for (const secagg::KeyAdvert& neighbour : setup.neighbours) {
    keys.insert(keys.end(), neighbour.cipher_public_key.begin(), neighbour.cipher_public_key.end());
    keys.insert(keys.end(), neighbour.mask_public_key.begin(), neighbour.mask_public_key.end());
  }
  return Join({setup.server_nonce, setup.roster_digest, setup.roster_path, keys});
}

void SessionServer::Upload(std::uint32_t index, ByteView packed) {
  const std::uint32_t bits = ConfigOf(options_).element_bits;
  if (packed.size() != secagg::PackedSize(sum_.size(), bits)) Must(Internal("BAD_UPDATE", "an upload of another size"));
  secagg::UnpackAdd(packed, bits, sum_);
  Must(server_.AddUpload(index, {}));
}

Bytes SessionServer::Unmask() {
  ThreadPool pool("unmask", 1, 8);
  const auto start = std::chrono::steady_clock::now();
  Must(server_.Unmask(sum_, &pool));
  figures_.unmask_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  figures_.rss_peak = FromStatus("VmHWM");
  return Join({std::as_bytes(std::span(sum_)), std::as_bytes(std::span(&figures_, 1))});
}

[[noreturn]] void Serve(int socket, const RoundOptions& options) {
  SessionServer server(options);
  Header header;
  Bytes body;
  while (ReadFrame(socket, header, body)) {
    if (!WriteFrame(socket, header.kind, header.index, server.Handle(static_cast<Ask>(header.kind), header.index, body))) break;
  }
  ::_exit(0);
}

}  // namespace

Bytes Join(std::initializer_list<ByteView> fields) {
  Bytes body;
  for (const ByteView field : fields) {
    const auto size = static_cast<std::uint32_t>(field.size());
    const auto prefix = std::as_bytes(std::span(&size, 1));
    body.insert(body.end(), prefix.begin(), prefix.end());
    body.insert(body.end(), field.begin(), field.end());
  }
  return body;
}

std::vector<Bytes> Split(ByteView body, std::size_t count) {
  std::vector<Bytes> fields;
  std::uint32_t size = 0;
  while (body.size() >= sizeof size && fields.size() < count) {
    std::memcpy(&size, body.data(), sizeof size);
    body = body.subspan(sizeof size);
    if (size > body.size()) break;
    fields.push_back(ToBytes(body.first(size)));
    body = body.subspan(size);
  }
  if (fields.size() != count || !body.empty()) Must(Internal("BAD_FRAME", "a frame's body has other fields"));
  return fields;
}

ServerProcess::ServerProcess(const RoundOptions& options) {
  int ends[2];
  std::fflush(nullptr);
  ::malloc_trim(0);  // what this process has freed shall not be there for the server to use
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 || (pid_ = ::fork()) < 0) {
    Must(Internal("NO_PROCESS", "cannot start the server's process"));
  }
  ::close(ends[pid_ == 0 ? 0 : 1]);
  if (pid_ == 0) Serve(ends[1], options);
  socket_ = ends[0];
}

ServerProcess::~ServerProcess() {
  ::close(socket_);
  ::waitpid(pid_, nullptr, 0);
}

Bytes ServerProcess::Call(Ask kind, std::uint32_t index, ByteView body) {
  std::lock_guard lock(mutex_);
  Header header;
  Bytes reply;
  if (!WriteFrame(socket_, static_cast<std::uint8_t>(kind), index, body) || !ReadFrame(socket_, header, reply)) {
    Must(Internal("SERVER_DIED", "the server's process has ended"));
  }
  return reply;
}

}  // namespace edgefleet::load_tests
