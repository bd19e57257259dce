// The registry's tables, step by step. `state`: 1 compiling, 2 ready, 3 refused.
#pragma once

#include "base/sql/sql.h"

namespace edgefleet::registry {

inline constexpr sql::Migration kMigrations[] = {
    {"models, versions, aliases, uploads", R"sql(
CREATE TABLE models (
  name TEXT PRIMARY KEY,
  latest_version BIGINT NOT NULL,
  created_unix_ms BIGINT NOT NULL);
CREATE TABLE versions (
  model TEXT NOT NULL REFERENCES models (name),
  version BIGINT NOT NULL,
  state BIGINT NOT NULL,
  stage TEXT NOT NULL,
  refusal TEXT NOT NULL,
  variants TEXT NOT NULL,
  tags TEXT NOT NULL,
  lineage TEXT NOT NULL,
  inputs TEXT NOT NULL,
  parameter_count BIGINT NOT NULL,
  layout_sha256 BYTEA NOT NULL,
  report TEXT NOT NULL,
  created_unix_ms BIGINT NOT NULL,
  PRIMARY KEY (model, version));
CREATE INDEX versions_compiling ON versions (created_unix_ms) WHERE state = 1;
CREATE TABLE aliases (
  model TEXT NOT NULL,
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  sequence BIGINT NOT NULL,
  published_sequence BIGINT NOT NULL,
  signed_unix_ms BIGINT NOT NULL,
  PRIMARY KEY (model, name),
  FOREIGN KEY (model, version) REFERENCES versions (model, version));
CREATE TABLE alias_moves (
  model TEXT NOT NULL,
  alias TEXT NOT NULL,
  sequence BIGINT NOT NULL,
  version BIGINT NOT NULL,
  PRIMARY KEY (model, alias, sequence));
CREATE TABLE sessions (
  upload_id TEXT PRIMARY KEY,
  request TEXT NOT NULL,
  expires_unix_ms BIGINT NOT NULL,
  committed_version BIGINT NOT NULL);
CREATE TABLE artifact_uses (
  sha256 BYTEA NOT NULL,
  used_by TEXT NOT NULL,
  PRIMARY KEY (sha256, used_by));
CREATE INDEX artifact_uses_by ON artifact_uses (used_by);
CREATE TABLE requests (
  id TEXT PRIMARY KEY,
  content_sha256 BYTEA NOT NULL,
  outcome TEXT NOT NULL,
  created_unix_ms BIGINT NOT NULL);
)sql"},
};

}  // namespace edgefleet::registry
