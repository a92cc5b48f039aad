// SPDX-License-Identifier: Apache-2.0
// A bake target says what a build would be told on its command line: so it is written as that, and there is one
// place that knows what the words mean.
#include <map>

#include <nlohmann/json.hpp>

#include "bake_definition.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

std::string scalar_text(const ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
}

std::string quoted(const std::string& value) {
  if (value.find_first_of(",\"\n") == std::string::npos) return value;
  std::string text = "\"";
  for (const char c : value) text.append(c == '"' ? 2 : 1, c);
  return text + "\"";
}

/// "type=x,key=value" as written, or of an object {"type": "x", "key": "value"}.
std::string attributes(const ordered_json& value, const char* first) {
  if (!value.is_object()) return scalar_text(value);
  std::string text;
  const auto add = [&text](const std::string& key, const ordered_json& item) {
    text += (text.empty() ? "" : ",") + quoted(key + "=" + scalar_text(item));
  };
  if (value.contains(first)) add(first, value.at(first));
  for (const auto& [key, item] : value.items())
    if (key != first) add(key, item);
  return text;
}

std::string ssh_text(const ordered_json& value) {
  if (!value.is_object()) return scalar_text(value);
  std::string text = value.contains("id") ? scalar_text(value.at("id")) : "default";
  if (!value.contains("paths")) return text;
  std::string separator = "=";
  for (const auto& path : value.at("paths")) {
    text += separator + scalar_text(path);
    separator = ",";
  }
  return text;
}

/// "cwd://" is the directory in which `dray bake` was called: that of all paths here.
std::string local_path(std::string text) {
  if (text.starts_with("cwd://")) text.erase(0, 6);
  return text.empty() ? "." : text;
}

bool is_true(const ordered_json& value) {
  return value.is_boolean() ? value.get<bool>() : scalar_text(value) == "true" || scalar_text(value) == "1";
}

}  // namespace

Result<BakeTarget> bake_arguments(const std::string& name, const std::string& target_json) {
  const ordered_json target = ordered_json::parse(target_json, nullptr, false);
  if (!target.is_object()) return invalid("a target is no object");
  static const std::map<std::string, std::string> kMaps = {{"args", "--build-arg"}, {"labels", "--label"}};
  static const std::map<std::string, std::string> kLists = {
      {"tags", "--tag"},          {"cache-from", "--cache-from"},
      {"cache-to", "--cache-to"}, {"output", "--output"},
      {"secret", "--secret"},     {"annotations", "--annotation"},
      {"attest", "--attest"},     {"no-cache-filter", "--no-cache-filter"},
      {"ulimits", "--ulimit"},    {"entitlements", "--allow"}};
  static const std::map<std::string, std::string> kOptions = {
      {"target", "--target"}, {"network", "--network"}, {"shm-size", "--shm-size"}, {"call", "--call"}};
  BakeTarget result;
  result.name = name;
  std::vector<std::string>& arguments = result.arguments;
  std::string context = ".", dockerfile;
  for (const auto& [key, value] : target.items()) {
    if (value.is_null()) continue;
    const auto expect = [&, &key = key, &value = value](bool right, const char* what) -> Result<void> {
      if (right) return {};
      return invalid("\"" + key + "\" must be " + what + ", not " + value.dump().substr(0, 100));
    };
    if (const auto flag = kMaps.find(key); flag != kMaps.end()) {
      TRY(expect(value.is_object(), "an object"));
      for (const auto& [item, text] : value.items()) {
        if (text.is_null()) continue;
        arguments.insert(arguments.end(), {flag->second, item + "=" + scalar_text(text)});
      }
    } else if (const auto option = kOptions.find(key); option != kOptions.end()) {
      TRY(expect(!value.is_structured(), "a text"));
      arguments.insert(arguments.end(), {option->second, scalar_text(value)});
    } else if (const auto list = kLists.find(key); list != kLists.end()) {
      TRY(expect(value.is_array(), "a list"));
      for (const auto& item : value)
        arguments.insert(arguments.end(), {list->second, attributes(item, key == "secret" ? "id" : "type")});
    } else if (key == "ssh") {
      TRY(expect(value.is_array(), "a list"));
      for (const auto& item : value) arguments.insert(arguments.end(), {"--ssh", ssh_text(item)});
    } else if (key == "platforms") {
      TRY(expect(value.is_array(), "a list"));
      std::string platforms;
      for (const auto& item : value) platforms += (platforms.empty() ? "" : ",") + scalar_text(item);
      if (!platforms.empty()) arguments.insert(arguments.end(), {"--platform", platforms});
    } else if (key == "extra-hosts") {
      TRY(expect(value.is_object(), "an object"));
      for (const auto& [host, address] : value.items())
        arguments.insert(arguments.end(), {"--add-host", host + "=" + scalar_text(address)});
    } else if (key == "contexts") {
      TRY(expect(value.is_object(), "an object"));
      for (const auto& [alias, source] : value.items()) {
        const std::string text = local_path(scalar_text(source));
        if (text.starts_with("target:"))
          result.needs.emplace_back(alias, text.substr(7));
        else
          arguments.insert(arguments.end(), {"--build-context", alias + "=" + text});
      }
    } else if (key == "no-cache" || key == "pull") {
      if (is_true(value)) arguments.push_back("--" + key);
    } else if (key == "context") {
      context = local_path(scalar_text(value));
    } else if (key == "dockerfile") {
      dockerfile = scalar_text(value);
    } else if (key == "dockerfile-inline") {
      result.dockerfile_inline = scalar_text(value);
    } else {
      return invalid("unknown attribute \"" + key + "\"");
    }
  }
  const bool remote = context.contains("://") || context.starts_with("git@");
  if (!result.dockerfile_inline && !dockerfile.empty()) {
    // As in compose and buildx: the file's path is relative to the context.
    const bool local = !remote && !dockerfile.starts_with('/') && context != "-";
    arguments.insert(arguments.end(), {"--file", local ? context + "/" + dockerfile : dockerfile});
  }
  arguments.push_back(context);
  return result;
}

}  // namespace dray::cli
