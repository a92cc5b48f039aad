// SPDX-License-Identifier: Apache-2.0
// USER and --user, by Docker's rules (moby/sys user: GetExecUser). The files are the image's, so hostile: regular files
// only, limited in size, read line by line without trust in their form; a number that does not fit is an error and
// never 0.
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

#include <dray/core/rooted_path.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::runtime {
namespace {

constexpr std::size_t kMaxFile = 8u << 20;
constexpr std::size_t kMaxLine = 256u << 10;
constexpr std::uint32_t kMaxId = 2147483647;  // Docker's; above it some tools see a negative number
constexpr std::size_t kMaxGroups = 65536;     // the kernel's NGROUPS_MAX

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t id = 0;
  if (!is_number(text)) return std::nullopt;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id > kMaxId) return std::nullopt;
  return id;
}

// Absent is the same as empty: images "FROM scratch" have no users.
Result<std::string> read_database(int rootfs, const std::string& path) {
  auto content = read_regular_file_in_root(FdRef(rootfs), path, kMaxFile);
  if (content) return content;
  if (content.error().code() == ErrorCode::not_found || content.error().error_number() == ENOTDIR) return std::string();
  return content;
}

/// The colon-separated fields of each line, empty and overlong lines and comments left out.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  std::vector<std::string_view> fields;
  while (!text.empty()) {
    std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.size() > kMaxLine || line.front() == '#' || line.find('\0') != std::string_view::npos)
      continue;
    fields.clear();
    for (std::size_t start = 0;;) {
      std::size_t colon = line.find(':', start);
      fields.push_back(line.substr(start, colon == std::string_view::npos ? colon : colon - start));
      if (colon == std::string_view::npos) break;
      start = colon + 1;
    }
    if (!visit(fields)) return;
  }
}

struct PasswdEntry {
  std::string name, home;
  std::uint32_t uid = 0, gid = 0;
};

// By name first, as in Docker: a user may be called "1000".
std::optional<PasswdEntry> find_user(std::string_view passwd, std::string_view name, std::optional<std::uint32_t> uid) {
  std::optional<PasswdEntry> by_name, by_id;
  for_each_line(passwd, [&](const std::vector<std::string_view>& fields) {
    if (fields.size() < 4) return true;
    auto its_uid = parse_id(fields[2]);
    auto its_gid = parse_id(fields[3]);
    if (!its_uid || !its_gid) return true;
    PasswdEntry entry{std::string(fields[0]), fields.size() > 5 ? std::string(fields[5]) : "", *its_uid, *its_gid};
    if (!name.empty() && fields[0] == name) {
      by_name = std::move(entry);
      return false;
    }
    if (uid && *its_uid == *uid && !by_id) by_id = std::move(entry);
    return true;
  });
  return by_name ? by_name : by_id;
}

bool lists_member(std::string_view members, std::string_view user) {
  for (std::size_t start = 0; start <= members.size();) {
    std::size_t end = std::min(members.find(',', start), members.size());
    if (members.substr(start, end - start) == user) return true;
    start = end + 1;
  }
  return false;
}

std::optional<std::uint32_t> find_group(std::string_view group, std::string_view name) {
  std::optional<std::uint32_t> found;
  for_each_line(group, [&](const std::vector<std::string_view>& fields) {
    if (fields.size() < 3 || fields[0] != name) return true;
    found = parse_id(fields[2]);
    return !found;
  });
  return found;
}

Result<std::uint32_t> resolve_group(std::string_view group_file, std::string_view text) {
  if (auto found = find_group(group_file, text)) return *found;
  if (auto id = parse_id(text)) return *id;
  if (is_number(text))
    return fail(ErrorCode::invalid_argument, "group ID \"" + std::string(text) + "\" must be in range 0-2147483647");
  return fail(ErrorCode::not_found,
              "unable to find group " + std::string(text) + ": no matching entries in group file");
}

void add_group(std::vector<std::uint32_t>& groups, std::uint32_t gid) {
  if (std::find(groups.begin(), groups.end(), gid) == groups.end()) groups.push_back(gid);
}

}  // namespace

Result<ResolvedUser> resolve_user(int rootfs_fd, const std::string& text,
                                  const std::vector<std::string>& additional_groups) {
  std::string_view user_text = std::string_view(text).substr(0, text.find(':'));
  std::string_view group_text;
  if (std::size_t colon = text.find(':'); colon != std::string::npos)
    group_text = std::string_view(text).substr(colon + 1);
  if (group_text.find(':') != std::string_view::npos || text.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "invalid user \"" + text + "\"");

  std::string passwd = TRY(read_database(rootfs_fd, "/etc/passwd"));
  std::string group = TRY(read_database(rootfs_fd, "/etc/group"));
  std::optional<std::uint32_t> uid = user_text.empty() ? std::optional<std::uint32_t>(0) : parse_id(user_text);
  auto entry = find_user(passwd, user_text, uid);
  ResolvedUser resolved;
  resolved.home = "/";
  if (entry) {
    resolved.user.uid = entry->uid;
    resolved.user.gid = entry->gid;
    resolved.name = entry->name;
    // A line break in it would become a second variable to whoever parses the environment as lines.
    bool sane = !entry->home.empty() && entry->home.front() == '/' &&
                std::none_of(entry->home.begin(), entry->home.end(),
                             [](char c) { return static_cast<unsigned char>(c) < 0x20; });
    if (sane) resolved.home = entry->home;
  } else if (uid) {
    resolved.user.uid = *uid;
  } else if (is_number(user_text)) {
    return fail(ErrorCode::invalid_argument,
                "user ID \"" + std::string(user_text) + "\" must be in range 0-2147483647");
  } else {
    return fail(ErrorCode::not_found,
                "unable to find user " + std::string(user_text) + ": no matching entries in passwd file");
  }

  if (!group_text.empty()) resolved.user.gid = TRY(resolve_group(group, group_text));
  // The own group is in the list, too: a program that changes its group and back must not have lost what a file's mode
  // denies that group (CVE-2023-25173).
  add_group(resolved.user.additional_gids, resolved.user.gid);
  if (entry && group_text.empty()) {  // with a group named, only that group
    for_each_line(group, [&](const std::vector<std::string_view>& fields) {
      if (fields.size() < 4 || !lists_member(fields[3], entry->name)) return true;
      if (auto gid = parse_id(fields[2])) add_group(resolved.user.additional_gids, *gid);
      return resolved.user.additional_gids.size() < kMaxGroups;
    });
  }
  for (const auto& name : additional_groups) {
    std::uint32_t gid = TRY(resolve_group(group, name));
    add_group(resolved.user.additional_gids, gid);
  }
  return resolved;
}

}  // namespace dray::runtime
