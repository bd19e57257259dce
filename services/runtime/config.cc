#include "services/runtime/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "services/runtime/address.h"

namespace edgefleet::services {
namespace {

constexpr std::uint64_t kConfigBytesMax = 1 << 20;

using Paths = std::vector<std::filesystem::path>;
using Target = std::variant<std::string*, std::filesystem::path*, Paths*, std::uint32_t*, std::int64_t*, double*>;

struct Field {
  std::string_view key;
  Target target;
  double min = 0;  // of numbers
  double max = 0;
  bool secret = false;  // a URL that may hold a password
};
struct Section {
  std::string_view name;  // empty: the top level
  std::vector<Field> fields;
};

constexpr double kDayMs = 24 * 3600 * 1e3;

// Every key there is. Loading, range checks and printing all walk this table.
std::vector<Section> Describe(Config& c) {
  return {
      {"",
       {{"role", &c.role},
        {"data_dir", &c.data_dir},
        {"port_file", &c.port_file},
        {.key = "postgres_url", .target = &c.postgres_url, .secret = true},
        {.key = "redis_url", .target = &c.redis_url, .secret = true}}},
      {"listen",
       {{"grpc", &c.listen.grpc},
        {"http", &c.listen.http},
        {"metrics", &c.listen.metrics},
        {"advertise", &c.listen.advertise},
        {"advertise_http", &c.listen.advertise_http}}},
      {"peers",
       {{"registry", &c.peers.registry},
        {"origin", &c.peers.origin},
        {"selector", &c.peers.selector},
        {"aggregator", &c.peers.aggregator}}},
      {"registry",
       {{"signing_key_file", &c.registry.signing_key_file},
        {"manifest_lifetime_s", &c.registry.manifest_lifetime_s, 60, 10.0 * 365 * 24 * 3600},
        {"compile_threads", &c.registry.compile_threads, 1, 256},
        {"upload_sessions_max", &c.registry.upload_sessions_max, 1, 100'000},
        {"upload_session_lifetime_s", &c.registry.upload_session_lifetime_s, 60, 30.0 * 24 * 3600}}},
      {"origin",
       {{"http_threads", &c.origin.http_threads, 1, 64}, {"connections_max", &c.origin.connections_max, 1, 1'000'000}}},
      {"selector",
       {{"presence_lifetime_ms", &c.selector.presence_lifetime_ms, 100, kDayMs},
        {"idle_retry_ms", &c.selector.idle_retry_ms, 10, kDayMs},
        {"waiting_retry_ms", &c.selector.waiting_retry_ms, 10, kDayMs},
        {"retry_jitter", &c.selector.retry_jitter, 0, 0.99},
        {"devices_max", &c.selector.devices_max, 1, 100'000'000}}},
      {"aggregator",
       {{"worker_threads", &c.aggregator.worker_threads, 1, 256},
        {"rounds_active_max", &c.aggregator.rounds_active_max, 1, 10'000},
        {"lease_ms", &c.aggregator.lease_ms, 100, kDayMs},
        {"enrolment_keys", &c.aggregator.enrolment_keys},
        {"transcript_key", &c.aggregator.transcript_key},
        {"transcripts_bytes_max", &c.aggregator.transcripts_bytes_max, 1 << 20, 1e15}}},
      {"server",
       {{"handler_threads", &c.server.handler_threads, 1, 1024},
        {"handler_queue_max", &c.server.handler_queue_max, 1, 1'000'000},
        {"readiness_spread_ms", &c.server.readiness_spread_ms, 0, 600'000},
        {"shutdown_grace_ms", &c.server.shutdown_grace_ms, 0, 600'000}}},
      {"log", {{"level", &c.log.level}}},
  };
}

std::string FullKey(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : std::string(section) + "." + std::string(key);
}

Error Bad(const std::string& message) { return InvalidArgument("BAD_CONFIG", message); }
Error BadAt(const YAML::Node& node, const std::string& message) {
  return Bad("line " + std::to_string(node.Mark().line + 1) + ": " + message);
}

// Levenshtein distance, one row at a time.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({substituted, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row.back();
}

Error UnknownKey(const YAML::Node& key_node, std::string_view section, const std::vector<std::string_view>& known) {
  const std::string key = key_node.Scalar().substr(0, 64);
  const auto nearest =
      std::min_element(known.begin(), known.end(), [&](auto a, auto b) { return EditDistance(key, a) < EditDistance(key, b); });
  std::string message = "unknown key '" + FullKey(section, key) + "'";
  if (nearest != known.end()) message += "; the nearest known key is '" + FullKey(section, *nearest) + "'";
  return BadAt(key_node, message);
}

std::string NumberText(double value) {
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general);
  return {buffer, end.ptr};
}

template <typename T>
bool ParseNumber(const std::string& text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

struct Assign {
  const std::string& text;
  // What was expected, or nullptr when the value fits the type.
  const char* operator()(std::string* out) const { return *out = text, nullptr; }
  const char* operator()(std::filesystem::path* out) const { return *out = text, nullptr; }
  const char* operator()(Paths* out) const { return out->emplace_back(text), nullptr; }  // one more
  const char* operator()(std::uint32_t* out) const { return ParseNumber(text, *out) ? nullptr : "a whole number"; }
  const char* operator()(std::int64_t* out) const { return ParseNumber(text, *out) ? nullptr : "a whole number"; }
  const char* operator()(double* out) const { return ParseNumber(text, *out) ? nullptr : "a number"; }
};

struct AsNumber {
  template <typename T>
  double operator()(T* value) const {
    if constexpr (std::is_arithmetic_v<T>) return static_cast<double>(*value);
    return 0;
  }
};

Status CheckRange(std::string_view section, const Field& field) {
  if (field.min == field.max) return OkStatus();
  const double value = std::visit(AsNumber{}, field.target);
  if (value >= field.min && value <= field.max) return OkStatus();
  return Bad(FullKey(section, field.key) + " is " + NumberText(value) + "; it must be from " + NumberText(field.min) + " to " +
             NumberText(field.max));
}

Status LoadValue(const YAML::Node& value, std::string_view section, const Field& field) {
  const std::string key = FullKey(section, field.key);
  if (!value.IsScalar()) return BadAt(value, key + " must be a single value");
  const std::string& text = value.Scalar();
  if (text.find('\0') != std::string::npos) return BadAt(value, key + " must not hold a zero byte");
  if (const char* expected = std::visit(Assign{text}, field.target)) {
    return BadAt(value, key + " must be " + expected + ", not '" + text.substr(0, 64) + "'");
  }
  Status range = CheckRange(section, field);
  if (!range.ok()) return BadAt(value, range.message());
  return OkStatus();
}

Status LoadField(const YAML::Node& value, std::string_view section, const Field& field) {
  if (!std::holds_alternative<Paths*>(field.target)) return LoadValue(value, section, field);
  if (!value.IsSequence()) return BadAt(value, FullKey(section, field.key) + " must be a list, such as [a, b]");
  for (const auto& element : value) EF_RETURN_IF_ERROR(LoadValue(element, section, field));
  return OkStatus();
}

Status RequireFreshKey(const YAML::Node& key, std::string_view section, std::set<std::string>& seen) {
  if (!key.IsScalar()) return BadAt(key, "keys must be plain names");
  if (!seen.insert(key.Scalar()).second) return BadAt(key, "key '" + FullKey(section, key.Scalar()) + "' stands here twice");
  return OkStatus();
}

Status LoadSection(const YAML::Node& node, const Section& section) {
  if (node.IsNull()) return OkStatus();
  if (!node.IsMap()) return BadAt(node, "'" + std::string(section.name) + "' must be a section with keys below it");
  std::set<std::string> seen;
  for (const auto& entry : node) {
    EF_RETURN_IF_ERROR(RequireFreshKey(entry.first, section.name, seen));
    const auto field = std::find_if(section.fields.begin(), section.fields.end(),
                                    [&](const Field& f) { return f.key == entry.first.Scalar(); });
    if (field == section.fields.end()) {
      std::vector<std::string_view> known;
      for (const Field& f : section.fields) known.push_back(f.key);
      return UnknownKey(entry.first, section.name, known);
    }
    EF_RETURN_IF_ERROR(LoadField(entry.second, section.name, *field));
  }
  return OkStatus();
}

Status LoadDocument(const YAML::Node& root, const std::vector<Section>& sections) {
  if (root.IsNull()) return OkStatus();
  if (!root.IsMap()) return BadAt(root, "the file must hold keys and values, such as 'role: all'");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    EF_RETURN_IF_ERROR(RequireFreshKey(entry.first, "", seen));
    const std::string& key = entry.first.Scalar();
    const auto section = std::find_if(sections.begin() + 1, sections.end(), [&](const Section& s) { return s.name == key; });
    if (section != sections.end()) {
      EF_RETURN_IF_ERROR(LoadSection(entry.second, *section));
      continue;
    }
    const auto& top = sections.front().fields;
    const auto field = std::find_if(top.begin(), top.end(), [&](const Field& f) { return f.key == key; });
    if (field == top.end()) {
      std::vector<std::string_view> known;
      for (const Field& f : top) known.push_back(f.key);
      for (const Section& s : sections) {
        if (!s.name.empty()) known.push_back(s.name);
      }
      return UnknownKey(entry.first, "", known);
    }
    EF_RETURN_IF_ERROR(LoadField(entry.second, "", *field));
  }
  return OkStatus();
}

// Hides the password of "scheme://user:password@host", and the value of "password=" in queries and libpq's key-value form.
std::string MaskSecrets(std::string text) {
  const std::size_t scheme = text.find("://");
  if (scheme != std::string::npos) {
    const std::size_t begin = scheme + 3;
    const std::size_t at = text.rfind('@');  // the last: an unescaped password may hold anything
    const std::size_t colon = text.find(':', begin);
    if (at != std::string::npos && at >= begin && colon < at) text.replace(colon + 1, at - colon - 1, "***");
  }
  constexpr std::string_view kPassword = "password=";
  for (std::size_t at = text.find(kPassword); at != std::string::npos; at = text.find(kPassword, at + kPassword.size())) {
    const std::size_t begin = at + kPassword.size();
    const bool quoted = begin < text.size() && text[begin] == '\'';
    const std::size_t end = quoted ? text.find('\'', begin + 1) : text.find_first_of(" &", begin);
    text.replace(begin, (end == std::string::npos ? text.size() : end + (quoted ? 1 : 0)) - begin, "***");
  }
  return text;
}

void EmitValue(YAML::Emitter& out, const Field& field) {
  std::visit(
      [&](auto* value) {
        using T = std::remove_pointer_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          out << YAML::DoubleQuoted << (field.secret ? MaskSecrets(*value) : *value);
        } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
          out << YAML::DoubleQuoted << value->string();
        } else if constexpr (std::is_same_v<T, Paths>) {
          out << YAML::Flow << YAML::BeginSeq;
          for (const auto& path : *value) out << YAML::DoubleQuoted << path.string();
          out << YAML::EndSeq;
        } else if constexpr (std::is_same_v<T, double>) {
          out << NumberText(*value);
        } else {
          out << *value;
        }
      },
      field.target);
}

Status CheckAddress(const std::string& key, const std::string& value) {
  auto address = ParseHostPort(value);
  if (!address) return Bad(key + ": " + address.error().message());
  return OkStatus();
}

Status CheckListen(const Config::Listen& listen) {
  EF_RETURN_IF_ERROR(CheckAddress("listen.grpc", listen.grpc));
  EF_RETURN_IF_ERROR(CheckAddress("listen.http", listen.http));
  EF_RETURN_IF_ERROR(CheckAddress("listen.metrics", listen.metrics));
  if (!listen.advertise.empty()) EF_RETURN_IF_ERROR(CheckAddress("listen.advertise", listen.advertise));
  const bool web = listen.advertise_http.starts_with("http://") || listen.advertise_http.starts_with("https://");
  if (!listen.advertise_http.empty() && !web) return Bad("listen.advertise_http must begin with http:// or https://");
  return OkStatus();
}

Status RequirePeer(const Config& config, const char* peer, const std::string& value) {
  if (!value.empty()) return OkStatus();
  return Bad("role " + config.role + " needs peers." + peer + " (the gRPC address of the " + peer + "), or --peer-" + peer);
}

Status CheckPeers(const Config& config) {
  if (config.role == "registry") return RequirePeer(config, "origin", config.peers.origin);
  if (config.role == "aggregator") {
    EF_RETURN_IF_ERROR(RequirePeer(config, "registry", config.peers.registry));
    return RequirePeer(config, "selector", config.peers.selector);
  }
  return OkStatus();
}

Status CheckStores(const Config& config) {
  const std::string& postgres = config.postgres_url;
  const bool postgres_ok = postgres.empty() || postgres.starts_with("postgres://") || postgres.starts_with("postgresql://") ||
                           (postgres.find("://") == std::string::npos && postgres.find('=') != std::string::npos);
  if (!postgres_ok) return Bad("postgres_url must look like postgresql://user@host:5432/database");
  const std::string& redis = config.redis_url;
  if (!redis.empty() && !redis.starts_with("redis://") && !redis.starts_with("redis+unix://")) {
    return Bad("redis_url must look like redis://host:6379/0 or redis+unix:///path; TLS is left to a sidecar");
  }
  if (config.data_dir.empty()) return Bad("data_dir must name a folder");
  return OkStatus();
}

}  // namespace

Result<Config> LoadConfig(const std::filesystem::path& file) {
  Result<Bytes> content = ReadFile(file, kConfigBytesMax);
  if (!content) return Bad(file.string() + ": " + content.error().message());
  if (std::find(content->begin(), content->end(), std::byte{0}) != content->end()) {
    return Bad(file.string() + ": not a text file");
  }
  Config config;
  try {
    Status loaded = LoadDocument(YAML::Load(ToString(*content)), Describe(config));
    if (!loaded.ok()) return MakeError(std::move(loaded).Annotate(file.string()));
  } catch (const YAML::Exception& error) {
    return Bad(file.string() + ": line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  } catch (const std::exception& error) {
    return Bad(file.string() + ": " + error.what());
  }
  return config;
}

Status CheckConfig(const Config& config) {
  static constexpr std::string_view kRoles[] = {"all", "registry", "origin", "selector", "aggregator"};
  static constexpr std::string_view kLevels[] = {"debug", "info", "warn", "error"};
  if (std::find(std::begin(kRoles), std::end(kRoles), config.role) == std::end(kRoles)) {
    return Bad("role is '" + config.role + "'; it must be all, registry, origin, selector or aggregator");
  }
  if (std::find(std::begin(kLevels), std::end(kLevels), config.log.level) == std::end(kLevels)) {
    return Bad("log.level is '" + config.log.level + "'; it must be debug, info, warn or error");
  }
  Config copy = config;
  for (const Section& section : Describe(copy)) {
    for (const Field& field : section.fields) EF_RETURN_IF_ERROR(CheckRange(section.name, field));
  }
  EF_RETURN_IF_ERROR(CheckListen(config.listen));
  EF_RETURN_IF_ERROR(CheckStores(config));
  return CheckPeers(config);
}

std::string PrintConfig(const Config& config) {
  Config copy = config;
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const Section& section : Describe(copy)) {
    if (!section.name.empty()) out << YAML::Key << std::string(section.name) << YAML::Value << YAML::BeginMap;
    for (const Field& field : section.fields) {
      out << YAML::Key << std::string(field.key) << YAML::Value;
      EmitValue(out, field);
    }
    if (!section.name.empty()) out << YAML::EndMap;
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace edgefleet::services
