// SPDX-License-Identifier: Apache-2.0
// Volumes: root/volumes/<name>/_data and a row each. A directory without a row is a leftover.
#include "volumes.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/copy_directory.hpp>
#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>

#include "container_state.hpp"

namespace dray::engine {
namespace {

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

Result<bool> is_empty(FdRef directory) {
  const auto names = TRY_CTX(list_directory(directory), "reading a volume");
  return names.empty();
}

VolumeInfo info_of(const Context& context, const store::Row& row) {
  return {row.text(0), row.text(1), volume_data(context, row.text(0)), row.integer(2) != 0};
}

}  // namespace

Result<void> check_volume_name(const std::string& name) {
  bool good = name.size() > 1 && name.size() <= 255 && is_alphanumeric(name[0]);
  for (char c : name) good = good && (is_alphanumeric(c) || c == '_' || c == '.' || c == '-');
  if (good) return {};
  return fail(
      ErrorCode::invalid_argument,
      "create " + name + ": \"" + name +
          "\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If "
          "you intended to pass a host directory, use absolute path");
}

std::string volume_data(const Context& context, const std::string& name) {
  return context.configuration.root + "/volumes/" + name + "/_data";
}

Result<VolumeInfo> ensure_volume(Context& context, const std::string& name, bool anonymous) {
  TRY(check_volume_name(name));
  auto database = context.store->database();
  TRY(make_directories(context.configuration.root + "/volumes", 0711));
  TRY(make_directories(volume_data(context, name), 0755));
  TRY(database->execute("INSERT OR IGNORE INTO volumes(name, created, anonymous) VALUES(?, ?, ?)",
                        {name, format_time_now(), static_cast<std::int64_t>(anonymous)}));
  auto rows = TRY(database->query("SELECT name, created, anonymous FROM volumes WHERE name = ?", {name}));
  if (rows.empty()) return fail(ErrorCode::in_use, "volume " + name + " was removed while it was created");
  return info_of(context, rows[0]);
}

Result<VolumeInfo> create_volume(Context& context, const std::string& name) {
  TRY(create_tables(context));
  return ensure_volume(context, name.empty() ? random_hex(32) : name, name.empty());
}

Result<std::vector<VolumeInfo>> list_volumes(Context& context) {
  auto rows = TRY(context.store->database()->query("SELECT name, created, anonymous FROM volumes ORDER BY name"));
  std::vector<VolumeInfo> volumes;
  for (const auto& row : rows) volumes.push_back(info_of(context, row));
  return volumes;
}

Result<void> remove_volume(Context& context, const std::string& name) {
  auto database = context.store->database();
  auto rows = TRY(database->query("SELECT name FROM volumes WHERE name = ?", {name}));
  if (rows.empty()) return fail(ErrorCode::not_found, "get " + name + ": no such volume");
  std::string users;
  auto names = TRY(all_names(context));
  for (const auto& container : names) {
    auto record = read_record(context, container);
    if (!record) continue;
    for (const auto& point : record->mounts) {
      if (point.mount.kind != VolumeMount::Kind::volume || point.mount.source != name) continue;
      users += (users.empty() ? "" : ", ") + record->id;
      break;
    }
  }
  if (!users.empty()) return fail(ErrorCode::in_use, "remove " + name + ": volume is in use - [" + users + "]");
  TRY(database->execute("DELETE FROM volumes WHERE name = ?", {name}));
  FileDescriptor directory = TRY(open_file(context.configuration.root + "/volumes", O_PATH | O_DIRECTORY));
  return remove_tree(directory, name);
}

Result<void> fill_volume(Context& context, const std::string& name, FdRef rootfs, const std::string& path) {
  // Two containers that start on one new volume: the second waits for the copy, then finds the volume filled.
  FileLock lock =
      TRY(FileLock::acquire(context.configuration.root + "/volumes/" + name + "/lock", FileLock::Mode::exclusive));
  FileDescriptor target = TRY(open_file(volume_data(context, name), O_RDONLY | O_DIRECTORY));
  bool empty = TRY(is_empty(target));
  if (!empty) return {};
  auto source = open_in_root(rootfs, path, O_RDONLY | O_DIRECTORY);
  if (!source) return {};  // nothing there, or no directory: the volume stays empty
  TRY_CTX(copy_directory(*source, target), "filling volume " + name + " from the image");
  return {};
}

}  // namespace dray::engine
