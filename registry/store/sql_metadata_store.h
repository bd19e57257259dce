// MetadataStore over the SQL port. Aliases are in sql_aliases.cc, the rest in sql_metadata_store.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/sql/sql.h"
#include "registry/metadata_store.h"

namespace edgefleet::registry {

class SqlMetadataStore final : public MetadataStore {
 public:
  // The database has been migrated to kMigrations.
  explicit SqlMetadataStore(std::unique_ptr<sql::Database> database) : database_(std::move(database)) {}

  Result<Session> BeginSession(const RequestKey& request, const Session& session, std::size_t open_max) override;
  Result<Session> GetSession(const std::string& upload_id) override;
  Result<Version> CommitSession(const RequestKey& request, const std::string& upload_id, const NewVersion& version) override;
  Result<std::vector<std::string>> Expire(std::int64_t now_unix_ms) override;
  Result<std::optional<Version>> FindAdded(const RequestKey& request) override;
  Result<Version> AddVersion(const RequestKey& request, const NewVersion& version) override;
  Result<Version> GetVersion(const VersionKey& key) override;
  Status SetStage(const VersionKey& key, const std::string& stage) override;
  Status Finish(const VersionKey& key, const Outcome& outcome) override;
  Result<std::vector<VersionKey>> ListCompiling(std::size_t limit) override;
  Result<std::vector<Version>> ListVersions(const std::string& model, std::uint64_t below, std::size_t limit) override;
  Result<std::string> GetReport(const VersionKey& key) override;
  Result<Version> SetTags(const RequestKey& request, const VersionKey& key, const Tags& tags) override;
  Result<Model> GetModel(const std::string& model) override;
  Result<std::vector<Model>> ListModels(const std::string& after, std::size_t limit) override;
  Result<bool> IsArtifactUsed(const Digest& sha256) override;

  Status MoveAlias(const RequestKey& request, const AliasKey& key, std::uint64_t version) override;
  Result<Alias> GetAlias(const AliasKey& key) override;
  Result<std::vector<std::uint64_t>> FormerTargets(const AliasKey& key, std::size_t limit) override;
  Status MarkPublished(const AliasKey& key, std::uint64_t sequence) override;
  Status RenewAlias(const AliasKey& key, std::uint64_t sequence, std::int64_t now_unix_ms) override;
  Result<std::vector<AliasKey>> ListUnpublished(std::size_t limit) override;
  Result<std::vector<AliasKey>> ListSignedBefore(std::int64_t unix_ms, std::size_t limit) override;

 private:
  // `work` is Result<T>(sql::Transaction&).
  template <typename T, typename Work>
  Result<T> Transact(Work work) {
    Result<T> result = tl::unexpected<Status>(Status());
    Status status = database_->Transact([&](sql::Transaction& transaction) -> Status {
      result = work(transaction);
      return result ? OkStatus() : result.error();
    });
    if (!status.ok()) return MakeError(std::move(status));
    return result;
  }

  const std::unique_ptr<sql::Database> database_;
};

// The recorded outcome of a request, if it was made before. ALREADY_EXISTS [REQUEST_ID_REUSED] when it asked for something
// else.
Result<std::optional<std::string>> FindRequest(sql::Transaction& transaction, const RequestKey& request);
Status RecordRequest(sql::Transaction& transaction, const RequestKey& request, const std::string& outcome);

// NOT_FOUND [MODEL_UNKNOWN, VERSION_UNKNOWN].
Result<Version> LoadVersion(sql::Transaction& transaction, const VersionKey& key);
Result<std::vector<Alias>> LoadAliases(sql::Transaction& transaction, const std::string& model);

// Status of a statement whose rows do not matter.
Status Run(sql::Transaction& transaction, std::string_view statement, std::initializer_list<sql::Value> parameters);

}  // namespace edgefleet::registry
