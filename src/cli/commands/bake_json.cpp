// SPDX-License-Identifier: Apache-2.0
// Bake files: what their blocks say, laid over each other; groups and inheritance resolved.
#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include <dray/core/text.hpp>
#include <nlohmann/json.hpp>

#include "bake_values.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

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

/// Values and bytes of text.
std::size_t weight(const ordered_json& value) {
  if (value.is_string()) return 1 + value.get_ref<const std::string&>().size();
  std::size_t sum = 1;
  if (value.is_structured())
    for (const auto& [key, item] : value.items()) sum += (value.is_object() ? key.size() : 0) + weight(item);
  return sum;
}

/// "a > b > c", the middle left out where it is long.
std::string chain(const std::vector<std::string>& names, const std::string& last) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i == 5 && names.size() > 10) text += "… > ", i = names.size() - 5;
    text += names[i] + " > ";
  }
  return text + last;
}

Result<void> lay_over(ordered_json& target, const ordered_json& other, hcl::Budget& budget) {
  for (const auto& [key, value] : other.items()) {
    ordered_json& own = target[key];
    if (own.is_structured()) TRY(budget.work(own.size() * (1 + value.size())));
    if (own.is_object() && value.is_object()) {
      for (const auto& [name, item] : value.items()) own[name] = item;
    } else if (own.is_array() && value.is_array() && !kReplaced.contains(key)) {
      for (const auto& item : value)
        if (std::find(own.begin(), own.end(), item) == own.end()) own.push_back(item);
    } else {
      own = value;
    }
  }
  return {};
}

constexpr std::size_t kMaxChain = 100;            ///< groups in groups, ancestors, contexts that are targets
constexpr std::size_t kMaxInherited = 16u << 20;  ///< values and bytes, with each heir's copy

/// What is printed is a bake file again: "${" and "%{" are written so that they stay what they are.
ordered_json escaped(const ordered_json& value) {
  if (value.is_string()) {
    std::string text;
    for (const char c : value.get<std::string>()) {
      if (c == '{' && (text.ends_with('$') || text.ends_with('%'))) text.push_back(text.back());
      text.push_back(c);
    }
    return text;
  }
  ordered_json copy = value;
  if (value.is_structured())
    for (auto& item : copy) item = escaped(item);
  return copy;
}

std::string text_of(const ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "" : value.dump();
}

/// Texts where texts belong: a number or a boolean is also one. A null in a map is as if it were not there.
Result<hcl::Value> plain_value(const std::string& name, const hcl::Value& value) {
  if (name == "no-cache" || name == "pull") return hcl::Value(TRY(hcl::to_truth(value)));
  if (value.is_object()) {
    hcl::Object texts;
    for (const auto& [key, item] : value.object())
      if (!item.is_null()) texts[key] = TRY_CTX(hcl::to_text(item), "\"" + key + "\"");
    return hcl::Value(std::move(texts));
  }
  if (!value.is_list()) return hcl::Value(TRY(hcl::to_text(value)));
  hcl::List items;
  for (const hcl::Value& item : value.list())
    items.push_back(item.is_object() ? item : hcl::Value(TRY(hcl::to_text(item))));
  return hcl::Value(std::move(items));
}

/// An entry of "output" or "attest" ("type=image,push=true", or an object) as an object. What has no key at all is a
/// place, and has no type.
ordered_json fields_of(const ordered_json& entry) {
  if (entry.is_object()) return entry;
  ordered_json fields = ordered_json::object();
  const auto records = hcl::read_csv(text_of(entry));
  if (!records || records->empty()) return fields;
  for (const std::string& field : records->front())
    if (const std::size_t equals = field.find('='); equals != std::string::npos)
      fields[field.substr(0, equals)] = field.substr(equals + 1);
  return fields;
}
std::string type_of(const ordered_json& entry) { return text_of(fields_of(entry).value("type", ordered_json())); }

/// nullptr: there is something else, which is an error later.
ordered_json* outputs_of(ordered_json& target) {
  ordered_json& outputs = target["output"];
  if (outputs.is_null()) outputs = ordered_json::array();
  return outputs.is_array() ? &outputs : nullptr;
}

void keep_if(ordered_json& list, const std::function<bool(const ordered_json&)>& wanted) {
  ordered_json kept = ordered_json::array();
  for (ordered_json& item : list)
    if (wanted(item)) kept.push_back(std::move(item));
  list = std::move(kept);
}

/// As buildx: --push makes images go to the registry, and adds that to what has none but `docker`; --set *.push=false
/// takes it away.
void set_push(ordered_json& target, bool push) {
  ordered_json* outputs = outputs_of(target);
  if (outputs == nullptr) return;
  if (!push) keep_if(*outputs, [](const ordered_json& output) { return type_of(output) != "registry"; });
  bool adds = push;
  for (ordered_json& output : *outputs) {
    const std::string type = type_of(output);
    adds = adds && type == "docker";
    if (type != "image") continue;
    output = fields_of(output);
    output["push"] = push ? "true" : "false";
  }
  if (adds) outputs->push_back("type=registry");
}

/// --load adds the image store to images that go elsewhere, but not to files and directories.
void set_load(ordered_json& target, bool load) {
  ordered_json* outputs = outputs_of(target);
  if (outputs == nullptr) return;
  const auto is_store = [](const ordered_json& output) {
    return type_of(output) == "docker" && !fields_of(output).contains("dest");
  };
  if (!load) return keep_if(*outputs, [&](const ordered_json& output) { return !is_store(output); });
  for (const ordered_json& output : *outputs) {
    const std::string type = type_of(output);
    if (is_store(output) || (type != "docker" && type != "image" && type != "registry" && type != "oci")) return;
  }
  outputs->push_back("type=docker");
}

void set_attestation(ordered_json& target, const std::string& type, const std::string& words) {
  ordered_json& attestations = target["attest"];
  keep_if(attestations, [&](const ordered_json& attestation) { return type_of(attestation) != type; });
  attestations.push_back(words);
}

class Bake {
 public:
  explicit Bake(const BakeOptions& options) : options_(options), values_(options.environment) {}

  Result<void> add_file(const BakeFile& file) {
    TRY(values_.add_file(TRY(read_bake_file(file, options_.environment))));
    return {};
  }

  Result<BakePlan> plan() {
    TRY(values_.check_variables());
    for (const BakeDefinition& group : TRY(values_.groups())) TRY(add(group, groups_[group.name]));
    for (const BakeDefinition& target : TRY(values_.targets())) {
      TRY(check_target(target));
      const auto [known, is_new] = targets_.try_emplace(target.name);
      if (is_new) target_names_.push_back(target.name);
      TRY(add(target, known->second));
    }
    std::vector<std::string> wanted;
    std::vector<std::string> named = options_.targets;
    if (named.empty()) named.push_back("default");
    for (const std::string& name : named) {
      if (name == "default" && !groups_.contains(name) && !targets_.contains(name) && options_.targets.empty()) {
        wanted = target_names_;
        continue;
      }
      TRY(collect(name, wanted));
    }
    std::map<std::string, ordered_json> resolved;
    BakePlan plan;
    std::vector<std::string> path;
    wanted_.insert(wanted.begin(), wanted.end());
    for (const std::string& name : wanted) TRY(add_target(name, resolved, path, plan));
    plan.printed = print(named, wanted, resolved, plan);
    return plan;
  }

 private:
  static Result<void> check_target(const BakeDefinition& target) {
    for (const BakeDefinition::Attribute& attribute : target.attributes)
      if (!kKnown.contains(attribute.name))
        return hcl::error_at(attribute.place,
                             "target \"" + target.name + "\": unknown attribute \"" + attribute.name + "\"");
    return {};
  }

  /// Over what earlier blocks of the name say.
  Result<void> add(const BakeDefinition& definition, ordered_json& known) {
    if (known.is_null()) known = ordered_json::object();
    ordered_json attributes = ordered_json::object();
    for (const auto& [name, value, place] : definition.attributes) {
      if (value.is_null()) continue;
      // What keeps an object's order looks at all its names to find one.
      if (value.is_object()) TRY(budget_.work(value.object().size() * value.object().size() / 8));
      const auto plain = plain_value(name, value);
      if (!plain) return hcl::error_at(place, name + ": " + plain.error().message());
      attributes[name] = ordered_json::parse(TRY(hcl::to_json(*plain)));
    }
    return lay_over(known, attributes, budget_);
  }

  /// `name` may follow on those before it, unless it is one of them or they are too many.
  static Result<void> enter(std::vector<std::string>& path, const std::string& name, const char* circle) {
    if (std::ranges::find(path, name) != path.end()) return invalid(circle + (": " + chain(path, name)));
    if (path.size() >= kMaxChain)
      return invalid("over " + std::to_string(kMaxChain) + " names follow on each other: " + chain(path, name));
    path.push_back(name);
    return {};
  }

  void want(const std::string& name, std::vector<std::string>& wanted) {
    if (collected_targets_.insert(name).second) wanted.push_back(name);
  }

  Result<void> collect(const std::string& name, std::vector<std::string>& wanted) {
    const auto group = groups_.find(name);
    if (group == groups_.end()) {
      if (!targets_.contains(name)) return fail(ErrorCode::not_found, "there is no target or group \"" + name + "\"");
      want(name, wanted);
      return {};
    }
    if (collected_groups_.contains(name)) return {};
    TRY(enter(open_groups_, name, "a group contains itself"));
    for (const auto& member : group->second.value("targets", ordered_json::array())) {
      const std::string member_name = text_of(member);
      if (member_name != name || !targets_.contains(name))
        TRY(collect(member_name, wanted));
      else
        want(name, wanted);  // the target of the group's name
    }
    open_groups_.pop_back();
    collected_groups_.insert(name);
    return {};
  }

  Result<ordered_json> inherited(const std::string& name, std::vector<std::string>& path) {
    if (const auto known = inherited_.find(name); known != inherited_.end()) return known->second;
    const auto found = targets_.find(name);
    if (found == targets_.end()) return fail(ErrorCode::not_found, "there is no target \"" + name + "\"");
    TRY(enter(path, name, "a target inherits from itself"));
    ordered_json result = ordered_json::object();
    for (const auto& parent : found->second.value("inherits", ordered_json::array())) {
      const ordered_json base = TRY(inherited(text_of(parent), path));
      TRY(budget_.make(weight(base)));
      TRY(lay_over(result, base, budget_));
    }
    TRY(lay_over(result, found->second, budget_));
    result.erase("inherits");
    path.pop_back();
    inherited_[name] = result;
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
      const bool is_push = attribute == "push", is_load = attribute == "load";
      const bool is_truth = is_push || is_load || attribute == "no-cache" || attribute == "pull";
      if (equals == std::string::npos && !is_truth) {
        const auto value = options_.environment && is_map && !sub.empty() ? options_.environment(sub) : std::nullopt;
        if (!is_map || sub.empty()) return invalid("--set \"" + text + "\" has no value");
        if (value) target[attribute][sub] = *value;
        continue;
      }
      const std::string value = equals == std::string::npos ? "true" : text.substr(equals + 1);
      static const std::set<std::string> kLists = {"annotations", "attest",    "cache-from",      "cache-to",
                                                   "tags",        "platforms", "output",          "secret",
                                                   "ssh",         "ulimits",   "no-cache-filter", "entitlements"};
      if (is_map || attribute == "extra-hosts") {
        if (sub.empty()) return invalid("--set \"" + text + "\": \"" + attribute + "\" needs a key");
        target[attribute][sub] = value;
      } else if (is_push || is_load) {
        const auto wanted = parse_bool(value);
        if (!wanted) return invalid("--set \"" + text + "\": the value must be true or false");
        is_push ? set_push(target, *wanted) : set_load(target, *wanted);
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
                          std::vector<std::string>& path, BakePlan& plan) {
    if (resolved.contains(name)) return {};
    TRY(enter(path, name, "a target needs itself"));
    std::vector<std::string> ancestors;
    ordered_json target = TRY(inherited(name, ancestors));
    TRY(apply_set(name, target));
    const std::string description = text_of(target.value("description", ordered_json()));
    target.erase("description");
    if (!target.contains("context")) target["context"] = ".";
    if (!target.contains("dockerfile") && !target.contains("dockerfile-inline")) target["dockerfile"] = "Dockerfile";
    if (options_.no_cache) target["no-cache"] = true;
    if (options_.pull) target["pull"] = true;
    if (!options_.call.empty()) target["call"] = options_.call;
    for (const auto& [type, words] : options_.attestations) set_attestation(target, type, words);
    if (options_.push) set_push(target, true);
    if (options_.load) set_load(target, true);
    // As buildx: of what others need and nobody asked for nothing goes anywhere.
    const bool is_wanted = wanted_.contains(name);
    if (!is_wanted) target["output"] = ordered_json::array({"type=cacheonly"});
    BakeTarget built = TRY_CTX(bake_arguments(name, target.dump()), "target \"" + name + "\"");
    built.description = description;
    built.is_wanted = is_wanted;
    ordered_json own = ordered_json::object();
    TRY(apply_set(name, own));
    if (!own.empty()) built.own_arguments = TRY(bake_arguments(name, own.dump())).arguments;
    for (const auto& [context, needed] : built.needs) {
      if (!targets_.contains(needed))
        return fail(ErrorCode::not_found, "target \"" + name + "\": there is no target \"" + needed + "\"");
      TRY(add_target(needed, resolved, path, plan));
    }
    path.pop_back();
    resolved[name] = std::move(target);
    plan.targets.push_back(std::move(built));
    return {};
  }

  std::string print(const std::vector<std::string>& named, const std::vector<std::string>& wanted,
                    const std::map<std::string, ordered_json>& resolved, const BakePlan& plan) const {
    const bool chosen = named != std::vector<std::string>{"default"};
    ordered_json document = {{"group", {{"default", {{"targets", chosen ? named : wanted}}}}},
                             {"target", ordered_json::object()}};
    ordered_json& groups = document["group"];
    for (std::vector<std::string> open = named; !open.empty();) {
      const std::string name = std::move(open.back());
      open.pop_back();
      if (!groups_.contains(name) || (groups.contains(name) && (chosen || name != "default"))) continue;
      groups[name] = {{"targets", groups_.at(name).value("targets", ordered_json::array())}};
      for (const auto& member : groups[name]["targets"])
        if (text_of(member) != "default") open.push_back(text_of(member));
    }
    for (const BakeTarget& target : plan.targets) document["target"][target.name] = escaped(resolved.at(target.name));
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }

  const BakeOptions& options_;
  BakeValues values_;
  std::map<std::string, ordered_json> targets_, groups_;
  std::vector<std::string> target_names_;  ///< in the files' order
  std::vector<std::string> open_groups_;   ///< each a member of the one before
  std::set<std::string> collected_groups_, collected_targets_, wanted_;
  std::map<std::string, ordered_json> inherited_;  ///< targets with what they inherit
  hcl::Budget budget_{kMaxInherited, hcl::Budget::kMaxWork};
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
