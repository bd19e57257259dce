// Whole rounds of thousands of members against one server process, whose memory is to be O(d + n k).
#include <algorithm>
#include <cstring>

#include "load_tests/secagg/section.h"
#include "load_tests/secagg/session_process.h"
#include "secagg/packing.h"
#include "secagg/parallel.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;

constexpr std::uint32_t kThreads = 2;

bool Survives(std::uint32_t index) { return index % 10 != 3; }

// The members' side of a round.
class Crowd {
 public:
  Crowd(const RoundOptions& options, ServerProcess& server)
      : options_(options), server_(server), members_(options), plain_sum_(options.vector_length) {}

  void Play() {
    for (std::uint32_t index = 1; index <= options_.members; ++index) Advertise(index);
    server_.Call(Ask::kCloseRoster);
    ForEachMember(options_.members, [this](std::uint32_t index) { Share(index); });
    server_.Call(Ask::kCloseSharing);
    Upload();
    server_.Call(Ask::kCloseUploads);
    ForEachMember(options_.members, [this](std::uint32_t index) {
      if (Survives(index)) Answer(index);
    });
  }

  const Words& plain_sum() const { return plain_sum_; }

 private:
  void Advertise(std::uint32_t index);
  void Share(std::uint32_t index);
  void Upload();
  void UploadOne(std::uint32_t index, Words& words, Bytes& packed);
  void Answer(std::uint32_t index);

  const RoundOptions options_;
  ServerProcess& server_;
  Members members_;
  Words plain_sum_;
};

void Crowd::Advertise(std::uint32_t index) {
  const secagg::KeyAdvert advert = Must(members_[index].AdvertiseKeys());
  server_.Call(Ask::kAdvert, index, Join({advert.cipher_public_key, advert.mask_public_key}));
}

void Crowd::Share(std::uint32_t index) {
  auto fields = Split(server_.Call(Ask::kSetup, index), 4);
  secagg::RoundSetup setup{.config = ConfigOf(options_),
                           .members = options_.members,
                           .graph = options_.graph,
                           .survivors_min = options_.survivors_min,
                           .server_nonce = std::move(fields[0]),
                           .roster_digest = std::move(fields[1]),
                           .roster_path = std::move(fields[2]),
                           .index = index};
  for (ByteView keys = fields[3]; keys.size() >= 2 * secagg::kKeySize; keys = keys.subspan(2 * secagg::kKeySize)) {
    setup.neighbours.push_back({.cipher_public_key = ToBytes(keys.first(secagg::kKeySize)),
                                .mask_public_key = ToBytes(keys.subspan(secagg::kKeySize, secagg::kKeySize))});
  }
  const secagg::SharedKeys shared = Must(members_[index].ShareKeys(setup));
  server_.Call(Ask::kShares, index, Join({shared.seed_commitment, shared.sealed}));
}

void Crowd::Upload() {
  std::vector<Words> plain(kThreads, plain_sum_);
  ThreadPool pool("members", kThreads - 1, kThreads);
  secagg::ParallelFor(&pool, kThreads, [&](std::size_t part) {
    Words words(options_.vector_length);
    Bytes packed(secagg::PackedSize(words.size(), ConfigOf(options_).element_bits));
    for (auto index = static_cast<std::uint32_t>(part + 1); index <= options_.members; index += kThreads) {
      if (!Survives(index)) continue;
      FillUpdate(index, words);
      for (std::size_t i = 0; i < words.size(); ++i) plain[part][i] += words[i];
      UploadOne(index, words, packed);
    }
  });
  for (const Words& part : plain) {
    for (std::size_t i = 0; i < part.size(); ++i) plain_sum_[i] += part[i];
  }
}

void Crowd::UploadOne(std::uint32_t index, Words& words, Bytes& packed) {
  auto fields = Split(server_.Call(Ask::kInbox, index), 3);
  Must(members_[index].Mask({std::move(fields[0]), std::move(fields[1]), std::move(fields[2])}, words));
  secagg::Pack(words, ConfigOf(options_).element_bits, packed);
  server_.Call(Ask::kUpload, index, packed);
}

void Crowd::Answer(std::uint32_t index) {
  const secagg::UnmaskAnswer answer = Must(members_[index].Unmask({.survivors = server_.Call(Ask::kSurvivors, index)}));
  server_.Call(Ask::kAnswer, index, Join({answer.survivors_digest, answer.held, answer.shares}));
}

struct Measured {
  double model = 0;  // bytes: the sum, a sealed share and a neighbour's index on each edge, and the keys of each member
  double grown = 0;  // bytes, at its peak
};

Measured MeasureRound(const BenchSize& size, std::uint32_t members, json& rows) {
  const secagg::Assumptions assumptions{
      .adversary = secagg::Adversary::kSemiHonest, .corrupt_fraction = 0.1, .dropout_fraction = 0.1};
  RoundOptions options{.members = members, .vector_length = size.small ? 1'000U : 100'000U};
  options.graph = Must(DeriveParameters(members, assumptions));
  options.survivors_min = members - TolerableDropouts(members, assumptions);

  const auto start = std::chrono::steady_clock::now();
  ServerProcess server(options);
  Crowd crowd(options, server);
  crowd.Play();
  const auto reply = Split(server.Call(Ask::kUnmask), 2);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!std::ranges::equal(reply[0], std::as_bytes(std::span(crowd.plain_sum())))) {
    Must(Internal("BAD_SUM", "the unmasked sum is not that of the survivors' updates"));
  }
  ServerFigures figures;
  if (reply[1].size() != sizeof figures) Must(Internal("BAD_FRAME", "figures of another size"));
  std::memcpy(&figures, reply[1].data(), sizeof figures);

  const double edges = static_cast<double>(members) * options.graph.degree;
  const Measured measured{
      4.0 * static_cast<double>(options.vector_length) + edges * (secagg::kSealedSize + 4) + 512.0 * members,
      static_cast<double>(figures.rss_peak - figures.rss_before)};
  const std::string name = "round_of_" + std::to_string(members);
  rows.push_back(Row(name + "_degree", options.graph.degree, ""));
  rows.push_back(Row(name + "_threshold", options.graph.threshold, ""));
  rows.push_back(Row(name + "_all_members_and_server", seconds, "s"));
  rows.push_back(Row(name + "_unmask", figures.unmask_seconds, "s"));
  rows.push_back(Row(name + "_server_rss_before", static_cast<double>(figures.rss_before) / 1e6, "MB"));
  rows.push_back(Row(name + "_server_rss_peak", static_cast<double>(figures.rss_peak) / 1e6, "MB"));
  rows.push_back(Row(name + "_server_memory_model", measured.model / 1e6, "MB"));
  rows.push_back(RowAtMost(size, name + "_server_growth_over_model", measured.grown / measured.model, "", 2));
  return measured;
}

}  // namespace

json SessionsSection(const BenchSize& size) {
  json rows = json::array();
  const Measured quarter = MeasureRound(size, size.small ? 50 : 2'500, rows);
  const Measured whole = MeasureRound(size, size.small ? 200 : 10'000, rows);
  // Linear in n k: four times the members need four times the memory, not sixteen.
  const double model_growth = whole.model / quarter.model;
  rows.push_back(Row("server_growth_from_a_quarter_of_the_members", whole.grown / quarter.grown, ""));
  rows.push_back(
      RowAtMost(size, "server_growth_from_a_quarter_over_model", whole.grown / quarter.grown / model_growth, "", 1.25));
  return rows;
}

}  // namespace edgefleet::load_tests
