// The server's unmasking, from revealed shares to the plain sum, against the least that it must compute: the key streams of the
// masks that are left in the sum, and an agreement for each pairwise one.
#include <cstdio>
#include <thread>

#include "load_tests/secagg/calibration.h"
#include "load_tests/secagg/section.h"
#include "load_tests/secagg/simulated_round.h"

namespace edgefleet::load_tests {
namespace {

using nlohmann::json;

struct Case {
  std::uint64_t vector_length;
  std::uint32_t dropped_percent;
  std::uint32_t threshold;  // two thirds of the neighbours, or half where fewer are sure to be left
  const char* name;
};
constexpr Case kCases[] = {{100'000, 10, 67, "100k_drop10"},
                           {100'000, 30, 51, "100k_drop30"},
                           {1'000'000, 10, 67, "1M_drop10"},
                           {1'000'000, 30, 51, "1M_drop30"}};

// What the masks that are left in the sum must cost: counted on the graph, so it is n (1 - f) + n f k (1 - f) and n f k (1 - f)
// but for the chance in who is whose neighbour.
struct Work {
  std::size_t expansions = 0;
  std::size_t agreements = 0;
};
Work WorkOf(const secagg::Server& server, std::uint32_t members, std::uint32_t degree) {
  const double dropped = static_cast<double>(server.dropped().size());
  const double survive = static_cast<double>(server.survivors().size()) / members;
  Work work;
  work.agreements = static_cast<std::size_t>(dropped * degree * survive);
  work.expansions = server.survivors().size() + work.agreements;
  return work;
}

// Seconds of pieces large enough to time; the floor is made of multiples of them.
constexpr std::size_t kStreamBytes = 64 << 20;
constexpr std::size_t kAgreements = 200;

void AddRows(const BenchSize& size, const Case& measured, const std::vector<double>& best, const Work& work, json& rows) {
  const std::string name = measured.name;
  const double floor = static_cast<double>(4 * measured.vector_length * work.expansions) * best[0] / kStreamBytes +
                       static_cast<double>(work.agreements) * best[1] / kAgreements;
  rows.push_back(Row("unmask_" + name + "_floor", floor, "s"));
  rows.push_back(Row("unmask_" + name + "_one_core", best[2], "s"));
  rows.push_back(RowAtMost(size, "unmask_" + name + "_over_floor", best[2] / floor, "", 1.25));
  if (best.size() < 4) return;
  rows.push_back(Row("unmask_" + name + "_two_cores", best[3], "s"));
  rows.push_back(RowAtLeast(size, "unmask_" + name + "_two_cores_over_one", best[2] / best[3], "", 1.85));
}

void Measure(const BenchSize& size, const Case& measured, json& rows) {
  RoundOptions options{.members = 1000,
                       .graph = {.degree = 100, .threshold = measured.threshold},
                       .survivors_min = 1000 - 10 * measured.dropped_percent,
                       .vector_length = measured.vector_length};
  if (size.small) options = {.members = 12, .graph = {11, 6}, .survivors_min = 8, .vector_length = 5'000};
  SimulatedRound round(options);
  round.Advertise();
  round.Share();
  round.Upload([&](std::uint32_t index) { return index * 7 % 100 >= measured.dropped_percent; });
  round.Answer();

  ThreadPool pool("unmask", 1, 8);
  const auto unmask = [&](ThreadPool* helpers, double& best) {
    secagg::Server server = round.Replay();
    Words sum = round.masked_sum();
    const auto start = std::chrono::steady_clock::now();
    Must(server.Unmask(sum, helpers));
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    if (sum != round.plain_sum()) Must(Internal("BAD_SUM", "the unmasked sum is not that of the survivors' updates"));
  };
  const bool two_cores = std::thread::hardware_concurrency() >= 2;
  const auto stream = BareKeyStream(ConfigOf(options).cipher);
  const auto agree = BareX25519();
  std::vector<double> best(two_cores ? 4 : 3, 1e9);
  const int turns = measured.vector_length > 500'000 ? 3 : 7;
  for (int turn = 0; turn < (size.small ? 1 : turns); ++turn) {
    const std::vector<double> pieces = BestSeconds(size, 5, {[&] { stream(kStreamBytes); }, [&] { agree(kAgreements); }});
    for (std::size_t i = 0; i < pieces.size(); ++i) best[i] = std::min(best[i], pieces[i]);
    unmask(nullptr, best[2]);
    if (two_cores) unmask(&pool, best[3]);
  }
  AddRows(size, measured, best, WorkOf(round.server(), options.members, options.graph.degree), rows);
}

}  // namespace

json UnmaskSection(const BenchSize& size) {
  json rows = json::array();
  for (const Case& measured : kCases) Measure(size, measured, rows);
  return rows;
}

}  // namespace edgefleet::load_tests
