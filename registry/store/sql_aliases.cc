#include <set>

#include "registry/limits.h"
#include "registry/store/sql_metadata_store.h"

namespace edgefleet::registry {
namespace {

using sql::Row;
using sql::Rows;
using sql::Transaction;

constexpr char kAliasColumns[] = "SELECT name, version, sequence, published_sequence, signed_unix_ms FROM aliases ";
// An alias that moves back and forth between a few versions has many moves; looking at the last ones is enough.
constexpr std::uint64_t kMovesLookedAtMax = 256;

Alias FromRow(const Row& row) { return {row.Text(0), row.Unsigned(1), row.Unsigned(2), row.Unsigned(3), row.Int(4)}; }

Result<std::optional<Alias>> FindAlias(Transaction& transaction, const AliasKey& key) {
  EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute(std::string(kAliasColumns) + "WHERE model = $1 AND name = $2",
                                                           {key.model, key.alias}));
  return rows.empty() ? std::optional<Alias>() : FromRow(rows[0]);
}

Status CheckRoomForAlias(Transaction& transaction, const std::string& model) {
  EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute("SELECT COUNT(*) FROM aliases WHERE model = $1", {model}));
  if (rows.at(0).Unsigned(0) < kAliasesMax) return OkStatus();
  return ResourceExhausted("TOO_MANY_ALIASES", "model '" + model + "' has " + std::to_string(kAliasesMax) +
                                                   " aliases already; move one of them instead");
}

Status WriteAlias(Transaction& transaction, const AliasKey& key, const Alias& alias) {
  EF_RETURN_IF_ERROR(
      Run(transaction,
          "INSERT INTO aliases (model, name, version, sequence, published_sequence, signed_unix_ms) VALUES ($1, $2, $3, $4, "
          "$5, $6) "
          "ON CONFLICT (model, name) DO UPDATE SET version = $3, sequence = $4, published_sequence = $5, signed_unix_ms = $6",
          {key.model, key.alias, alias.version, alias.sequence, alias.published_sequence, alias.signed_unix_ms}));
  return Run(transaction, "INSERT INTO alias_moves (model, alias, sequence, version) VALUES ($1, $2, $3, $4)",
             {key.model, key.alias, alias.sequence, alias.version});
}

std::vector<AliasKey> KeysOf(const Rows& rows) {
  std::vector<AliasKey> keys;
  for (const Row& row : rows) keys.push_back({row.Text(0), row.Text(1)});
  return keys;
}

}  // namespace

Result<std::vector<Alias>> LoadAliases(Transaction& transaction, const std::string& model) {
  EF_ASSIGN_OR_RETURN(const Rows rows,
                      transaction.Execute(std::string(kAliasColumns) + "WHERE model = $1 ORDER BY name", {model}));
  std::vector<Alias> aliases;
  for (const Row& row : rows) aliases.push_back(FromRow(row));
  return aliases;
}

Status SqlMetadataStore::MoveAlias(const RequestKey& request, const AliasKey& key, std::uint64_t version) {
  return database_->Transact([&](Transaction& transaction) -> Status {
    EF_ASSIGN_OR_RETURN(const auto before, FindRequest(transaction, request));
    if (before) return OkStatus();
    EF_ASSIGN_OR_RETURN(const Version target, LoadVersion(transaction, {key.model, version}));
    if (target.state != VersionState::kReady) {
      return FailedPrecondition("VERSION_NOT_READY", "version " + std::to_string(version) + " of '" + key.model +
                                                         (target.state == VersionState::kCompiling
                                                              ? "' is still being compiled; watch it and try again"
                                                              : "' was refused and is never distributed"));
    }
    EF_ASSIGN_OR_RETURN(const std::optional<Alias> alias, FindAlias(transaction, key));
    if (!alias) EF_RETURN_IF_ERROR(CheckRoomForAlias(transaction, key.model));
    Alias moved = alias.value_or(Alias{.name = key.alias});
    moved.version = version;
    ++moved.sequence;
    moved.signed_unix_ms = request.now_unix_ms;
    EF_RETURN_IF_ERROR(WriteAlias(transaction, key, moved));
    return RecordRequest(transaction, request, std::to_string(moved.sequence));
  });
}

Result<Alias> SqlMetadataStore::GetAlias(const AliasKey& key) {
  return Transact<Alias>([&](Transaction& transaction) -> Result<Alias> {
    EF_ASSIGN_OR_RETURN(std::optional<Alias> alias, FindAlias(transaction, key));
    if (alias) return std::move(*alias);
    return NotFound("ALIAS_UNKNOWN", "model '" + key.model + "' has no alias '" + key.alias + "'; set it first");
  });
}

Result<std::vector<std::uint64_t>> SqlMetadataStore::FormerTargets(const AliasKey& key, std::size_t limit) {
  return Transact<std::vector<std::uint64_t>>([&](Transaction& transaction) -> Result<std::vector<std::uint64_t>> {
    EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute("SELECT version FROM alias_moves WHERE model = $1 AND alias = $2 "
                                                             "ORDER BY sequence DESC LIMIT $3",
                                                             {key.model, key.alias, kMovesLookedAtMax}));
    std::vector<std::uint64_t> former;
    std::set<std::uint64_t> seen;
    if (!rows.empty()) seen.insert(rows[0].Unsigned(0));  // the present target
    for (const Row& row : rows) {
      if (former.size() < limit && seen.insert(row.Unsigned(0)).second) former.push_back(row.Unsigned(0));
    }
    return former;
  });
}

Status SqlMetadataStore::MarkPublished(const AliasKey& key, std::uint64_t sequence) {
  return database_->Transact([&](Transaction& transaction) {
    return Run(transaction,
               "UPDATE aliases SET published_sequence = $1 WHERE model = $2 AND name = $3 AND published_sequence < $1",
               {sequence, key.model, key.alias});
  });
}

Status SqlMetadataStore::RenewAlias(const AliasKey& key, std::uint64_t sequence, std::int64_t now_unix_ms) {
  return database_->Transact([&](Transaction& transaction) -> Status {
    EF_ASSIGN_OR_RETURN(const std::optional<Alias> alias, FindAlias(transaction, key));
    if (!alias || alias->sequence != sequence) return OkStatus();
    Alias renewed = *alias;
    ++renewed.sequence;
    renewed.signed_unix_ms = now_unix_ms;
    return WriteAlias(transaction, key, renewed);
  });
}

Result<std::vector<AliasKey>> SqlMetadataStore::ListUnpublished(std::size_t limit) {
  return Transact<std::vector<AliasKey>>([&](Transaction& transaction) -> Result<std::vector<AliasKey>> {
    EF_ASSIGN_OR_RETURN(const Rows rows,
                        transaction.Execute("SELECT model, name FROM aliases WHERE published_sequence < sequence "
                                            "ORDER BY model, name LIMIT $1",
                                            {std::uint64_t{limit}}));
    return KeysOf(rows);
  });
}

Result<std::vector<AliasKey>> SqlMetadataStore::ListSignedBefore(std::int64_t unix_ms, std::size_t limit) {
  return Transact<std::vector<AliasKey>>([&](Transaction& transaction) -> Result<std::vector<AliasKey>> {
    EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute("SELECT model, name FROM aliases WHERE signed_unix_ms < $1 "
                                                             "ORDER BY signed_unix_ms LIMIT $2",
                                                             {unix_ms, std::uint64_t{limit}}));
    return KeysOf(rows);
  });
}

}  // namespace edgefleet::registry
