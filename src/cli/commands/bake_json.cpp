// SPDX-License-Identifier: Apache-2.0
// Bake files: read, laid over each other, variables put in, matrices unfolded, groups and inheritance resolved.
#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "bake_definition.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;
using Variables = std::map<std::string, std::string>;

constexpr std::size_t kMaxTargets = 1000;

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

const std::set<std::string> kKnown = {"annotations", "args",         "attest",      "cache-from",
                                      "cache-to",    "call",         "context",     "contexts",
                                      "matrix",      "name",         "dockerfile",  "dockerfile-inline",
                                      "description", "entitlements", "extra-hosts", "inherits",
                                      "labels",      "network",      "no-cache",    "no-cache-filter",
                                      "output",      "platforms",    "pull",        "secret",
                                      "shm-size",    "ssh",          "tags",        "target",
                                      "ulimits"};

/// Later files and descendants replace these lists instead of adding to them.
const std::set<std::string> kReplaced = {"tags", "platforms", "output", "cache-to", "no-cache-filter"};

void lay_over(ordered_json& target, const ordered_json& other) {
  for (const auto& [key, value] : other.items()) {
    ordered_json& own = target[key];
    if (own.is_object() && value.is_object()) {
      for (const auto& [name, item] : value.items()) own[name] = item;
    } else if (own.is_array() && value.is_array() && !kReplaced.contains(key)) {
      for (const auto& item : value)
        if (std::find(own.begin(), own.end(), item) == own.end()) own.push_back(item);
    } else {
      own = value;
    }
  }
}

/// "${NAME}" in a text. Anything else in the braces is HCL, which is not read.
Result<std::string> interpolate(const std::string& text, const Variables& variables) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text.compare(at, 3, "$${") == 0) {
      result += "${";
      at += 3;
      continue;
    }
    if (text.compare(at, 2, "${") != 0) {
      result.push_back(text[at++]);
      continue;
    }
    const std::size_t end = text.find('}', at);
    if (end == std::string::npos) return invalid("\"" + text + "\": a \"}\" is missing");
    const std::string name = text.substr(at + 2, end - at - 2);
    const auto found = variables.find(name);
    if (found == variables.end()) {
      if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") !=
          std::string::npos)
        return fail(ErrorCode::unsupported, "\"" + text + "\": only names of variables are supported in ${…}");
      return invalid("\"" + text + "\": there is no variable \"" + name + "\"");
    }
    result += found->second;
    at = end + 1;
  }
  return result;
}

Result<void> interpolate_all(ordered_json& value, const Variables& variables) {
  if (value.is_string()) {
    value = TRY(interpolate(value.get<std::string>(), variables));
  } else if (value.is_structured()) {
    for (auto& item : value) TRY(interpolate_all(item, variables));
  }
  return {};
}

std::string text_of(const ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "" : value.dump();
}

class Bake {
 public:
  explicit Bake(const BakeOptions& options) : options_(options) {}

  Result<void> add_file(const BakeFile& file) {
    if (file.name.ends_with(".hcl"))
      return fail(ErrorCode::unsupported,
                  "\"" + file.name + "\": HCL is not supported; write the file as JSON (docker-bake.json) or compose");
    std::string text = file.text;
    if (file.name.ends_with(".yaml") || file.name.ends_with(".yml")) {
      text = TRY_CTX(yaml_to_json(text), "\"" + file.name + "\"");
      text = TRY_CTX(compose_to_bake(text, options_.environment), "\"" + file.name + "\"");
    }
    ordered_json document = ordered_json::parse(text, nullptr, false);
    if (document.is_discarded() || !document.is_object())
      return invalid("\"" + file.name + "\" is not a JSON object (HCL is not supported)");
    for (const auto& [section, content] : document.items()) {
      if (section == "function")
        return fail(ErrorCode::unsupported, "\"" + file.name + "\": functions are not supported");
      if (section != "target" && section != "group" && section != "variable")
        return invalid("\"" + file.name + "\": unknown section \"" + section + "\"");
      if (!content.is_object()) return invalid("\"" + file.name + "\": \"" + section + "\" must be an object");
      for (const auto& [name, definition] : content.items()) {
        if (!definition.is_object()) return invalid("\"" + file.name + "\": \"" + name + "\" must be an object");
        if (section == "target") TRY(check_target(file.name, name, definition));
        ordered_json& known = section == "target"  ? targets_[name]
                              : section == "group" ? groups_[name]
                                                   : variables_[name];
        if (known.is_null()) known = ordered_json::object();
        lay_over(known, definition);
      }
    }
    return {};
  }

  Result<BakePlan> plan() {
    Variables values = TRY(variable_values());
    TRY(unfold(values));
    for (auto& [name, group] : groups_.items()) TRY(interpolate_all(group, values));
    std::vector<std::string> wanted;
    std::vector<std::string> named = options_.targets;
    if (named.empty()) named.push_back("default");
    for (const std::string& name : named) {
      if (name == "default" && !groups_.contains(name) && !targets_.contains(name) && options_.targets.empty()) {
        for (const auto& [target, definition] : targets_.items()) wanted.push_back(target);
        continue;
      }
      TRY(collect(name, wanted, 0));
    }
    std::map<std::string, ordered_json> resolved;
    BakePlan plan;
    std::set<std::string> path;
    for (const std::string& name : wanted) TRY(add_target(name, resolved, path, plan));
    plan.printed = print(named, wanted, resolved, plan);
    return plan;
  }

 private:
  static Result<void> check_target(const std::string& file, const std::string& name, const ordered_json& definition) {
    for (const auto& [key, value] : definition.items())
      if (!kKnown.contains(key))
        return invalid("\"" + file + "\": target \"" + name + "\": unknown attribute \"" + key + "\"");
    return {};
  }

  Result<Variables> variable_values() const {
    Variables values;
    values["BAKE_CMD_CONTEXT"] = "";
    std::vector<std::string> open;
    for (const auto& [name, variable] : variables_.items()) {
      const auto given = options_.environment ? options_.environment(name) : std::nullopt;
      if (given)
        values[name] = *given;
      else
        open.push_back(name);
    }
    // A default may use another variable: until nothing changes any more.
    while (!open.empty()) {
      std::vector<std::string> rest;
      Error error(ErrorCode::invalid_argument, "");
      for (const std::string& name : open) {
        auto value = interpolate(text_of(variables_.at(name).value("default", ordered_json(""))), values);
        if (value) {
          values[name] = *value;
        } else {
          error = value.error();
          rest.push_back(name);
        }
      }
      if (rest.size() == open.size()) return Failure(std::move(error).with_context("variable \"" + rest[0] + "\""));
      open = std::move(rest);
    }
    return values;
  }

  /// Targets with a matrix become several, and a group of the target's own name.
  Result<void> unfold(const Variables& values) {
    ordered_json unfolded = ordered_json::object();
    for (auto& [name, target] : targets_.items()) {
      if (!target.contains("matrix")) {
        TRY_CTX(interpolate_all(target, values), "target \"" + name + "\"");
        unfolded[name] = target;
        continue;
      }
      std::vector<Variables> rows = {values};
      for (const auto& [variable, list] : target["matrix"].items()) {
        if (!list.is_array() || list.empty())
          return invalid("target \"" + name + "\": matrix \"" + variable + "\" is no list");
        std::vector<Variables> longer;
        for (const Variables& row : rows)
          for (const auto& item : list) {
            if (longer.size() >= kMaxTargets) return invalid("target \"" + name + "\": the matrix has over 1000 cells");
            Variables more = row;
            if (item.is_object())
              for (const auto& [key, value] : item.items()) more[variable + "." + key] = text_of(value);
            else
              more[variable] = text_of(item);
            longer.push_back(std::move(more));
          }
        rows = std::move(longer);
      }
      if (!target.contains("name"))
        return invalid("target \"" + name + "\": a matrix needs a \"name\" with its variables");
      groups_[name] = {{"targets", ordered_json::array()}};
      for (const Variables& row : rows) {
        ordered_json copy = target;
        copy.erase("matrix");
        TRY_CTX(interpolate_all(copy, row), "target \"" + name + "\"");
        const std::string cell = text_of(copy["name"]);
        copy.erase("name");
        if (cell == name || unfolded.contains(cell))
          return invalid("target \"" + name + "\": the matrix gives the name \"" + cell + "\" twice");
        unfolded[cell] = std::move(copy);
        groups_[name]["targets"].push_back(cell);
      }
    }
    targets_ = std::move(unfolded);
    return {};
  }

  Result<void> collect(const std::string& name, std::vector<std::string>& wanted, int depth) {
    if (depth > 50) return invalid("group \"" + name + "\" contains itself");
    if (const auto group = groups_.find(name); group != groups_.end()) {
      for (const auto& member : group->value("targets", ordered_json::array()))
        TRY(collect(text_of(member), wanted, depth + 1));
      return {};
    }
    if (!targets_.contains(name)) return fail(ErrorCode::not_found, "there is no target or group \"" + name + "\"");
    if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) wanted.push_back(name);
    return {};
  }

  Result<ordered_json> inherited(const std::string& name, std::set<std::string>& path) const {
    const auto found = targets_.find(name);
    if (found == targets_.end()) return fail(ErrorCode::not_found, "there is no target \"" + name + "\"");
    if (!path.insert(name).second) return invalid("target \"" + name + "\" inherits from itself");
    ordered_json result = ordered_json::object();
    for (const auto& parent : found->value("inherits", ordered_json::array())) {
      const ordered_json base = TRY(inherited(text_of(parent), path));
      lay_over(result, base);
    }
    lay_over(result, *found);
    result.erase("inherits");
    path.erase(name);
    return result;
  }

  Result<void> apply_set(const std::string& name, ordered_json& target) const {
    std::set<std::string> replaced;
    for (const std::string& text : options_.sets) {
      const std::size_t equals = text.find('=');
      std::string key = text.substr(0, equals);
      const bool append = equals != std::string::npos && key.ends_with('+');
      if (append) key.pop_back();
      const std::size_t dot = key.find('.');
      if (dot == std::string::npos || dot + 1 == key.size())
        return invalid("--set \"" + text + "\": write it as TARGET.KEY=VALUE");
      if (::fnmatch(key.substr(0, dot).c_str(), name.c_str(), 0) != 0) continue;
      std::string attribute = key.substr(dot + 1), sub;
      if (const std::size_t more = attribute.find('.'); more != std::string::npos) {
        sub = attribute.substr(more + 1);
        attribute.resize(more);
      }
      if (attribute == "secrets") attribute = "secret";
      if (attribute == "platform") attribute = "platforms";
      const bool is_map = attribute == "args" || attribute == "labels" || attribute == "contexts";
      if (equals == std::string::npos) {
        const auto value = options_.environment && is_map && !sub.empty() ? options_.environment(sub) : std::nullopt;
        if (!is_map || sub.empty()) return invalid("--set \"" + text + "\" has no value");
        if (value) target[attribute][sub] = *value;
        continue;
      }
      const std::string value = text.substr(equals + 1);
      static const std::set<std::string> kLists = {"annotations", "attest",    "cache-from",      "cache-to",
                                                   "tags",        "platforms", "output",          "secret",
                                                   "ssh",         "ulimits",   "no-cache-filter", "entitlements"};
      if (is_map || attribute == "extra-hosts") {
        if (sub.empty()) return invalid("--set \"" + text + "\": \"" + attribute + "\" needs a key");
        target[attribute][sub] = value;
      } else if (attribute == "push" || attribute == "load") {
        if (value == "true")
          target["output"] = ordered_json::array({attribute == "push" ? "type=registry" : "type=docker"});
      } else if (kLists.contains(attribute)) {
        if (!append && replaced.insert(attribute).second) target[attribute] = ordered_json::array();
        target[attribute].push_back(value);
      } else if (kKnown.contains(attribute) && attribute != "inherits" && attribute != "matrix" &&
                 attribute != "name") {
        target[attribute] = value;
      } else {
        return invalid("--set \"" + text + "\": unknown attribute \"" + attribute + "\"");
      }
    }
    return {};
  }

  Result<void> add_target(const std::string& name, std::map<std::string, ordered_json>& resolved,
                          std::set<std::string>& path, BakePlan& plan) {
    if (resolved.contains(name)) return {};
    if (!path.insert(name).second) return invalid("target \"" + name + "\" needs itself");
    std::set<std::string> ancestors;
    ordered_json target = TRY(inherited(name, ancestors));
    TRY(apply_set(name, target));
    target.erase("description");
    if (!target.contains("context")) target["context"] = ".";
    if (!target.contains("dockerfile") && !target.contains("dockerfile-inline")) target["dockerfile"] = "Dockerfile";
    if (options_.no_cache) target["no-cache"] = true;
    if (options_.pull) target["pull"] = true;
    if (options_.push) target["output"] = ordered_json::array({"type=registry"});
    if (options_.load) target["output"] = ordered_json::array({"type=docker"});
    BakeTarget built = TRY_CTX(bake_arguments(name, target.dump()), "target \"" + name + "\"");
    for (const auto& [context, needed] : built.needs) {
      if (!targets_.contains(needed))
        return fail(ErrorCode::not_found, "target \"" + name + "\": there is no target \"" + needed + "\"");
      TRY(add_target(needed, resolved, path, plan));
    }
    path.erase(name);
    resolved[name] = std::move(target);
    plan.targets.push_back(std::move(built));
    return {};
  }

  std::string print(const std::vector<std::string>& named, const std::vector<std::string>& wanted,
                    const std::map<std::string, ordered_json>& resolved, const BakePlan& plan) const {
    ordered_json document = {{"group", {{"default", {{"targets", wanted}}}}}, {"target", ordered_json::object()}};
    for (const std::string& name : named)
      if (name != "default" && groups_.contains(name))
        document["group"][name] = {{"targets", groups_.at(name)["targets"]}};
    for (const BakeTarget& target : plan.targets) document["target"][target.name] = resolved.at(target.name);
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }

  const BakeOptions& options_;
  ordered_json targets_ = ordered_json::object(), groups_ = ordered_json::object(), variables_ = ordered_json::object();
};

}  // namespace

Result<BakePlan> plan_bake(const BakeOptions& options) {
  try {
    Bake bake(options);
    for (const BakeFile& file : options.files) TRY(bake.add_file(file));
    return bake.plan();
  } catch (const nlohmann::json::exception& exception) {
    return invalid(std::string("a value of the bake file has the wrong type: ") + exception.what());
  }
}

}  // namespace dray::cli
