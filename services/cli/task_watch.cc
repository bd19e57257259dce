// edgefleet task watch: rows of rounds as they end, the present round as a progress bar.
#include <optional>
#include <set>
#include <thread>

#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

namespace pb = rounds::v1;
using Tasks = Client::Tasks;

constexpr int kFruitlessAttemptsMax = 10;
constexpr std::chrono::seconds kRetryWait{1};
constexpr std::chrono::hours kStreamTimeout{24};
const std::vector<int> kWidths{5, 9, 7, 8, 7, 9, 8, 9, 10, 10, 9, 7, 28, 6, 0};

bool Ended(const pb::Round& round) { return round.phase() == pb::PHASE_COMMITTED || round.phase() == pb::PHASE_FAILED; }
bool Ended(const pb::Task& task) {
  return task.state() != pb::TASK_STATE_RUNNING && task.state() != pb::TASK_STATE_UNSPECIFIED;
}

struct Step {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

// How far the present phase has come.
Step StepOf(const pb::Round& round, const pb::TaskSpec& spec) {
  switch (round.phase()) {
    case pb::PHASE_SELECTING:
      return {round.advertised(), round.assigned() == 0 ? spec.selection().cohort_size() : round.assigned()};
    case pb::PHASE_TRAINING:
      return {round.shared(), round.advertised()};
    case pb::PHASE_COLLECTING:
      return {round.uploaded(), round.shared()};
    case pb::PHASE_CONFIRMING:
      return {round.confirmed(), round.uploaded()};
    case pb::PHASE_UNMASKING:
      return {round.unmasked(), round.uploaded()};
    default:
      return {1, 1};
  }
}

// What the watcher has seen so far.
class Watcher {
 public:
  explicit Watcher(Context& context) : context_(context) {}

  void Take(const pb::TaskEvent& event) {
    if (event.has_task()) task_ = event.task();
    if (context_.out.json) {
      context_.out.PrintJson(ToJson(event));
    } else if (event.has_round()) {
      TakeRound(event.round());
    }
  }

  // Rounds that ended while nobody listened.
  void TakeRound(const pb::Round& round) {
    if (Ended(round)) {
      if (!ended_.insert(round.number()).second || context_.out.json) return;
      bar_.reset();
      bar_label_.clear();
      if (ended_.size() == 1) context_.out.PrintRow(RoundHeaders(), kWidths);
      context_.out.PrintRow(RoundRow(round), kWidths);
      return;
    }
    const Step step = StepOf(round, task_.spec());
    const std::string label =
        "round " + std::to_string(round.number()) + " " + EnumName(*pb::Phase_descriptor(), round.phase());
    if (label != bar_label_ || step.total != bar_total_) {  // the total of selecting is known when the cohort is drawn
      bar_.reset();
      bar_.emplace(context_.out, label, std::max<std::uint64_t>(step.total, 1), false);
      bar_total_ = step.total;
      bar_label_ = label;
    }
    bar_->Set(std::min(step.done, bar_total_));
  }

  const pb::Task& task() const { return task_; }
  void EndBar() { bar_.reset(); }

 private:
  Context& context_;
  pb::Task task_;
  std::set<std::uint32_t> ended_;
  std::optional<Progress> bar_;
  std::string bar_label_;
  std::uint64_t bar_total_ = 0;
};

Status CatchUp(Context& context, const std::string& task_id, Watcher& watcher) {
  EF_ASSIGN_OR_RETURN(const auto rounds, ListRounds(context, task_id, 100'000));
  for (const auto& round : rounds) {
    if (Ended(round)) watcher.TakeRound(round);
  }
  return OkStatus();
}

bool WorthResuming(const Status& status) {
  return status.ok() || status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kResourceExhausted ||
         status.code() == StatusCode::kDeadlineExceeded;
}

Status Outcome(const pb::Task& task) {
  const std::string tail = task.detail().empty() ? "" : ": " + task.detail();
  if (task.state() == pb::TASK_STATE_DONE) return OkStatus();
  if (task.state() == pb::TASK_STATE_CANCELLED) return Aborted("TASK_CANCELLED", "the task was cancelled" + tail);
  return Aborted("TASK_FAILED", "the task failed" + tail);
}

// "semi-honest k=100 t=57 b=32": adversary, neighbours of a device, threshold of shares, bits of an element.
std::string SecureAggregation(const pb::Round& round) {
  if (round.degree() == 0) return "-";
  return AdversaryText(round.adversary()) + " k=" + std::to_string(round.degree()) + " t=" + std::to_string(round.threshold()) +
         " b=" + std::to_string(round.element_bits());
}

}  // namespace

std::string AdversaryText(selection::v1::Adversary adversary) {
  return adversary == selection::v1::ADVERSARY_ACTIVE ? "active" : "semi-honest";
}

Row RoundHeaders() {
  return {"ROUND",  "PHASE",   "VERSION", "ASSIGNED",           "UPDATES", "CONFIRMED", "DROPOUTS", "EXAMPLES", "ACCURACY",
          "BEFORE", "EPSILON", "SECONDS", "SECURE AGGREGATION", "BLAMES",  "WHY"};
}

Row RoundRow(const pb::Round& round) {
  const bool committed = round.phase() == pb::PHASE_COMMITTED;
  const double seconds =
      round.ended_unix_ms() == 0 ? 0 : static_cast<double>(round.ended_unix_ms() - round.started_unix_ms()) / 1000;
  std::string why = round.failure_reason();
  if (!round.failure_detail().empty()) why += (why.empty() ? "" : ": ") + round.failure_detail();
  return {std::to_string(round.number()),
          EnumName(*pb::Phase_descriptor(), round.phase()),
          committed ? std::to_string(round.new_version()) : "-",
          std::to_string(round.assigned()),
          std::to_string(round.uploaded()),
          round.adversary() == selection::v1::ADVERSARY_ACTIVE ? std::to_string(round.confirmed()) : "-",
          std::to_string(round.dropouts_recovered()),
          std::to_string(round.examples()),
          committed ? FormatPercent(round.accuracy()) : "-",
          committed ? FormatPercent(round.accuracy_before()) : "-",
          FormatNumber(round.epsilon_spent()),
          seconds == 0 ? "-" : FormatNumber(seconds),
          SecureAggregation(round),
          std::to_string(round.blames()),
          why};
}

Result<std::vector<pb::Round>> ListRounds(Context& context, const std::string& task_id, std::size_t limit) {
  pb::ListRoundsRequest request;
  request.set_task_id(task_id);
  request.set_page_size(200);
  std::vector<pb::Round> rounds;
  do {
    EF_ASSIGN_OR_RETURN(auto page, context.client.Call(context.client.tasks, &Tasks::StubInterface::ListRounds, request));
    for (auto& round : *page.mutable_rounds()) {
      if (rounds.size() < limit) rounds.push_back(std::move(round));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && rounds.size() < limit);
  return rounds;
}

Status WatchTask(Context& context, const std::string& task_id) {
  pb::GetTaskRequest request;
  request.set_task_id(task_id);
  Watcher watcher(context);
  for (int fruitless = 0; !Ended(watcher.task());) {
    Status status = CatchUp(context, task_id, watcher);
    if (status.ok()) {
      grpc::ClientContext call;
      rpc::PrepareCall(call, kStreamTimeout);
      auto reader = context.client.tasks.stub->WatchTask(&call, request);
      for (pb::TaskEvent event; reader->Read(&event); fruitless = 0) watcher.Take(event);
      status = Client::Explain(rpc::FromGrpc(reader->Finish(), call), context.client.tasks.what);
    }
    watcher.EndBar();
    if (Ended(watcher.task())) break;
    if (!WorthResuming(status)) return status;
    if (++fruitless > kFruitlessAttemptsMax) {
      return status.ok() ? Status(Unavailable("WATCH_ENDED", "the aggregator stopped telling about the task")) : status;
    }
    std::this_thread::sleep_for(status.retry_after().value_or(kRetryWait));
  }
  EF_RETURN_IF_ERROR(CatchUp(context, task_id, watcher));
  if (!context.out.json) {
    context.out.PrintLine("task " + EnumName(*pb::TaskState_descriptor(), watcher.task().state()) + ", version " +
                          std::to_string(watcher.task().current_version()));
  }
  return Outcome(watcher.task());
}

}  // namespace edgefleet::cli
