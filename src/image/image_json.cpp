// SPDX-License-Identifier: Apache-2.0
// The only file of this part that sees nlohmann/json.hpp. Reading is strict about types and lenient about unknown
// fields, as the image-spec asks of implementations; every refusal names the field. Numbers are range-checked before
// narrowing.
#include <nlohmann/json.hpp>

#include <dray/image/image.hpp>

namespace dray::image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxEntries = 10000;  // layers, manifests, history: far above any real image

Failure bad(std::string_view field, std::string_view why) {
  return fail(ErrorCode::corrupt, "\"" + std::string(field) + "\" " + std::string(why));
}

Result<json> parse_object(std::string_view bytes) {
  if (bytes.size() > kMaxManifestSize) return fail(ErrorCode::corrupt, "document larger than 8 MiB");
  // A depth bound: nlohmann's parser keeps its own stack, but destroying a deeply nested value recurses.
  bool too_deep = false;
  json document = json::parse(
      bytes.begin(), bytes.end(),
      [&](int level, json::parse_event_t, json&) {
        too_deep = too_deep || level > 100;
        return level <= 100;
      },
      false);
  if (too_deep) return fail(ErrorCode::corrupt, "JSON nested too deeply");
  if (document.is_discarded()) return fail(ErrorCode::corrupt, "not valid JSON");
  if (!document.is_object()) return fail(ErrorCode::corrupt, "not a JSON object");
  return document;
}

/// Absent and null are the same: Go writes both for empty.
const json* find(const json& object, const char* key) {
  auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> text(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return bad(key, "is not a string");
  return value->get<std::string>();
}

Result<std::vector<std::string>> texts(const json& object, const char* key) {
  const json* value = find(object, key);
  std::vector<std::string> result;
  if (value == nullptr) return result;
  // Docker once wrote a single string where a list is meant.
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  if (!value->is_array()) return bad(key, "is not a list");
  if (value->size() > kMaxEntries) return bad(key, "has too many entries");
  for (const json& item : *value) {
    if (!item.is_string()) return bad(key, "has an entry that is not a string");
    result.push_back(item.get<std::string>());
  }
  return result;
}

Result<std::map<std::string, std::string>> text_map(const json& object, const char* key) {
  const json* value = find(object, key);
  std::map<std::string, std::string> result;
  if (value == nullptr) return result;
  if (!value->is_object()) return bad(key, "is not an object");
  for (const auto& [name, item] : value->items()) {
    if (!item.is_string()) return bad(key, "has a value that is not a string");
    result[name] = item.get<std::string>();
  }
  return result;
}

/// {"5000/tcp": {}} -> sorted names.
Result<std::vector<std::string>> set_of(const json& object, const char* key) {
  const json* value = find(object, key);
  std::vector<std::string> result;
  if (value == nullptr) return result;
  if (!value->is_object()) return bad(key, "is not an object");
  for (const auto& item : value->items()) result.push_back(item.key());
  std::sort(result.begin(), result.end());
  return result;
}

Result<std::int64_t> integer(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value == nullptr) return std::int64_t{0};
  if (!value->is_number_integer()) return bad(key, "is not an integer");
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    return bad(key, "is too large");
  return value->get<std::int64_t>();
}

Result<Platform> platform_of(const json& object) {
  Platform platform;
  platform.os = TRY(text(object, "os"));
  platform.architecture = TRY(text(object, "architecture"));
  platform.variant = TRY(text(object, "variant"));
  platform.os_version = TRY(text(object, "os.version"));
  return platform;
}

Result<Descriptor> descriptor_of(const json& object, const char* field) {
  if (!object.is_object()) return bad(field, "is not an object");
  Descriptor descriptor;
  descriptor.media_type = TRY_CTX(text(object, "mediaType"), field);
  std::string digest = TRY_CTX(text(object, "digest"), field);
  auto parsed = Digest::parse(digest);
  if (!parsed) return Failure(std::move(parsed).error().with_context(field).with_code(ErrorCode::corrupt));
  descriptor.digest = *parsed;
  std::int64_t size = TRY_CTX(integer(object, "size"), field);
  if (size < 0) return bad(field, "has a negative size");
  descriptor.size = static_cast<std::uint64_t>(size);
  descriptor.annotations = TRY_CTX(text_map(object, "annotations"), field);
  descriptor.urls = TRY_CTX(texts(object, "urls"), field);
  if (const json* platform = find(object, "platform")) {
    if (!platform->is_object()) return bad(field, "has a platform that is not an object");
    descriptor.platform = TRY_CTX(platform_of(*platform), field);
  }
  return descriptor;
}

Result<std::vector<Descriptor>> descriptors_of(const json& object, const char* field) {
  std::vector<Descriptor> result;
  const json* list = find(object, field);
  if (list == nullptr) return result;
  if (!list->is_array()) return bad(field, "is not a list");
  if (list->size() > kMaxEntries) return bad(field, "has too many entries");
  for (const json& item : *list) result.push_back(TRY(descriptor_of(item, field)));
  return result;
}

Result<ContainerConfig> container_config_of(const json& object) {
  ContainerConfig config;
  config.user = TRY(text(object, "User"));
  config.exposed_ports = TRY(set_of(object, "ExposedPorts"));
  config.env = TRY(texts(object, "Env"));
  config.entrypoint = TRY(texts(object, "Entrypoint"));
  config.cmd = TRY(texts(object, "Cmd"));
  config.volumes = TRY(set_of(object, "Volumes"));
  config.working_dir = TRY(text(object, "WorkingDir"));
  config.labels = TRY(text_map(object, "Labels"));
  config.stop_signal = TRY(text(object, "StopSignal"));
  config.shell = TRY(texts(object, "Shell"));
  config.on_build = TRY(texts(object, "OnBuild"));
  if (const json* escaped = find(object, "ArgsEscaped"))
    config.args_escaped = escaped->is_boolean() && escaped->get<bool>();
  if (const json* check = find(object, "Healthcheck")) {
    if (!check->is_object()) return bad("Healthcheck", "is not an object");
    Healthcheck health;
    health.test = TRY(texts(*check, "Test"));
    health.interval_ns = TRY(integer(*check, "Interval"));
    health.timeout_ns = TRY(integer(*check, "Timeout"));
    health.start_period_ns = TRY(integer(*check, "StartPeriod"));
    health.start_interval_ns = TRY(integer(*check, "StartInterval"));
    health.retries = static_cast<int>(std::clamp<std::int64_t>(TRY(integer(*check, "Retries")), 0, 1000000));
    config.healthcheck = std::move(health);
  }
  return config;
}

json to_json(const Platform& platform) {
  json object = {{"architecture", platform.architecture}, {"os", platform.os}};
  if (!platform.variant.empty()) object["variant"] = platform.variant;
  if (!platform.os_version.empty()) object["os.version"] = platform.os_version;
  return object;
}

json to_json(const Descriptor& descriptor) {
  json object = {
      {"mediaType", descriptor.media_type}, {"digest", descriptor.digest.to_string()}, {"size", descriptor.size}};
  if (descriptor.platform) object["platform"] = to_json(*descriptor.platform);
  if (!descriptor.annotations.empty()) object["annotations"] = descriptor.annotations;
  if (!descriptor.urls.empty()) object["urls"] = descriptor.urls;
  return object;
}

json to_json(const std::vector<Descriptor>& descriptors) {
  json list = json::array();
  for (const Descriptor& descriptor : descriptors) list.push_back(to_json(descriptor));
  return list;
}

json set_to_json(const std::vector<std::string>& names) {
  json object = json::object();
  for (const auto& name : names) object[name] = json::object();
  return object;
}

json to_json(const ContainerConfig& config) {
  json object = json::object();
  if (!config.user.empty()) object["User"] = config.user;
  if (!config.exposed_ports.empty()) object["ExposedPorts"] = set_to_json(config.exposed_ports);
  if (!config.env.empty()) object["Env"] = config.env;
  if (!config.entrypoint.empty()) object["Entrypoint"] = config.entrypoint;
  if (!config.cmd.empty()) object["Cmd"] = config.cmd;
  if (!config.volumes.empty()) object["Volumes"] = set_to_json(config.volumes);
  if (!config.working_dir.empty()) object["WorkingDir"] = config.working_dir;
  if (!config.labels.empty()) object["Labels"] = config.labels;
  if (!config.stop_signal.empty()) object["StopSignal"] = config.stop_signal;
  if (!config.shell.empty()) object["Shell"] = config.shell;
  if (!config.on_build.empty()) object["OnBuild"] = config.on_build;
  if (config.args_escaped) object["ArgsEscaped"] = true;
  if (config.healthcheck) {
    const Healthcheck& health = *config.healthcheck;
    json check = {{"Test", health.test}};
    if (health.interval_ns != 0) check["Interval"] = health.interval_ns;
    if (health.timeout_ns != 0) check["Timeout"] = health.timeout_ns;
    if (health.start_period_ns != 0) check["StartPeriod"] = health.start_period_ns;
    if (health.start_interval_ns != 0) check["StartInterval"] = health.start_interval_ns;
    if (health.retries != 0) check["Retries"] = health.retries;
    object["Healthcheck"] = check;
  }
  return object;
}

/// Invalid UTF-8 in a name becomes U+FFFD rather than an exception.
std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

bool is_index(std::string_view bytes, std::string_view media_type) {
  if (media_type == kOciIndex || media_type == kDockerIndex) return true;
  if (media_type == kOciManifest || media_type == kDockerManifest) return false;
  auto document = parse_object(bytes);
  if (!document) return false;
  return document->contains("manifests") && !document->contains("layers");
}

Result<Manifest> parse_manifest(std::string_view bytes) {
  json document = TRY_CTX(parse_object(bytes), "image manifest");
  Manifest manifest;
  if (document.contains("manifests"))
    return fail(ErrorCode::corrupt, "image manifest: has \"manifests\", as only an index may");
  if (TRY_CTX(integer(document, "schemaVersion"), "image manifest") != 2)
    return fail(ErrorCode::unsupported,
                "image manifest: schemaVersion is not 2 (Docker's schema 1 is not supported; push the image again with "
                "a current tool)");
  manifest.media_type = TRY_CTX(text(document, "mediaType"), "image manifest");
  const json* config = find(document, "config");
  if (config == nullptr) return fail(ErrorCode::corrupt, "image manifest: \"config\" is missing");
  manifest.config = TRY_CTX(descriptor_of(*config, "config"), "image manifest");
  manifest.layers = TRY_CTX(descriptors_of(document, "layers"), "image manifest");
  manifest.annotations = TRY_CTX(text_map(document, "annotations"), "image manifest");
  if (manifest.media_type.empty())
    manifest.media_type = manifest.config.media_type == kDockerConfig ? kDockerManifest : kOciManifest;
  return manifest;
}

Result<Index> parse_index(std::string_view bytes) {
  json document = TRY_CTX(parse_object(bytes), "image index");
  if (document.contains("layers") || document.contains("config"))
    return fail(ErrorCode::corrupt, "image index: has fields of a manifest");
  Index index;
  index.media_type = TRY_CTX(text(document, "mediaType"), "image index");
  if (index.media_type.empty()) index.media_type = kOciIndex;
  index.manifests = TRY_CTX(descriptors_of(document, "manifests"), "image index");
  return index;
}

Result<ImageConfig> parse_config(std::string_view bytes) {
  json document = TRY_CTX(parse_object(bytes), "image config");
  ImageConfig config;
  config.created = TRY_CTX(text(document, "created"), "image config");
  config.author = TRY_CTX(text(document, "author"), "image config");
  config.platform = TRY_CTX(platform_of(document), "image config");
  if (const json* container = find(document, "config")) {
    if (!container->is_object()) return fail(ErrorCode::corrupt, "image config: \"config\" is not an object");
    config.config = TRY_CTX(container_config_of(*container), "image config");
  }
  const json* rootfs = find(document, "rootfs");
  if (rootfs == nullptr || !rootfs->is_object()) return fail(ErrorCode::corrupt, "image config: \"rootfs\" is missing");
  std::vector<std::string> diff_ids = TRY_CTX(texts(*rootfs, "diff_ids"), "image config");
  for (const std::string& diff_id : diff_ids) {
    auto digest = Digest::parse(diff_id);
    if (!digest)
      return Failure(std::move(digest).error().with_context("image config: diff_ids").with_code(ErrorCode::corrupt));
    config.diff_ids.push_back(DiffId{*digest});
  }
  if (const json* history = find(document, "history")) {
    if (!history->is_array() || history->size() > kMaxEntries)
      return fail(ErrorCode::corrupt, "image config: \"history\" is not a list of sensible length");
    for (const json& item : *history) {
      if (!item.is_object())
        return fail(ErrorCode::corrupt, "image config: \"history\" has an entry that is not an object");
      History entry;
      entry.created = TRY_CTX(text(item, "created"), "image config");
      entry.created_by = TRY_CTX(text(item, "created_by"), "image config");
      entry.author = TRY_CTX(text(item, "author"), "image config");
      entry.comment = TRY_CTX(text(item, "comment"), "image config");
      const json* empty = find(item, "empty_layer");
      entry.empty_layer = empty != nullptr && empty->is_boolean() && empty->get<bool>();
      config.history.push_back(std::move(entry));
    }
  }
  return config;
}

std::string serialize(const Manifest& manifest) {
  json document = {{"schemaVersion", 2},
                   {"mediaType", manifest.media_type},
                   {"config", to_json(manifest.config)},
                   {"layers", to_json(manifest.layers)}};
  if (!manifest.annotations.empty()) document["annotations"] = manifest.annotations;
  return dump(document);
}

std::string serialize(const Index& index) {
  return dump({{"schemaVersion", 2}, {"mediaType", index.media_type}, {"manifests", to_json(index.manifests)}});
}

MadeIndex make_index(std::vector<Descriptor> entries) {
  Index index;
  index.media_type = kOciIndex;
  index.manifests = std::move(entries);
  MadeIndex made;
  made.bytes = serialize(index);
  made.descriptor.media_type = index.media_type;
  made.descriptor.digest = Digest::of(made.bytes);
  made.descriptor.size = made.bytes.size();
  return made;
}

std::string serialize(const ImageConfig& config) {
  json document = to_json(config.platform);
  document["config"] = to_json(config.config);
  if (!config.created.empty()) document["created"] = config.created;
  if (!config.author.empty()) document["author"] = config.author;
  json diff_ids = json::array();
  for (const DiffId& diff_id : config.diff_ids) diff_ids.push_back(diff_id.digest.to_string());
  document["rootfs"] = {{"type", "layers"}, {"diff_ids", diff_ids}};
  json history = json::array();
  for (const History& entry : config.history) {
    json item = json::object();
    if (!entry.created.empty()) item["created"] = entry.created;
    if (!entry.created_by.empty()) item["created_by"] = entry.created_by;
    if (!entry.author.empty()) item["author"] = entry.author;
    if (!entry.comment.empty()) item["comment"] = entry.comment;
    if (entry.empty_layer) item["empty_layer"] = true;
    history.push_back(item);
  }
  document["history"] = history;
  return dump(document);
}

}  // namespace dray::image
