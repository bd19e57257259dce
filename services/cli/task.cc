// edgefleet task create | list | show | rounds | cancel | transcript
#include <cmath>
#include <fstream>

#include "base/crypto/crypto.h"
#include "base/file.h"
#include "services/cli/commands.h"

namespace edgefleet::cli {
namespace {

namespace pb = rounds::v1;
using Tasks = Client::Tasks;

constexpr char kSemiHonest[] = "semi-honest";
constexpr char kActive[] = "active";
constexpr char kAes256[] = "aes-256";
constexpr char kAes128[] = "aes-128";

struct CreateSpec {
  std::string model;  // NAME or NAME:ALIAS
  std::uint32_t rounds = 10;
  std::uint32_t cohort = 20;
  std::uint32_t participants_min = 0;
  bool move_alias = false;
  double over_provision = 1.3;
  std::vector<std::string> stratify_by{"class", "region"};
  std::uint32_t stratum_min = 0;
  std::uint32_t quota_min = 0;
  std::uint64_t seed = 0;
  std::uint32_t pool_min = 0;
  std::uint32_t battery_min = 30;
  bool any_power = false;
  bool any_network = false;
  bool any_use = false;
  std::uint64_t examples_min = 1;
  std::vector<std::string> device_classes;
  std::vector<std::string> regions;
  std::uint32_t epochs = 1;
  std::uint32_t batch_size = 10;
  double learning_rate = 0.05;
  double proximal_mu = 0;
  std::uint32_t example_count_max = 1000;
  double clip_norm = 10;
  double noise = 0;
  double delta = 1e-5;
  double epsilon_max = 0;
  std::string adversary = kSemiHonest;
  double corrupt = 0.1;
  double dropout = 0;
  std::string mask_cipher = kAes256;
  std::uint32_t value_bits = 0;
  double keep_fraction = 1;
  bool rotate = false;
  double server_learning_rate = 1;
  double accuracy_drop_max = 0.02;
  double selecting_s = 120;
  double training_s = 600;
  double collecting_s = 120;
  double unmasking_s = 60;
  std::uint32_t failed_rounds_max = 5;
  std::string request_id;
  bool watch = false;
};
struct IdSpec {
  std::string task_id;
};
struct TranscriptSpec {
  std::string round_id;
  std::string output;
};
struct ListSpec {
  std::string task_id;
  std::uint32_t limit = 1000;
};

std::int64_t Millis(double seconds) { return static_cast<std::int64_t>(seconds * 1000); }

void FillSelection(const CreateSpec& spec, selection::v1::SelectionSpec& out) {
  auto& eligibility = *out.mutable_eligibility();
  eligibility.set_battery_percent_min(spec.any_power ? 0 : spec.battery_min);
  eligibility.set_require_charging_or_battery(!spec.any_power);
  eligibility.set_require_unmetered(!spec.any_network);
  eligibility.set_require_idle(!spec.any_use);
  eligibility.set_example_count_min(spec.examples_min);
  for (const auto& name : spec.device_classes) eligibility.add_device_classes(name);
  for (const auto& name : spec.regions) eligibility.add_regions(name);
  out.set_cohort_size(spec.cohort);
  out.set_over_provision(spec.over_provision);
  for (const auto& name : spec.stratify_by) {
    if (!name.empty() && name != "none") out.add_stratify_by(name);
  }
  out.set_stratum_min(spec.stratum_min);
  out.set_quota_min(spec.quota_min);
  out.set_seed(spec.seed);
  out.set_pool_min(spec.pool_min);
}

Result<pb::TaskSpec> MakeTask(const CreateSpec& spec) {
  EF_ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(spec.model));
  if (ref.version != 0) return InvalidArgument(kReasonUsage, "a task starts from an alias; write NAME:ALIAS");
  pb::TaskSpec task;
  task.set_model(ref.model);
  task.set_alias(ref.alias.empty() ? "stable" : ref.alias);
  task.set_move_alias(spec.move_alias);
  task.set_rounds(spec.rounds);
  FillSelection(spec, *task.mutable_selection());
  const auto default_min = static_cast<std::uint32_t>(std::ceil(spec.cohort * 0.7));
  task.set_participants_min(spec.participants_min == 0 ? default_min : spec.participants_min);
  task.set_epochs(spec.epochs);
  task.set_batch_size(spec.batch_size);
  task.set_learning_rate(spec.learning_rate);
  task.set_proximal_mu(spec.proximal_mu);
  task.set_example_count_max(spec.example_count_max);
  task.mutable_privacy()->set_clip_norm(spec.clip_norm);
  task.mutable_privacy()->set_noise_multiplier(spec.noise);
  task.mutable_privacy()->set_delta(spec.delta);
  task.mutable_privacy()->set_epsilon_max(spec.epsilon_max);
  auto& secure = *task.mutable_secure_aggregation();
  secure.set_adversary(spec.adversary == kActive ? selection::v1::ADVERSARY_ACTIVE : selection::v1::ADVERSARY_SEMI_HONEST);
  secure.set_corrupt_fraction(spec.corrupt);
  secure.set_dropout_fraction(spec.dropout);
  secure.set_mask_cipher(spec.mask_cipher == kAes128 ? pb::MASK_CIPHER_AES_128 : pb::MASK_CIPHER_AES_256);
  task.mutable_compression()->set_value_bits(spec.value_bits);
  task.mutable_compression()->set_keep_fraction(spec.keep_fraction);
  task.mutable_compression()->set_rotate(spec.rotate);
  task.set_server_learning_rate(spec.server_learning_rate);
  task.set_accuracy_drop_max(spec.accuracy_drop_max);
  task.set_selecting_ms_max(Millis(spec.selecting_s));
  task.set_training_ms_max(Millis(spec.training_s));
  task.set_collecting_ms_max(Millis(spec.collecting_s));
  task.set_unmasking_ms_max(Millis(spec.unmasking_s));
  task.set_failed_rounds_max(spec.failed_rounds_max);
  return task;
}

std::string StateOf(const pb::Task& task) { return EnumName(*pb::TaskState_descriptor(), task.state()); }

// "semi-honest adversary, 10.00 % corrupt, AES-256 masks"
std::string SecureAggregation(const pb::SecureAggregationSpec& spec) {
  return AdversaryText(spec.adversary()) + " adversary, " + FormatPercent(spec.corrupt_fraction()) + " may be corrupt, " +
         (spec.dropout_fraction() == 0 ? "" : FormatPercent(spec.dropout_fraction()) + " may drop out, ") +
         (spec.mask_cipher() == pb::MASK_CIPHER_AES_128 ? "AES-128" : "AES-256") + " masks";
}

// "8 bits a coordinate, 25.00 % of the coordinates, rotated"; empty where nothing is compressed.
std::string Compression(const pb::CompressionSpec& spec) {
  std::string text;
  auto add = [&](bool set, const std::string& part) {
    if (set) text += (text.empty() ? "" : ", ") + part;
  };
  add(spec.value_bits() != 0, std::to_string(spec.value_bits()) + " bits a coordinate");
  add(spec.keep_fraction() > 0 && spec.keep_fraction() < 1, FormatPercent(spec.keep_fraction()) + " of the coordinates");
  add(spec.rotate(), "rotated");
  return text;
}

void PrintTask(const Output& out, const pb::Task& task) {
  const auto& spec = task.spec();
  std::vector<std::pair<std::string, std::string>> fields{
      {"task", task.task_id()},
      {"model", spec.model() + ":" + spec.alias()},
      {"state", StateOf(task)},
      {"rounds", std::to_string(task.rounds_committed()) + " of " + std::to_string(spec.rounds()) + " committed, " +
                     std::to_string(task.rounds_failed()) + " failed"},
      {"current version", task.current_version() == 0 ? "-" : std::to_string(task.current_version())},
      {"cohort", std::to_string(spec.selection().cohort_size()) + " devices, at least " +
                     std::to_string(spec.participants_min()) + " updates"},
      {"training", std::to_string(spec.epochs()) + " epochs, batch " + std::to_string(spec.batch_size()) + ", learning rate " +
                       FormatNumber(spec.learning_rate())},
      {"secure aggregation", SecureAggregation(spec.secure_aggregation())},
      {"created", FormatTime(task.created_unix_ms()) + " UTC"}};
  if (const std::string text = Compression(spec.compression()); !text.empty()) fields.emplace_back("compression", text);
  if (spec.privacy().noise_multiplier() > 0) {
    fields.emplace_back("privacy spent",
                        "epsilon " + FormatNumber(task.epsilon_spent()) + " at delta " + FormatNumber(spec.privacy().delta()));
  }
  if (!task.detail().empty()) fields.emplace_back("detail", task.detail());
  out.PrintFields(fields);
}

Status Create(Context& context, const CreateSpec& spec) {
  pb::CreateTaskRequest request;
  EF_ASSIGN_OR_RETURN(*request.mutable_spec(), MakeTask(spec));
  request.set_request_id(spec.request_id.empty() ? crypto::RandomId() : spec.request_id);
  EF_ASSIGN_OR_RETURN(const auto task, context.client.Call(context.client.tasks, &Tasks::StubInterface::CreateTask, request));
  if (spec.watch) {
    context.out.Note("task " + task.task_id());
    return WatchTask(context, task.task_id());
  }
  if (context.out.json) return context.out.PrintJson(ToJson(task)), OkStatus();
  PrintTask(context.out, task);
  context.out.Note("follow it with 'edgefleet task watch " + task.task_id() + "'");
  return OkStatus();
}

Status List(Context& context, const ListSpec& spec) {
  pb::ListTasksRequest request;
  pb::ListTasksResponse all;
  do {
    EF_ASSIGN_OR_RETURN(auto page, context.client.Call(context.client.tasks, &Tasks::StubInterface::ListTasks, request));
    for (auto& task : *page.mutable_tasks()) {
      if (static_cast<std::uint32_t>(all.tasks_size()) < spec.limit) all.add_tasks()->Swap(&task);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<std::uint32_t>(all.tasks_size()) < spec.limit);
  if (context.out.json) return context.out.PrintJson({{"tasks", ToJson(all)["tasks"]}}), OkStatus();
  if (all.tasks_size() == 0) return context.out.PrintLine("no tasks yet; start one with 'edgefleet task create'"), OkStatus();
  std::vector<Row> rows;
  for (const auto& task : all.tasks()) {
    rows.push_back({task.task_id(), task.spec().model() + ":" + task.spec().alias(), StateOf(task),
                    std::to_string(task.rounds_committed()) + "/" + std::to_string(task.spec().rounds()),
                    std::to_string(task.rounds_failed()), std::to_string(task.current_version()),
                    FormatTime(task.created_unix_ms())});
  }
  context.out.PrintTable({"TASK", "MODEL", "STATE", "ROUNDS", "FAILED", "VERSION", "CREATED (UTC)"}, rows);
  return OkStatus();
}

Status Show(Context& context, const IdSpec& spec) {
  pb::GetTaskRequest request;
  request.set_task_id(spec.task_id);
  EF_ASSIGN_OR_RETURN(const auto task, context.client.Call(context.client.tasks, &Tasks::StubInterface::GetTask, request));
  if (context.out.json) return context.out.PrintJson(ToJson(task)), OkStatus();
  PrintTask(context.out, task);
  return OkStatus();
}

Status Rounds(Context& context, const ListSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto rounds, ListRounds(context, spec.task_id, spec.limit));
  if (context.out.json) {
    Json array = Json::array();
    for (const auto& round : rounds) array.push_back(ToJson(round));
    return context.out.PrintJson({{"rounds", array}}), OkStatus();
  }
  std::vector<Row> rows;
  for (const auto& round : rounds) rows.push_back(RoundRow(round));
  context.out.PrintTable(RoundHeaders(), rows);
  return OkStatus();
}

Status Download(Context& context, const TranscriptSpec& spec, const std::string& file) {
  pb::GetTranscriptRequest request;
  request.set_round_id(spec.round_id);
  grpc::ClientContext call;
  rpc::PrepareCall(call, std::chrono::hours(1));
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  auto reader = context.client.tasks.stub->GetTranscript(&call, request);
  for (pb::TranscriptChunk chunk; reader->Read(&chunk);) {
    out.write(chunk.chunk().data(), static_cast<std::streamsize>(chunk.chunk().size()));
    if (!out) call.TryCancel();
  }
  const Status status = Client::Explain(rpc::FromGrpc(reader->Finish(), call), context.client.tasks.what);
  out.close();
  if (!out) return FileError("write", file, errno);
  return status;
}

// Whole or not at all.
Status Transcript(Context& context, const TranscriptSpec& spec) {
  const std::string part = spec.output + ".part";
  Status status = Download(context, spec, part);
  if (status.ok()) status = RenameDurably(part, spec.output);
  std::error_code error;
  if (!status.ok()) return std::filesystem::remove(part, error), status;
  const auto size = std::filesystem::file_size(spec.output, error);
  if (context.out.json) {
    context.out.PrintJson({{"round_id", spec.round_id}, {"file", spec.output}, {"size", size}});
  } else {
    context.out.PrintLine(spec.output + ": " + FormatBytes(size));
  }
  return OkStatus();
}

Status Watch(Context& context, const IdSpec& spec) { return WatchTask(context, spec.task_id); }

Status Cancel(Context& context, const IdSpec& spec) {
  pb::CancelTaskRequest request;
  request.set_request_id(crypto::RandomId());
  request.set_task_id(spec.task_id);
  EF_ASSIGN_OR_RETURN(const auto task, context.client.Call(context.client.tasks, &Tasks::StubInterface::CancelTask, request));
  if (context.out.json) return context.out.PrintJson(ToJson(task)), OkStatus();
  PrintTask(context.out, task);
  return OkStatus();
}

void DeclareSelection(CLI::App& command, CreateSpec& s) {
  const auto group = "Devices";
  auto number = [&](const char* flag, auto& value, const char* help) {
    return command.add_option(flag, value, help)->capture_default_str()->group(group);
  };
  number("--cohort", s.cohort, "devices whose updates a round wants");
  number("--over-provision", s.over_provision, "this many times the cohort is selected, for dropouts")
      ->check(CLI::Range(1.0, 3.0));
  command
      .add_option("--min-participants", s.participants_min,
                  "updates without which a round fails; a sum of fewer is never unmasked (default: 70 % of the cohort)")
      ->group(group);
  number("--stratify-by", s.stratify_by, "of class, region, os; or none")->delimiter(',')->allow_extra_args(false);
  number("--stratum-min", s.stratum_min, "a smaller stratum is merged into the rest");
  number("--quota-min", s.quota_min, "least devices from each stratum");
  number("--pool-min", s.pool_min, "draw only when this many eligible devices wait; 0: the over-provisioned cohort");
  number("--seed", s.seed, "the same pool and seed give the same cohort")->check(CLI::NonNegativeNumber);
  number("--battery-min", s.battery_min, "percent, unless the device charges")->check(CLI::Range(0, 100));
  number("--examples-min", s.examples_min, "local training examples")->check(CLI::NonNegativeNumber);
  command.add_flag("--any-power", s.any_power, "also devices low on battery")->group(group);
  command.add_flag("--any-network", s.any_network, "also devices on metered networks")->group(group);
  command.add_flag("--any-use", s.any_use, "also devices that are in use")->group(group);
  command.add_option("--device-class", s.device_classes, "only these; may be given again")
      ->allow_extra_args(false)
      ->group(group);
  command.add_option("--region", s.regions, "only these; may be given again")->allow_extra_args(false)->group(group);
}

void DeclareTraining(CLI::App& command, CreateSpec& s) {
  const auto group = "Training";
  auto number = [&](const char* flag, auto& value, const char* help) {
    return command.add_option(flag, value, help)->capture_default_str()->group(group);
  };
  number("--epochs", s.epochs, "passes over a device's data");
  number("--batch-size", s.batch_size, "examples of one step");
  number("--learning-rate", s.learning_rate, "of the devices");
  number("--server-learning-rate", s.server_learning_rate, "factor on the averaged update");
  number("--proximal-mu", s.proximal_mu, "FedProx; 0: plain FedAvg");
  number("--example-count-max", s.example_count_max, "a device weighs its examples, at most this many");
  number("--max-accuracy-drop", s.accuracy_drop_max, "a round that loses more on the holdout is rejected; in [0, 1]");
}

void DeclareSecureAggregation(CLI::App& command, CreateSpec& s) {
  const char* group = "Secure aggregation";
  auto number = [&](const char* flag, auto& value, const char* help) {
    return command.add_option(flag, value, help)->capture_default_str()->group(group);
  };
  number("--adversary", s.adversary, "active: the server may also tell devices different things; devices must be enrolled")
      ->check(CLI::IsMember({kSemiHonest, kActive}));
  number("--corrupt", s.corrupt, "the fraction of a cohort that may pool what it sees with the server")
      ->check(CLI::PositiveNumber);
  number("--dropout", s.dropout, "the fraction of a cohort that may drop out; 0: as --over-provision suggests");
  number("--mask-cipher", s.mask_cipher, "of the masks' key streams")->check(CLI::IsMember({kAes256, kAes128}));
  group = "Compression";
  number("--value-bits", s.value_bits, "fixed-point bits of a coordinate; 0: the most that a 32-bit element allows");
  number("--keep-fraction", s.keep_fraction, "of the coordinates, the same random ones for all devices of a round")
      ->check(CLI::PositiveNumber);
  command.add_flag("--rotate", s.rotate, "a random rotation first, for few value bits")->group(group);
}

void DeclarePrivacyAndTimes(CLI::App& command, CreateSpec& s) {
  const char* group = "Privacy";
  auto number = [&](const char* flag, auto& value, const char* help) {
    return command.add_option(flag, value, help)->capture_default_str()->group(group);
  };
  number("--clip-norm", s.clip_norm, "L2 bound of one device's update");
  number("--noise", s.noise, "noise multiplier of the Gaussian mechanism; 0: none");
  number("--delta", s.delta, "the delta at which epsilon is reported");
  number("--epsilon-max", s.epsilon_max, "rounds that would spend more are not started; 0: no limit");
  group = "Time";
  number("--selecting-timeout", s.selecting_s, "seconds");
  number("--training-timeout", s.training_s, "seconds");
  number("--collecting-timeout", s.collecting_s, "seconds");
  number("--unmasking-timeout", s.unmasking_s, "seconds");
  number("--failed-rounds-max", s.failed_rounds_max, "consecutive failures that end the task");
}

void AddCreate(CLI::App& task, Action& action) {
  auto s = std::make_shared<CreateSpec>();
  auto* command =
      AddCommand(task, action, "create", "start a federated task",
                 "  edgefleet task create --model fashion --rounds 10 --cohort 20 --watch\n"
                 "  edgefleet task create --model fashion:stable --rounds 50 --noise 0.8 --epsilon-max 8 --move-alias\n"
                 "  edgefleet task create --model fashion --adversary active --value-bits 8 --rotate\n",
                 &Create, s);
  command->add_option("--model", s->model, "NAME or NAME:ALIAS to start from (alias stable by default)")->required();
  command->add_option("--rounds", s->rounds, "rounds to commit")->capture_default_str();
  command->add_flag("--move-alias", s->move_alias, "point the alias at the final version at the end");
  command->add_option("--request-id", s->request_id, "makes the command repeatable: the same id starts one task only");
  command->add_flag("--watch", s->watch, "follow the task until it ends");
  DeclareSelection(*command, *s);
  DeclareTraining(*command, *s);
  DeclarePrivacyAndTimes(*command, *s);
  DeclareSecureAggregation(*command, *s);
}

void AddById(CLI::App& task, Action& action, const std::string& name, const std::string& help,
             Status (*run)(Context&, const IdSpec&)) {
  auto spec = std::make_shared<IdSpec>();
  auto* command = AddCommand(task, action, name, help, "  edgefleet task " + name + " TASK\n", run, spec);
  command->add_option("TASK", spec->task_id, "the task's id")->required();
}

}  // namespace

void AddTaskCommands(CLI::App& app, Action& action) {
  CLI::App* task = app.add_subcommand("task", "federated tasks and their rounds");
  task->require_subcommand(1);
  task->fallthrough();
  AddCreate(*task, action);
  auto list = std::make_shared<ListSpec>();
  auto* command = AddCommand(*task, action, "list", "all tasks, newest first", "  edgefleet task list\n", &List, list);
  command->add_option("--limit", list->limit, "at most this many")->capture_default_str();
  AddById(*task, action, "show", "one task", &Show);
  auto rounds = std::make_shared<ListSpec>();
  command = AddCommand(*task, action, "rounds", "the rounds of a task", "  edgefleet task rounds TASK\n", &Rounds, rounds);
  command->add_option("TASK", rounds->task_id, "the task's id")->required();
  command->add_option("--limit", rounds->limit, "at most this many")->capture_default_str();
  AddById(*task, action, "watch", "follow a task until it ends; exit code 0 if it is DONE then", &Watch);
  AddById(*task, action, "cancel", "end a task; its present round fails", &Cancel);
  auto transcript = std::make_shared<TranscriptSpec>();
  command = AddCommand(*task, action, "transcript", "download the signed transcript of an ended round",
                       "  edgefleet task transcript TASK-1 --out round.jsonl\n", &Transcript, transcript);
  command->add_option("ROUND", transcript->round_id, "the round's id, as 'task rounds --json' shows it")->required();
  command->add_option("--out", transcript->output, "the file to write")->required();
}

}  // namespace edgefleet::cli
