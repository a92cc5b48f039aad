// SPDX-License-Identifier: Apache-2.0
// The answers of build --call in the form of BuildKit's subrequests, and the metadata file in that of buildx.
#include <nlohmann/json.hpp>

#include "build_command.hpp"

namespace dray::cli {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json location(int first, int last) {
  ordered_json range = {{"start", {{"line", first}}}, {"end", {{"line", last}}}};
  return {{"ranges", ordered_json::array({range})}};
}

ordered_json mounts(const std::vector<builder::Outline::Mount>& mounts) {
  ordered_json list = ordered_json::array();
  for (const auto& mount : mounts) {
    ordered_json entry = {{"name", mount.id}};
    if (mount.required) entry["required"] = true;
    entry["location"] = location(mount.line, mount.line);
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace

std::string check_json(const builder::LintReport& report) {
  ordered_json document = {{"warnings", ordered_json::array()}, {"sources", ordered_json::array()}};
  for (const auto& warning : report.warnings) {
    ordered_json entry = {{"ruleName", warning.rule}, {"description", warning.description}};
    if (!warning.url.empty()) entry["url"] = warning.url;
    entry["detail"] = warning.detail;
    entry["location"] = location(warning.line, warning.end_line);
    document["warnings"].push_back(std::move(entry));
  }
  document["sources"].push_back({{"filename", report.file}, {"language", "Dockerfile"}});
  if (report.error) {
    ordered_json error = {{"message", report.error->message()}, {"location", ordered_json::object()}};
    if (report.error_line > 0) error["location"] = location(report.error_line, report.error_line);
    document["buildError"] = std::move(error);
  }
  return dump(document);
}

std::string targets_json(const std::vector<builder::TargetDescription>& targets) {
  ordered_json document = {{"targets", ordered_json::array()}};
  for (const auto& target : targets) {
    ordered_json entry = ordered_json::object();
    if (!target.name.empty()) entry["name"] = target.name;
    if (target.is_default) entry["default"] = true;
    if (!target.description.empty()) entry["description"] = target.description;
    entry["base"] = target.base;
    if (!target.platform.empty()) entry["platform"] = target.platform;
    entry["location"] = location(target.line, target.line);
    document["targets"].push_back(std::move(entry));
  }
  return dump(document);
}

std::string outline_json(const builder::Outline& outline) {
  ordered_json document = ordered_json::object();
  if (!outline.name.empty()) document["name"] = outline.name;
  if (!outline.description.empty()) document["description"] = outline.description;
  for (const auto& argument : outline.arguments) {
    ordered_json entry = {{"name", argument.name}};
    if (!argument.description.empty()) entry["description"] = argument.description;
    if (!argument.value.empty()) entry["value"] = argument.value;
    entry["location"] = location(argument.line, argument.line);
    document["args"].push_back(std::move(entry));
  }
  if (!outline.secrets.empty()) document["secrets"] = mounts(outline.secrets);
  if (!outline.ssh.empty()) document["ssh"] = mounts(outline.ssh);
  return dump(document);
}

static ordered_json metadata(const builder::BuildResult& result) {
  ordered_json document = ordered_json::object();
  if (!result.image_id.empty()) document["containerimage.config.digest"] = result.image_id.to_string();
  if (!result.manifest.empty()) document["containerimage.digest"] = result.manifest.to_string();
  std::string names;
  for (const std::string& name : result.tagged) names += (names.empty() ? "" : ",") + name;
  if (!names.empty()) document["image.name"] = names;
  return document;
}

std::string metadata_json(const builder::BuildResult& result) { return dump(metadata(result)); }

std::string bake_metadata_json(const std::vector<std::pair<std::string, builder::BuildResult>>& results) {
  ordered_json document = ordered_json::object();
  for (const auto& [name, result] : results) document[name] = metadata(result);
  return dump(document);
}

}  // namespace dray::cli
