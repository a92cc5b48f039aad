// SPDX-License-Identifier: Apache-2.0
// The JSON around images: error bodies, tokens, Docker's configuration, credential helpers' answers, and the
// lines that dray-registry writes. Everything read here comes from a registry or a user's file: each access
// checks the type first, no parse throws, and text that reaches a terminal is stripped of control characters.
#include "registry_json.hpp"

#include <nlohmann/json.hpp>

#include <dray/core/base64.hpp>
#include <dray/image/image.hpp>
#include <dray/registry/helper_protocol.hpp>

namespace dray::registry {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxMessage = 500;

json parse_object(std::string_view bytes) {
  json document = json::parse(bytes.begin(), bytes.end(), nullptr, false);
  return document.is_object() ? document : json();
}

std::string text(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string printable(std::string text) {
  if (text.size() > kMaxMessage) text.resize(kMaxMessage);
  std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
  return text;
}

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

const char* kind_name(ProgressEvent::Kind kind) {
  switch (kind) {
    case ProgressEvent::Kind::started:
      return "started";
    case ProgressEvent::Kind::output:
      return "output";
    case ProgressEvent::Kind::status:
      return "status";
    case ProgressEvent::Kind::completed:
      return "completed";
    case ProgressEvent::Kind::cached:
      return "cached";
    case ProgressEvent::Kind::failed:
      return "failed";
    case ProgressEvent::Kind::message:
    case ProgressEvent::Kind::warning:  // it and the next are a build's
    case ProgressEvent::Kind::excerpt:
      break;
  }
  return "message";
}

}  // namespace

std::vector<RegistryError> parse_registry_errors(std::string_view body) {
  std::vector<RegistryError> errors;
  const json document = parse_object(body);
  if (!document.is_object()) return errors;
  if (const auto list = document.find("errors"); list != document.end() && list->is_array()) {
    for (const json& entry : *list) {
      if (errors.size() == 8) break;
      errors.push_back({printable(text(entry, "code")), printable(text(entry, "message"))});
      if (errors.back().code.empty() && errors.back().message.empty()) errors.pop_back();
    }
    return errors;
  }
  const std::string code = text(document, "code");
  std::string message = text(document, "message");
  for (const char* key : {"details", "error_description", "error"})
    if (message.empty()) message = text(document, key);
  if (!code.empty() || !message.empty()) errors.push_back({printable(code), printable(message)});
  return errors;
}

Result<Token> parse_token(std::string_view body) {
  const json document = parse_object(body);
  Token token;
  token.value = text(document, "token");
  if (token.value.empty()) token.value = text(document, "access_token");
  if (token.value.empty()) return fail(ErrorCode::corrupt, "the token server's answer holds no token");
  for (const char c : token.value)  // it becomes part of a header line
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f')
      return fail(ErrorCode::corrupt, "the token server's token holds control characters");
  token.refresh_token = text(document, "refresh_token");
  if (const auto expires = document.find("expires_in"); expires != document.end() && expires->is_number_integer()) {
    const auto seconds = expires->get<std::int64_t>();
    if (seconds > 0) token.expires_in_seconds = static_cast<int>(std::min<std::int64_t>(seconds, 86400));
  }
  return token;
}

/// base64("user:password"), as "auth" holds it; false if it is not that.
static bool decode_basic(std::string_view base64, std::string& username, std::string& password) {
  const auto bytes = decode_base64(base64, Base64::lenient);
  const auto colon = bytes ? bytes->find(':') : std::string::npos;
  if (colon == std::string::npos) return false;
  username = bytes->substr(0, colon);
  password = bytes->substr(colon + 1);
  while (!password.empty() && password.back() == '\0') password.pop_back();  // Docker pads with NUL
  return true;
}

Result<DockerConfig> parse_docker_config(std::string_view bytes) {
  const json document = parse_object(bytes);
  if (!document.is_object()) return fail(ErrorCode::invalid_argument, "not a JSON object");
  DockerConfig config;
  if (const auto auths = document.find("auths"); auths != document.end() && auths->is_object()) {
    for (const auto& [server, entry] : auths->items()) {
      if (!entry.is_object()) continue;
      DockerConfig::Auth auth;
      auth.username = text(entry, "username");
      auth.password = text(entry, "password");
      if (const std::string both = text(entry, "auth"); !both.empty())
        if (!decode_basic(both, auth.username, auth.password))
          return fail(ErrorCode::invalid_argument,
                      "\"auth\" of \"" + printable(server) + "\" is not base64 of user:password");
      auth.identity_token = text(entry, "identitytoken");
      auth.registry_token = text(entry, "registrytoken");
      config.auths.emplace(server, std::move(auth));
    }
  }
  if (const auto helpers = document.find("credHelpers"); helpers != document.end() && helpers->is_object())
    for (const auto& [server, helper] : helpers->items())
      if (helper.is_string()) config.helpers.emplace(server, helper.get<std::string>());
  config.default_helper = text(document, "credsStore");
  return config;
}

Result<std::string> set_auth(std::string_view bytes, const std::string& server, const DockerConfig::Auth& auth) {
  json document = bytes.empty() ? json::object() : parse_object(bytes);
  if (!document.is_object()) return fail(ErrorCode::invalid_argument, "not a JSON object");
  json entry = json::object();
  if (!auth.identity_token.empty()) {
    entry["auth"] = encode_base64(auth.username + ":");
    entry["identitytoken"] = auth.identity_token;
  } else {
    entry["auth"] = encode_base64(auth.username + ":" + auth.password);
  }
  json& auths = document["auths"];
  if (!auths.is_object()) auths = json::object();
  auths[server] = std::move(entry);
  return document.dump(1, '\t', false, json::error_handler_t::replace) + "\n";
}

Result<std::string> remove_auth(std::string_view bytes, const std::string& server) {
  json document = parse_object(bytes);
  if (!document.is_object()) return fail(ErrorCode::invalid_argument, "not a JSON object");
  if (auto auths = document.find("auths"); auths != document.end() && auths->is_object()) auths->erase(server);
  return document.dump(1, '\t', false, json::error_handler_t::replace) + "\n";
}

Result<HelperEntry> parse_helper_entry(std::string_view bytes) {
  const json document = parse_object(bytes);
  if (!document.is_object()) return fail(ErrorCode::corrupt, "its answer is not JSON");
  return HelperEntry{text(document, "Username"), text(document, "Secret")};
}

std::string encode_helper_entry(const std::string& server, const HelperEntry& entry) {
  return dump({{"ServerURL", server}, {"Username", entry.username}, {"Secret", entry.secret}});
}

Result<std::vector<SearchResult>> parse_search(std::string_view bytes) {
  const json document = parse_object(bytes);
  const auto list = document.is_object() ? document.find("results") : document.end();
  if (list == document.end() || !list->is_array())
    return fail(ErrorCode::corrupt, "the registry's answer to a search holds no results");
  std::vector<SearchResult> results;
  for (const json& entry : *list) {
    SearchResult result{.name = printable(text(entry, "name")), .description = printable(text(entry, "description"))};
    if (result.name.empty()) continue;
    if (const auto stars = entry.find("star_count"); stars != entry.end() && stars->is_number_unsigned())
      result.stars = stars->get<std::uint64_t>();
    const auto official = entry.find("is_official");
    result.is_official = official != entry.end() && official->is_boolean() && official->get<bool>();
    results.push_back(std::move(result));
  }
  return results;
}

Result<std::string> check_document(std::string_view bytes, std::string_view content_type) {
  const json document = parse_object(bytes);
  if (!document.is_object()) return fail(ErrorCode::corrupt, "the registry's manifest is not a JSON object");
  if (const auto version = document.find("schemaVersion");
      version != document.end() && version->is_number_integer() && version->get<std::int64_t>() == 1)
    return fail(ErrorCode::unsupported,
                "the image has a schema 1 manifest, a format that was withdrawn; push it again with a "
                "current tool");
  if (document.contains("manifests") && (document.contains("layers") || document.contains("config")))
    return fail(ErrorCode::corrupt, "the manifest is an index and an image manifest at once");
  std::string media_type = text(document, "mediaType");
  content_type = content_type.substr(0, content_type.find_first_of("; "));
  const std::string_view known[] = {image::kOciManifest, image::kOciIndex, image::kDockerManifest, image::kDockerIndex};
  const bool telling = std::ranges::find(known, content_type) != std::end(known);
  if (media_type.empty()) return telling ? std::string(content_type) : std::string();
  if (telling && media_type != content_type)
    return fail(ErrorCode::corrupt, "the manifest calls itself \"" + printable(media_type) +
                                        "\", the registry calls it \"" + std::string(content_type) + "\"");
  return media_type;
}

std::string encode_event(const ProgressEvent& event) {
  json line = {{"kind", kind_name(event.kind)}, {"id", event.id},      {"name", event.name}, {"text", event.text},
               {"current", event.current},      {"total", event.total}};
  if (event.is_stderr) line["stderr"] = true;
  return dump(line);
}

std::string encode_result(const Reference& reference, const PullResult& result) {
  return dump({{"result",
                {{"reference", reference.canonical()},
                 {"digest", result.digest.to_string()},
                 {"image_id", result.image.image_id.to_string()},
                 {"up_to_date", result.up_to_date}}}});
}

std::string encode_result(const image::Descriptor& pushed) {
  return dump(
      {{"result", {{"media_type", pushed.media_type}, {"digest", pushed.digest.to_string()}, {"size", pushed.size}}}});
}

std::string encode_names(const std::vector<std::string>& names) { return dump({{"result", {{"names", names}}}}); }

std::string encode_found(const std::vector<SearchResult>& found) {
  json list = json::array();
  for (const SearchResult& result : found)
    list.push_back({{"name", result.name},
                    {"description", result.description},
                    {"stars", result.stars},
                    {"official", result.is_official}});
  return dump({{"result", {{"found", list}}}});
}

std::string encode_text(const std::string& text, const std::string& media_type, const std::string& digest) {
  return dump({{"result", {{"text", text}, {"media_type", media_type}, {"digest", digest}}}});
}

std::string encode_result(const LoginResult& result) {
  return dump({{"result", {{"config_path", result.config_path}, {"username", result.username}}}});
}

std::string encode_logout(bool was_logged_in) { return dump({{"result", {{"was_logged_in", was_logged_in}}}}); }

std::string encode_result(const Download& download) {
  return dump({{"result",
                {{"up_to_date", download.not_modified},
                 {"etag", download.etag},
                 {"last_modified", download.last_modified},
                 {"digest", download.not_modified ? "" : download.digest.to_string()},
                 {"size", download.size}}}});
}

std::string encode_error(const Error& error) {
  return dump(
      {{"error", {{"code", static_cast<int>(error.code())}, {"message", error.message()}, {"hint", error.hint()}}}});
}

}  // namespace dray::registry
