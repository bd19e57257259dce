#include "registry/store/sql_metadata_store.h"

#include <set>

#include "base/adapters/postgres/postgres.h"
#include "base/adapters/sqlite/sqlite.h"
#include "registry/store/codec.h"
#include "registry/store/schema.h"
#include "registry/store/stores.h"

namespace edgefleet::registry {
namespace {

using sql::Row;
using sql::Rows;
using sql::Transaction;

constexpr std::size_t kExpiredMax = 1000;
constexpr char kVersionColumns[] =
    "SELECT version, state, stage, refusal, variants, tags, lineage, inputs, parameter_count, layout_sha256, created_unix_ms "
    "FROM versions ";

std::string UserOf(const VersionKey& key) { return "version:" + key.model + "/" + std::to_string(key.version); }
std::string UserOf(const std::string& upload_id) { return "upload:" + upload_id; }

Status UseArtifact(Transaction& transaction, const Digest& sha256, const std::string& user) {
  return Run(transaction, "INSERT INTO artifact_uses (sha256, used_by) VALUES ($1, $2) ON CONFLICT DO NOTHING",
             {ByteView(sha256), user});
}

Result<Version> FromRow(const std::string& model, const Row& row, const std::vector<Alias>& aliases) {
  Version version;
  version.key = {model, row.Unsigned(0)};
  version.state = static_cast<VersionState>(row.Int(1));
  version.stage = row.Text(2);
  version.refusal = row.Text(3);
  EF_ASSIGN_OR_RETURN(version.variants, DecodeVariants(row.Text(4)));
  EF_ASSIGN_OR_RETURN(version.tags, DecodeTags(row.Text(5)));
  EF_ASSIGN_OR_RETURN(version.lineage, DecodeLineage(row.Text(6)));
  EF_ASSIGN_OR_RETURN(version.inputs, DecodeInputs(row.Text(7)));
  version.parameter_count = row.Unsigned(8);
  EF_ASSIGN_OR_RETURN(version.layout_sha256, DecodeDigest(row.Blob(9)));
  version.created_unix_ms = row.Int(10);
  for (const Alias& alias : aliases) {
    if (alias.version == version.key.version) version.aliases.push_back(alias.name);
  }
  return version;
}

Result<Model> ModelFromRow(Transaction& transaction, const Row& row) {
  Model model{.name = row.Text(0), .aliases = {}, .latest_version = row.Unsigned(1), .created_unix_ms = row.Int(2)};
  EF_ASSIGN_OR_RETURN(model.aliases, LoadAliases(transaction, model.name));
  return model;
}

Result<Model> LoadModel(Transaction& transaction, const std::string& name) {
  EF_ASSIGN_OR_RETURN(const Rows rows,
                      transaction.Execute("SELECT name, latest_version, created_unix_ms FROM models WHERE name = $1", {name}));
  if (rows.empty()) return NotFound("MODEL_UNKNOWN", "no model is named '" + name + "'; list the models to see what there is");
  return ModelFromRow(transaction, rows[0]);
}

Result<Session> LoadSession(Transaction& transaction, const std::string& upload_id) {
  EF_ASSIGN_OR_RETURN(
      const Rows rows,
      transaction.Execute("SELECT request, expires_unix_ms, committed_version FROM sessions WHERE upload_id = $1",
                          {upload_id}));
  if (rows.empty()) {
    return NotFound("UPLOAD_UNKNOWN", "no upload has the id '" + upload_id + "'; it may have expired: begin the publish again");
  }
  EF_ASSIGN_OR_RETURN(PublishRequest request, DecodePublish(rows[0].Text(0)));
  return Session{upload_id, std::move(request), rows[0].Int(1), rows[0].Unsigned(2)};
}

// The next version of a model, which is made when it is new.
Result<VersionKey> InsertVersion(Transaction& transaction, const NewVersion& version, std::int64_t now_unix_ms) {
  EF_RETURN_IF_ERROR(Run(transaction,
                         "INSERT INTO models (name, latest_version, created_unix_ms) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
                         {version.model, now_unix_ms}));
  EF_ASSIGN_OR_RETURN(const Rows rows,
                      transaction.Execute("UPDATE models SET latest_version = latest_version + 1 WHERE name = $1 "
                                          "RETURNING latest_version",
                                          {version.model}));
  const VersionKey key{version.model, rows.at(0).Unsigned(0)};
  EF_RETURN_IF_ERROR(Run(transaction,
                         "INSERT INTO versions (model, version, state, stage, refusal, variants, tags, lineage, inputs, "
                         "parameter_count, layout_sha256, report, created_unix_ms) "
                         "VALUES ($1, $2, $3, '', '', '[]', $4, $5, $6, 0, $7, '', $8)",
                         {key.model, key.version, static_cast<std::int64_t>(VersionState::kCompiling), EncodeTags(version.tags),
                          EncodeLineage(version.lineage), EncodeInputs(version.inputs), ByteView(Digest{}), now_unix_ms}));
  EF_RETURN_IF_ERROR(UseArtifact(transaction, version.inputs.onnx, UserOf(key)));
  for (const auto& input : {version.inputs.calibration, version.inputs.evaluation, version.inputs.parameters}) {
    if (input) EF_RETURN_IF_ERROR(UseArtifact(transaction, *input, UserOf(key)));
  }
  return key;
}

}  // namespace

Status Run(Transaction& transaction, std::string_view statement, std::initializer_list<sql::Value> parameters) {
  auto rows = transaction.Execute(statement, parameters);
  return rows ? OkStatus() : rows.error();
}

Result<std::optional<std::string>> FindRequest(Transaction& transaction, const RequestKey& request) {
  EF_ASSIGN_OR_RETURN(const Rows rows,
                      transaction.Execute("SELECT content_sha256, outcome FROM requests WHERE id = $1", {request.id}));
  if (rows.empty()) return std::optional<std::string>();
  if (rows[0].Blob(0) != ToBytes(request.content)) {
    return AlreadyExists("REQUEST_ID_REUSED", "request_id '" + request.id + "' was used for another change; use a new one");
  }
  return std::optional<std::string>(rows[0].Text(1));
}

Status RecordRequest(Transaction& transaction, const RequestKey& request, const std::string& outcome) {
  return Run(transaction, "INSERT INTO requests (id, content_sha256, outcome, created_unix_ms) VALUES ($1, $2, $3, $4)",
             {request.id, ByteView(request.content), outcome, request.now_unix_ms});
}

Result<Version> LoadVersion(Transaction& transaction, const VersionKey& key) {
  EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute(std::string(kVersionColumns) + "WHERE model = $1 AND version = $2",
                                                           {key.model, key.version}));
  if (rows.empty()) {
    EF_ASSIGN_OR_RETURN(const Model model, LoadModel(transaction, key.model));
    return NotFound("VERSION_UNKNOWN", "model '" + key.model + "' has no version " + std::to_string(key.version) +
                                           "; the latest is " + std::to_string(model.latest_version));
  }
  EF_ASSIGN_OR_RETURN(const auto aliases, LoadAliases(transaction, key.model));
  return FromRow(key.model, rows[0], aliases);
}

Result<Session> SqlMetadataStore::BeginSession(const RequestKey& request, const Session& session, std::size_t open_max) {
  return Transact<Session>([&](Transaction& transaction) -> Result<Session> {
    EF_ASSIGN_OR_RETURN(const auto before, FindRequest(transaction, request));
    if (before) return LoadSession(transaction, *before);
    EF_ASSIGN_OR_RETURN(const Rows open, transaction.Execute("SELECT COUNT(*) FROM sessions WHERE committed_version = 0"));
    if (open.at(0).Unsigned(0) >= open_max) {
      return std::move(ResourceExhausted("TOO_MANY_UPLOADS", "too many uploads are open; commit one or let it expire"))
          .RetryAfter(std::chrono::minutes(1));
    }
    EF_RETURN_IF_ERROR(
        Run(transaction, "INSERT INTO sessions (upload_id, request, expires_unix_ms, committed_version) VALUES ($1, $2, $3, 0)",
            {session.upload_id, EncodePublish(session.request), session.expires_unix_ms}));
    for (const ArtifactSpec& artifact : session.request.artifacts) {
      EF_RETURN_IF_ERROR(UseArtifact(transaction, artifact.sha256, UserOf(session.upload_id)));
    }
    EF_RETURN_IF_ERROR(RecordRequest(transaction, request, session.upload_id));
    return session;
  });
}

Result<Session> SqlMetadataStore::GetSession(const std::string& upload_id) {
  return Transact<Session>([&](Transaction& transaction) { return LoadSession(transaction, upload_id); });
}

Result<Version> SqlMetadataStore::CommitSession(const RequestKey& request, const std::string& upload_id,
                                                const NewVersion& version) {
  return Transact<Version>([&](Transaction& transaction) -> Result<Version> {
    EF_ASSIGN_OR_RETURN(const auto before, FindRequest(transaction, request));
    if (before) return LoadVersion(transaction, {version.model, std::stoull(*before)});
    EF_ASSIGN_OR_RETURN(const Session session, LoadSession(transaction, upload_id));
    VersionKey key{version.model, session.committed_version};
    if (session.committed_version == 0) {
      if (version.lineage.parent_version != 0) {
        auto parent = LoadVersion(transaction, {version.model, version.lineage.parent_version});
        if (!parent) return parent;
      }
      EF_ASSIGN_OR_RETURN(key, InsertVersion(transaction, version, request.now_unix_ms));
      EF_RETURN_IF_ERROR(
          Run(transaction, "UPDATE sessions SET committed_version = $1 WHERE upload_id = $2", {key.version, upload_id}));
    }
    EF_RETURN_IF_ERROR(RecordRequest(transaction, request, std::to_string(key.version)));
    return LoadVersion(transaction, key);
  });
}

Result<std::vector<std::string>> SqlMetadataStore::Expire(std::int64_t now_unix_ms) {
  return Transact<std::vector<std::string>>([&](Transaction& transaction) -> Result<std::vector<std::string>> {
    EF_RETURN_IF_ERROR(Run(transaction, "DELETE FROM requests WHERE created_unix_ms < $1", {now_unix_ms - kRequestLifetimeMs}));
    EF_ASSIGN_OR_RETURN(const Rows rows,
                        transaction.Execute("SELECT upload_id FROM sessions WHERE expires_unix_ms < $1 LIMIT $2",
                                            {now_unix_ms, std::uint64_t{kExpiredMax}}));
    std::vector<std::string> expired;
    for (const Row& row : rows) {
      expired.push_back(row.Text(0));
      EF_RETURN_IF_ERROR(Run(transaction, "DELETE FROM artifact_uses WHERE used_by = $1", {UserOf(expired.back())}));
      EF_RETURN_IF_ERROR(Run(transaction, "DELETE FROM sessions WHERE upload_id = $1", {expired.back()}));
    }
    return expired;
  });
}

Result<std::optional<Version>> SqlMetadataStore::FindAdded(const RequestKey& request) {
  return Transact<std::optional<Version>>([&](Transaction& transaction) -> Result<std::optional<Version>> {
    EF_ASSIGN_OR_RETURN(const auto before, FindRequest(transaction, request));
    if (!before) return std::optional<Version>();
    const std::size_t slash = before->find('/');
    EF_ASSIGN_OR_RETURN(Version version,
                        LoadVersion(transaction, {before->substr(0, slash), std::stoull(before->substr(slash + 1))}));
    return std::optional<Version>(std::move(version));
  });
}

Result<Version> SqlMetadataStore::AddVersion(const RequestKey& request, const NewVersion& version) {
  return Transact<Version>([&](Transaction& transaction) -> Result<Version> {
    EF_ASSIGN_OR_RETURN(const auto before, FindRequest(transaction, request));
    if (before) return LoadVersion(transaction, {version.model, std::stoull(before->substr(before->find('/') + 1))});
    EF_ASSIGN_OR_RETURN(const Model model, LoadModel(transaction, version.model));
    EF_ASSIGN_OR_RETURN(const VersionKey key, InsertVersion(transaction, version, request.now_unix_ms));
    EF_RETURN_IF_ERROR(RecordRequest(transaction, request, key.model + "/" + std::to_string(key.version)));
    return LoadVersion(transaction, key);
  });
}

Result<Version> SqlMetadataStore::GetVersion(const VersionKey& key) {
  return Transact<Version>([&](Transaction& transaction) { return LoadVersion(transaction, key); });
}

Status SqlMetadataStore::SetStage(const VersionKey& key, const std::string& stage) {
  return database_->Transact([&](Transaction& transaction) {
    return Run(transaction, "UPDATE versions SET stage = $1 WHERE model = $2 AND version = $3 AND state = 1",
               {stage, key.model, key.version});
  });
}

Status SqlMetadataStore::Finish(const VersionKey& key, const Outcome& outcome) {
  return database_->Transact([&](Transaction& transaction) -> Status {
    EF_ASSIGN_OR_RETURN(const Version version, LoadVersion(transaction, key));
    if (version.state != VersionState::kCompiling) return OkStatus();
    EF_RETURN_IF_ERROR(
        Run(transaction,
            "UPDATE versions SET state = $1, stage = '', refusal = $2, variants = $3, parameter_count = $4, "
            "layout_sha256 = $5, report = $6 WHERE model = $7 AND version = $8",
            {static_cast<std::int64_t>(outcome.state), outcome.refusal, EncodeVariants(outcome.variants),
             outcome.parameter_count, ByteView(outcome.layout_sha256), outcome.report_json, key.model, key.version}));
    for (const Variant& variant : outcome.variants) {
      EF_RETURN_IF_ERROR(UseArtifact(transaction, variant.sha256, UserOf(key)));
    }
    return OkStatus();
  });
}

Result<std::vector<VersionKey>> SqlMetadataStore::ListCompiling(std::size_t limit) {
  return Transact<std::vector<VersionKey>>([&](Transaction& transaction) -> Result<std::vector<VersionKey>> {
    EF_ASSIGN_OR_RETURN(
        const Rows rows,
        transaction.Execute(
            "SELECT model, version FROM versions WHERE state = 1 ORDER BY created_unix_ms, model, version LIMIT $1",
            {std::uint64_t{limit}}));
    std::vector<VersionKey> keys;
    for (const Row& row : rows) keys.push_back({row.Text(0), row.Unsigned(1)});
    return keys;
  });
}

Result<std::vector<Version>> SqlMetadataStore::ListVersions(const std::string& model, std::uint64_t below, std::size_t limit) {
  return Transact<std::vector<Version>>([&](Transaction& transaction) -> Result<std::vector<Version>> {
    EF_ASSIGN_OR_RETURN(const Model found, LoadModel(transaction, model));
    const std::uint64_t bound = below == 0 ? found.latest_version + 1 : below;
    EF_ASSIGN_OR_RETURN(
        const Rows rows,
        transaction.Execute(std::string(kVersionColumns) + "WHERE model = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
                            {model, bound, std::uint64_t{limit}}));
    std::vector<Version> versions;
    for (const Row& row : rows) {
      EF_ASSIGN_OR_RETURN(Version version, FromRow(model, row, found.aliases));
      versions.push_back(std::move(version));
    }
    return versions;
  });
}

Result<std::string> SqlMetadataStore::GetReport(const VersionKey& key) {
  return Transact<std::string>([&](Transaction& transaction) -> Result<std::string> {
    EF_ASSIGN_OR_RETURN(const Version version, LoadVersion(transaction, key));
    EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute("SELECT report FROM versions WHERE model = $1 AND version = $2",
                                                             {key.model, key.version}));
    if (!rows.at(0).Text(0).empty()) return rows[0].Text(0);
    return NotFound("REPORT_MISSING", version.state == VersionState::kCompiling
                                          ? "the version is still being compiled; watch it"
                                          : "the version was refused before there was anything to report: " + version.refusal);
  });
}

Result<Version> SqlMetadataStore::SetTags(const RequestKey& request, const VersionKey& key, const Tags& tags) {
  return Transact<Version>([&](Transaction& transaction) -> Result<Version> {
    EF_ASSIGN_OR_RETURN(const auto before, FindRequest(transaction, request));
    EF_ASSIGN_OR_RETURN(Version version, LoadVersion(transaction, key));
    if (before) return version;
    EF_RETURN_IF_ERROR(Run(transaction, "UPDATE versions SET tags = $1 WHERE model = $2 AND version = $3",
                           {EncodeTags(tags), key.model, key.version}));
    EF_RETURN_IF_ERROR(RecordRequest(transaction, request, ""));
    version.tags = tags;
    return version;
  });
}

Result<Model> SqlMetadataStore::GetModel(const std::string& model) {
  return Transact<Model>([&](Transaction& transaction) { return LoadModel(transaction, model); });
}

Result<std::vector<Model>> SqlMetadataStore::ListModels(const std::string& after, std::size_t limit) {
  return Transact<std::vector<Model>>([&](Transaction& transaction) -> Result<std::vector<Model>> {
    EF_ASSIGN_OR_RETURN(const Rows rows, transaction.Execute("SELECT name, latest_version, created_unix_ms FROM models "
                                                             "WHERE name > $1 ORDER BY name LIMIT $2",
                                                             {after, std::uint64_t{limit}}));
    std::vector<Model> models;
    for (const Row& row : rows) {
      EF_ASSIGN_OR_RETURN(Model model, ModelFromRow(transaction, row));
      models.push_back(std::move(model));
    }
    return models;
  });
}

Result<bool> SqlMetadataStore::IsArtifactUsed(const Digest& sha256) {
  return Transact<bool>([&](Transaction& transaction) -> Result<bool> {
    EF_ASSIGN_OR_RETURN(const Rows rows,
                        transaction.Execute("SELECT used_by FROM artifact_uses WHERE sha256 = $1 LIMIT 1", {ByteView(sha256)}));
    return !rows.empty();
  });
}

namespace {

Result<std::unique_ptr<MetadataStore>> Migrated(Result<std::unique_ptr<sql::Database>> database) {
  if (!database) return MakeError(std::move(database).error());
  EF_RETURN_IF_ERROR(sql::Migrate(**database, kMigrations));
  return std::make_unique<SqlMetadataStore>(std::move(*database));
}

}  // namespace

Result<std::unique_ptr<MetadataStore>> OpenSqliteStore(const std::filesystem::path& file) {
  return Migrated(sqlite::Open(file));
}

Result<std::unique_ptr<MetadataStore>> OpenPostgresStore(const std::string& url) {
  return Migrated(postgres::Open({.url = url, .schema = "registry"}));
}

}  // namespace edgefleet::registry
