// SPDX-License-Identifier: Apache-2.0
// Names of users and groups are those of the image, looked up in its own passwd and group files.
#include <charconv>
#include <string_view>

#include <dray/core/rooted_path.hpp>

#include "ops/ops.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kMaxDatabase = 8u << 20;

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::vector<std::string_view> fields(std::string_view line) {
  std::vector<std::string_view> result;
  while (true) {
    const std::size_t colon = line.find(':');
    result.push_back(line.substr(0, colon));
    if (colon == std::string_view::npos) return result;
    line.remove_prefix(colon + 1);
  }
}

/// The fields of the line of `name` in /etc/passwd or /etc/group.
std::optional<std::vector<std::string>> find_line(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const auto parts = fields(text.substr(0, end));
    if (parts.size() >= 3 && parts[0] == name) return std::vector<std::string>(parts.begin(), parts.end());
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

Failure unknown(const std::string& kind, const std::string& name, const std::string& file) {
  return fail(ErrorCode::invalid_argument, "unable to find " + kind + " \"" + name + "\" in the image's " + file);
}

}  // namespace

Result<Owner> resolve_owner(FdRef root, const std::string& text) {
  Owner owner;
  if (text.empty()) return owner;
  const std::size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (const auto id = number(user)) {
    owner = {*id, *id};
  } else if (!user.empty()) {
    const auto passwd = read_regular_file_in_root(root, "/etc/passwd", kMaxDatabase);
    const auto line = passwd ? find_line(*passwd, user) : std::nullopt;
    const auto uid = line ? number((*line)[2]) : std::nullopt;
    const auto gid = line && line->size() > 3 ? number((*line)[3]) : std::nullopt;
    if (!uid) return unknown("user", user, "/etc/passwd");
    owner = {*uid, gid.value_or(*uid)};
  }
  if (group.empty()) return owner;
  if (const auto id = number(group)) {
    owner.gid = *id;
    return owner;
  }
  const auto groups = read_regular_file_in_root(root, "/etc/group", kMaxDatabase);
  const auto line = groups ? find_line(*groups, group) : std::nullopt;
  const auto gid = line ? number((*line)[2]) : std::nullopt;
  if (!gid) return unknown("group", group, "/etc/group");
  owner.gid = *gid;
  return owner;
}

Result<void> make_working_directory(FdRef root, const WorkdirOp& op) {
  const Owner owner = TRY(resolve_owner(root, op.owner));
  TRY_CTX(make_directories_in_root(root, op.path, 0755, owner.uid, owner.gid), "creating \"" + op.path + "\"");
  return {};
}

}  // namespace dray::builder
