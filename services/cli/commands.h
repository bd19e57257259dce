// The nouns of the command. Each Add function declares its subcommands; the one that the user names becomes `app.action`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "services/cli/client.h"
#include "services/cli/output.h"

namespace edgefleet::cli {

struct Context {
  Client& client;
  const Output& out;
};

using Action = std::function<Status(Context&)>;

// Declares `name` below `parent`; its options live in a Spec that the action reads.
template <typename Spec>
CLI::App* AddCommand(CLI::App& parent, Action& action, const std::string& name, const std::string& help,
                     const std::string& examples, Status (*run)(Context&, const Spec&), std::shared_ptr<Spec> spec) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->footer("\nExamples:\n" + examples);
  command->fallthrough();
  command->callback([&action, run, spec] { action = [run, spec](Context& context) { return run(context, *spec); }; });
  return command;
}

void AddModelCommands(CLI::App& app, Action& action);
void AddPublishCommand(CLI::App& model, Action& action);
void AddModelFileCommands(CLI::App& model, Action& action);  // fetch, eval
void AddModelCompileCommand(CLI::App& model, Action& action);
void AddModelInspectCommand(CLI::App& model, Action& action);
void AddModelRunCommand(CLI::App& model, Action& action);
void AddModelBenchCommand(CLI::App& model, Action& action);
void AddTaskCommands(CLI::App& app, Action& action);
void AddTaskCreate(CLI::App& task, Action& action);
void AddDeviceCommands(CLI::App& app, Action& action);
void AddSecaggCommands(CLI::App& app, Action& action);
void AddPrivacyCommands(CLI::App& app, Action& action);
void AddPrivacyLedgerCommands(CLI::App& privacy, Action& action);

// "NAME", "NAME@3" or "NAME:stable".
struct ModelRef {
  std::string model;
  std::uint64_t version = 0;
  std::string alias;
};
// INVALID_ARGUMENT [BAD_USAGE].
Result<ModelRef> ParseModelRef(const std::string& text);
// "KEY=VALUE" texts. INVALID_ARGUMENT [BAD_USAGE].
Result<std::vector<std::pair<std::string, std::string>>> ParseTags(const std::vector<std::string>& texts);

void PrintVersion(const Output& out, const registry::v1::Version& version);

void PrintTask(const Output& out, const rounds::v1::Task& task);
// "semi-honest", "active".
std::string AdversaryText(selection::v1::Adversary adversary);
Row RoundHeaders();
Row RoundRow(const rounds::v1::Round& round);
// Oldest first, all pages up to `limit`.
Result<std::vector<rounds::v1::Round>> ListRounds(Context& context, const std::string& task_id, std::size_t limit);
// Follows a task until it has ended: rows of ended rounds on stdout, the present round's progress on stderr.
Status WatchTask(Context& context, const std::string& task_id);

}  // namespace edgefleet::cli
