// SPDX-License-Identifier: Apache-2.0
// dray bake --list and what --call answers of several targets.
#include <algorithm>
#include <map>

#include <dray/core/text.hpp>
#include <nlohmann/json.hpp>

#include "bake_values.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

struct Listing {
  bool is_variables = false, is_json = false;
};

Result<Listing> parse_listing(const std::string& what) {
  const auto wrong = [&what] {
    return fail(ErrorCode::invalid_argument,
                "invalid --list \"" + what + "\": use targets, variables or type=targets,format=json");
  };
  Listing listing;
  bool has_type = false;
  for (const std::string& field : split(what, ',')) {
    const std::size_t equals = field.find('=');
    const std::string key = equals == std::string::npos ? "type" : field.substr(0, equals);
    const std::string value = equals == std::string::npos ? field : field.substr(equals + 1);
    if (key == "type" && !has_type && (value == "targets" || value == "variables")) {
      has_type = true;
      listing.is_variables = value == "variables";
    } else if (key == "format" && (value == "json" || value == "table")) {
      listing.is_json = value == "json";
    } else {
      return wrong();
    }
  }
  if (!has_type) return wrong();
  return listing;
}

std::string dump(const ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string on_one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

struct Named {
  bool is_group = false;
  std::string description;
  std::vector<std::string> members;
};

Result<void> add(std::vector<BakeDefinition> definitions, bool is_group, std::map<std::string, Named>& all) {
  for (const BakeDefinition& definition : definitions) {
    Named& named = all[definition.name];
    named.is_group = is_group;
    for (const BakeDefinition::Attribute& attribute : definition.attributes) {
      if (attribute.name == "description" && !attribute.value.is_null())
        named.description = TRY(hcl::to_text(attribute.value));
      if (!is_group || attribute.name != "targets" || !attribute.value.is_list()) continue;
      for (const hcl::Value& member : attribute.value.list()) named.members.push_back(TRY(hcl::to_text(member)));
    }
    std::ranges::sort(named.members);
    const auto [first, last] = std::ranges::unique(named.members);
    named.members.erase(first, last);
  }
  return {};
}

/// A name that begins with "_" is for other targets only.
Result<std::string> list_targets(BakeValues& values, bool is_json) {
  std::map<std::string, Named> all;
  TRY(add(TRY(values.groups()), true, all));
  TRY(add(TRY(values.targets()), false, all));
  std::vector<std::vector<std::string>> rows = {{"TARGET", "DESCRIPTION"}};
  ordered_json list = ordered_json::array();
  for (auto& [name, named] : all) {
    if (name.starts_with('_')) continue;
    std::string members;
    for (const std::string& member : named.members) members += (members.empty() ? "" : ", ") + member;
    if (named.is_group && !members.empty())
      named.description = named.description.empty() ? members : named.description + " (" + members + ")";
    rows.push_back({name, on_one_line(named.description)});
    ordered_json entry = {{"name", name}};
    if (!named.description.empty()) entry["description"] = named.description;
    if (named.is_group) entry["group"] = true;
    list.push_back(std::move(entry));
  }
  return is_json ? dump(list) : align_columns(rows, 3);
}

Result<std::string> list_variables(BakeValues& values, bool is_json) {
  std::vector<std::vector<std::string>> rows = {{"VARIABLE", "TYPE", "VALUE", "DESCRIPTION"}};
  ordered_json list = ordered_json::array();
  for (const BakeValues::Described& variable : TRY(values.describe_variables())) {
    std::string value = "<null>";
    if (variable.value && !variable.value->is_null())
      value = variable.value->is_string() ? variable.value->text() : TRY(hcl::to_json(*variable.value));
    if (variable.is_sensitive && variable.value) value = "<sensitive>";
    rows.push_back({variable.name, variable.type, on_one_line(value), on_one_line(variable.description)});
    ordered_json entry = {{"name", variable.name}};
    if (!variable.type.empty()) entry["type"] = variable.type;
    if (!variable.description.empty()) entry["description"] = variable.description;
    if (variable.value && !variable.value->is_null()) entry["value"] = value;
    list.push_back(std::move(entry));
  }
  return is_json ? dump(list) : align_columns(rows, 3);
}

}  // namespace

Result<std::string> list_bake(const BakeOptions& options, const std::string& what) {
  const Listing listing = TRY(parse_listing(what));
  BakeValues values(options.environment);
  for (const BakeFile& file : options.files) TRY(values.add_file(TRY(read_bake_file(file, options.environment))));
  return listing.is_variables ? list_variables(values, listing.is_json) : list_targets(values, listing.is_json);
}

std::string bake_answers_json(const BakePlan& plan, const std::vector<BakeAnswer>& answers) {
  ordered_json document = ordered_json::parse(plan.printed, nullptr, false);
  ordered_json targets = ordered_json::object();
  for (const auto& [name, definition] : document["target"].items()) targets[name] = {{"build", definition}};
  for (const BakeAnswer& answer : answers)
    targets[answer.target][answer.question] = ordered_json::parse(answer.json, nullptr, false);
  document["target"] = std::move(targets);
  return dump(document);
}

}  // namespace dray::cli
