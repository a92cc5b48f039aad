// SPDX-License-Identifier: Apache-2.0
// Compose files as bake files: every service with a build section is a target.
#include <nlohmann/json.hpp>

#include "bake_definition.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;
using Environment = std::function<std::optional<std::string>(const std::string&)>;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

bool is_name(char c, bool first) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

/// $NAME, ${NAME}, ${NAME:-default} and the like; "$$" is a dollar.
Result<std::string> interpolate(std::string_view text, const Environment& environment, int depth = 0) {
  if (depth > 20) return invalid("variables are nested too deeply");
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '$' || at + 1 == text.size()) {
      result.push_back(text[at++]);
      continue;
    }
    if (text[at + 1] == '$') {
      result.push_back('$');
      at += 2;
      continue;
    }
    const bool braces = text[at + 1] == '{';
    std::size_t end = at + (braces ? 2 : 1);
    const std::size_t begin = end;
    while (end < text.size() && is_name(text[end], end == begin)) ++end;
    const std::string name(text.substr(begin, end - begin));
    if (name.empty()) return invalid("\"" + std::string(text) + "\": invalid interpolation");
    const auto value = environment ? environment(name) : std::nullopt;
    if (!braces) {
      result += value.value_or("");
      at = end;
      continue;
    }
    std::size_t close = end;
    for (int open = 1; close < text.size(); ++close) {
      if (text.compare(close, 2, "${") == 0) ++open;
      if (text[close] == '}' && --open == 0) break;
    }
    if (close >= text.size()) return invalid("\"" + std::string(text) + "\": a \"}\" is missing");
    std::string_view rest = text.substr(end, close - end);
    const bool empty_counts = rest.starts_with(':');
    if (empty_counts) rest.remove_prefix(1);
    const bool given = value && !(empty_counts && value->empty());
    const char kind = rest.empty() ? '\0' : rest[0];
    if (kind == '\0' && !empty_counts) {
      result += value.value_or("");
    } else if (kind == '-' || kind == '+' || kind == '?') {
      const std::string word = TRY(interpolate(rest.substr(1), environment, depth + 1));
      if (kind == '?' && !given)
        return invalid("required variable " + name + " is missing a value" + (word.empty() ? "" : ": " + word));
      result += kind == '+' ? (given ? word : "") : given ? *value : word;
    } else {
      return invalid("\"" + std::string(text) + "\": invalid interpolation");
    }
    at = close + 1;
  }
  return result;
}

Result<void> interpolate_all(ordered_json& value, const Environment& environment) {
  if (value.is_string()) {
    value = TRY(interpolate(value.get<std::string>(), environment));
  } else if (value.is_structured()) {
    for (auto& item : value) TRY(interpolate_all(item, environment));
  }
  return {};
}

/// {"K": "V"}, of a mapping or of ["K=V", "K"].
ordered_json as_map(const ordered_json& value, const Environment& environment, char separator = '=') {
  ordered_json map = ordered_json::object();
  const auto from_environment = [&](const std::string& name) {
    if (const auto given = environment ? environment(name) : std::nullopt) map[name] = *given;
  };
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      if (item.is_null())
        from_environment(key);
      else
        map[key] = item;
    }
    return map;
  }
  for (const auto& item : value) {
    const std::string text = item.get<std::string>();
    std::size_t split = text.find('=');
    if (split == std::string::npos && separator != '=') split = text.find(separator);
    if (split == std::string::npos)
      from_environment(text);
    else
      map[text.substr(0, split)] = text.substr(split + 1);
  }
  return map;
}

/// A build's secrets are names of the file's "secrets".
ordered_json secrets(const ordered_json& names, const ordered_json& document) {
  ordered_json list = ordered_json::array();
  for (const auto& entry : names) {
    const std::string source = entry.is_object() ? entry.at("source").get<std::string>() : entry.get<std::string>();
    const std::string id = entry.is_object() && entry.contains("target") ? entry["target"].get<std::string>() : source;
    const ordered_json definition =
        document.value("secrets", ordered_json::object()).value(source, ordered_json::object());
    std::string text = "id=" + id;
    if (definition.contains("file")) text += ",src=" + definition["file"].get<std::string>();
    if (definition.contains("environment")) text += ",env=" + definition["environment"].get<std::string>();
    list.push_back(text);
  }
  return list;
}

Result<ordered_json> target_of(const std::string& service, const ordered_json& definition, const ordered_json& document,
                               const Environment& environment) {
  ordered_json target = ordered_json::object();
  const ordered_json& build = definition.at("build");
  if (definition.contains("image")) target["tags"] = ordered_json::array({definition["image"]});
  if (build.is_string()) {
    target["context"] = build;
    return target;
  }
  if (!build.is_object()) return invalid("service \"" + service + "\": \"build\" must be a path or a mapping");
  for (const auto& [key, value] : build.items()) {
    if (value.is_null()) continue;
    if (key == "context" || key == "dockerfile" || key == "target" || key == "network" || key == "pull") {
      target[key] = value;
    } else if (key == "dockerfile_inline") {
      target["dockerfile-inline"] = value;
    } else if (key == "no_cache") {
      target["no-cache"] = value;
    } else if (key == "shm_size") {
      target["shm-size"] = value;
    } else if (key == "args" || key == "labels") {
      target[key] = as_map(value, environment);
    } else if (key == "additional_contexts") {
      ordered_json contexts = as_map(value, environment);
      for (auto& [name, source] : contexts.items())  // another service's image
        if (const std::string text = source.get<std::string>(); text.starts_with("service:"))
          source = "target:" + text.substr(8);
      target["contexts"] = std::move(contexts);
    } else if (key == "extra_hosts") {
      target["extra-hosts"] = as_map(value, environment, ':');
    } else if (key == "cache_from" || key == "cache_to") {
      target[key == "cache_from" ? "cache-from" : "cache-to"] = value;
    } else if (key == "platforms") {
      target[key] = value;
    } else if (key == "tags") {
      for (const auto& tag : value) target["tags"].push_back(tag);
    } else if (key == "secrets") {
      target["secret"] = secrets(value, document);
    } else if (key == "ssh") {
      ordered_json list = ordered_json::array();
      if (value.is_object())
        for (const auto& [id, path] : value.items())
          list.push_back(path.is_null() ? id : id + "=" + path.get<std::string>());
      else
        list = value;
      target["ssh"] = std::move(list);
    } else if (key == "ulimits") {
      for (const auto& [name, limit] : value.items())
        target["ulimits"].push_back(
            name + "=" +
            (limit.is_object() ? limit.at("soft").get<std::string>() + ":" + limit.at("hard").get<std::string>()
                               : limit.get<std::string>()));
    } else if (key == "entitlements") {
      target[key] = value;
    } else if (key == "privileged") {
      if (value.is_boolean() && value.get<bool>()) target["entitlements"].push_back("security.insecure");
    } else if (key == "provenance" || key == "sbom") {
      if (value.is_boolean() && !value.get<bool>()) continue;
      target["attest"].push_back("type=" + key + (value.is_string() ? "," + value.get<std::string>() : ""));
    } else if (!key.starts_with("x-")) {
      return invalid("service \"" + service + "\": unknown build attribute \"" + key + "\"");
    }
  }
  // Bake's own attributes, under compose's way to extend.
  const ordered_json bake = build.value("x-bake", ordered_json::object());  // items() refers to it
  for (const auto& [key, value] : bake.items()) {
    if (value.is_string() && (key == "tags" || key == "platforms" || key == "output" || key == "cache-from" ||
                              key == "cache-to" || key == "secret" || key == "ssh"))
      target[key] = ordered_json::array({value});
    else
      target[key] = value;
  }
  return target;
}

}  // namespace

Result<std::string> compose_to_bake(const std::string& compose_json, const Environment& environment) {
  try {
    ordered_json document = ordered_json::parse(compose_json);
    if (!document.is_object() || !document.contains("services") || !document["services"].is_object())
      return invalid("this is no compose file: it has no \"services\"");
    TRY(interpolate_all(document, environment));
    ordered_json targets = ordered_json::object(), names = ordered_json::array();
    for (const auto& [service, definition] : document["services"].items()) {
      if (!definition.is_object() || !definition.contains("build") || definition["build"].is_null()) continue;
      targets[service] = TRY(target_of(service, definition, document, environment));
      names.push_back(service);
    }
    const ordered_json bake = {{"group", {{"default", {{"targets", names}}}}}, {"target", targets}};
    return bake.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  } catch (const nlohmann::json::exception& exception) {
    return invalid(std::string("a value has the wrong type: ") + exception.what());
  }
}

}  // namespace dray::cli
