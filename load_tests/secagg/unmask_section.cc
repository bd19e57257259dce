// The server's unmasking, from revealed shares to the plain sum, against the least that it must compute: the key streams of the
// masks that are left in the sum, and an agreement for each pairwise one.
#include <algorithm>
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
  int turns;
  const char* name;
};
constexpr Case kCases[] = {{100'000, 10, 67, 9, "100k_drop10"},
                           {100'000, 30, 51, 7, "100k_drop30"},
                           {1'000'000, 10, 67, 5, "1M_drop10"},
                           {1'000'000, 30, 51, 4, "1M_drop30"}};

// What the masks that are left in the sum must cost, for dropouts f of n members with k neighbours: n (1 - f) self masks, and
// n f k (1 - f) pairwise masks with an agreement each, but for the chance in who is whose neighbour.
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

void AddRows(const BenchSize& size, const Case& measured, const std::vector<double>& best, json& rows) {
  const std::string name = measured.name;
  const double floor = best[0], one_core = best[1];
  rows.push_back(Row("unmask_" + name + "_floor", floor, "s"));
  rows.push_back(Row("unmask_" + name + "_one_core", one_core, "s"));
  rows.push_back(RowAtMost(size, "unmask_" + name + "_over_floor", one_core / floor, "", 1.25));
  if (best.size() < 3) return;
  rows.push_back(Row("unmask_" + name + "_two_cores", best[2], "s"));
  rows.push_back(RowAtLeast(size, "unmask_" + name + "_two_cores_over_one", one_core / best[2], "", 1.85));
}

// Of a server that has all answers.
double UnmaskSeconds(const SimulatedRound& round, ThreadPool* helpers) {
  secagg::Server server = round.Replay();
  Words sum = round.masked_sum();
  const auto start = std::chrono::steady_clock::now();
  Must(server.Unmask(sum, helpers));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (sum != round.plain_sum()) Must(Internal("BAD_SUM", "the unmasked sum is not that of the survivors' updates"));
  return seconds;
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

  const Work work = WorkOf(round.server(), options.members, options.graph.degree);
  const auto stream = BareKeyStream(ConfigOf(options).cipher);
  const auto agree = BareX25519();
  ThreadPool pool("unmask", 1, 8);
  // The floor is run whole, so that it gets as much of the machine's noise as what it is compared with.
  std::vector<double> best(std::thread::hardware_concurrency() < 2 ? 2 : 3, 1e9);
  for (int turn = 0; turn < (size.small ? 1 : measured.turns); ++turn) {
    best[0] = std::min(best[0], BestSeconds(size, 1, {[&] {
                                              stream(sizeof(std::uint32_t) * options.vector_length * work.expansions);
                                              agree(work.agreements);
                                            }})[0]);
    best[1] = std::min(best[1], UnmaskSeconds(round, nullptr));
    if (best.size() > 2) best[2] = std::min(best[2], UnmaskSeconds(round, &pool));
  }
  AddRows(size, measured, best, rows);
}

}  // namespace

json UnmaskSection(const BenchSize& size) {
  json rows = json::array();
  for (const Case& measured : kCases) Measure(size, measured, rows);
  return rows;
}

}  // namespace edgefleet::load_tests
