// SPDX-License-Identifier: Apache-2.0
// `create`: merges the image's configuration with the user's wishes into a record, once and for all; later starts read
// only that record. Order: files first, the row (which reserves the name and makes the container exist) last, so that a
// kill in between leaves only a directory and a snapshot without an owner.
#include <unistd.h>

#include <algorithm>

#include <dray/core/process.hpp>
#include <dray/core/rooted_path.hpp>
#include <dray/runtime/launch.hpp>

#include "container_spec.hpp"
#include "container_state.hpp"
#include "platform_images.hpp"
#include "volumes.hpp"

namespace dray::engine {
namespace {

Failure name_conflict(const std::string& name, const std::string& holder) {
  return fail(ErrorCode::in_use,
              "Conflict. The container name \"/" + name + "\" is already in use by container \"" + holder +
                  "\". You have to remove (or rename) that container to be able to reuse that name.");
}

Result<std::string> holder_of(Context& context, const std::string& name) {
  auto rows = TRY(context.store->database()->query("SELECT id FROM containers WHERE name = ?", {name}));
  return rows.empty() ? std::string() : rows[0].text(0);
}

Result<void> check_name(const std::string& name) {
  auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  bool good = name.size() >= 2 && alphanumeric(name[0]);
  for (char c : name) good = good && (alphanumeric(c) || c == '_' || c == '.' || c == '-');
  if (good) return {};
  return fail(ErrorCode::invalid_argument,
              "Invalid container name (" + name + "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
}

Result<std::string> choose_name(Context& context, const std::string& wish) {
  std::string name = wish.starts_with('/') ? wish.substr(1) : wish;
  if (!name.empty()) {
    TRY(check_name(name));
    std::string holder = TRY(holder_of(context, name));
    if (!holder.empty()) return name_conflict(name, holder);
    return name;
  }
  for (int attempt = 0;; ++attempt) {
    name = make_container_name();
    if (attempt >= 3) name += "_" + random_hex(2);
    std::string holder = TRY(holder_of(context, name));
    if (holder.empty()) return name;
  }
}

// Docker's rule: --entrypoint drops the image's CMD as well, since that was meant for the image's entrypoint.
Result<void> merge_command(ContainerRecord& record, const image::ContainerConfig& config) {
  const ContainerOptions& options = record.options;
  record.entrypoint = options.entrypoint ? *options.entrypoint : config.entrypoint;
  if (options.entrypoint && options.entrypoint->size() == 1 && options.entrypoint->front().empty())
    record.entrypoint.clear();
  record.cmd = !options.command.empty() ? options.command
               : options.entrypoint     ? std::vector<std::string>{}
                                        : config.cmd;
  if (record.entrypoint.empty() && record.cmd.empty())
    return Failure(Error(ErrorCode::invalid_argument, "no command specified")
                       .with_hint("the image has neither ENTRYPOINT nor CMD: give a command after the image's name"));
  return {};
}

Result<void> merge_mounts(ContainerRecord& record, const image::ContainerConfig& config) {
  std::set<std::string> taken;
  for (const auto& mount : record.options.mounts) {
    std::string destination = clean_path(mount.destination);
    if (!taken.insert(destination).second)
      return fail(ErrorCode::invalid_argument, "Duplicate mount point: " + destination);
    MountPoint point;
    point.mount = mount;
    point.mount.destination = destination;
    if (mount.kind == VolumeMount::Kind::volume && mount.source.empty()) {
      point.anonymous = true;
      point.mount.source = random_hex(32);
    }
    record.mounts.push_back(std::move(point));
  }
  for (const auto& volume : config.volumes) {
    std::string destination = clean_path("/" + volume);
    if (destination == "/" || !taken.insert(destination).second) continue;
    MountPoint point;
    point.anonymous = true;
    point.mount.kind = VolumeMount::Kind::volume;
    point.mount.source = random_hex(32);
    point.mount.destination = destination;
    record.mounts.push_back(std::move(point));
  }
  return {};
}

// Files named in options are read now: a container means the same at every start.
Result<void> fix_security_options(ContainerOptions& options) {
  for (auto& option : options.security_opt) {
    if (!option.starts_with("seccomp=") && !option.starts_with("seccomp:")) continue;
    std::string value = option.substr(8);
    if (value != "unconfined" && value != "builtin" && !value.starts_with('{')) {
      value = TRY_CTX(read_file(value, 4u << 20), "opening seccomp profile");
    }
    if (value.starts_with('{'))
      TRY_CTX(runtime::parse_seccomp(value, runtime::default_capabilities()), "seccomp profile");
    option = "seccomp=" + value;
  }
  return {};
}

Result<void> check_options(ContainerOptions& options) {
  if (options.network.empty() || options.network == "default") options.network = "bridge";
  if (options.network != "bridge" && options.network != "none" && options.network != "host")
    return fail(ErrorCode::not_found, "network " + options.network + " not found");
  if (options.memory != 0 && options.memory < 6 * 1024 * 1024)
    return fail(ErrorCode::invalid_argument, "Minimum memory limit allowed is 6MB");
  if (options.auto_remove && options.restart.kind != RestartPolicy::Kind::no)
    return fail(ErrorCode::invalid_argument, "can't create 'AutoRemove' container with restart policy");
  if (options.nano_cpus < 0) return fail(ErrorCode::invalid_argument, "NanoCPUs must not be negative");
  if (!options.working_dir.empty() && !options.working_dir.starts_with('/'))
    return fail(ErrorCode::invalid_argument,
                "the working directory '" + options.working_dir + "' is invalid, it needs to be an absolute path");
  if (!options.stop_signal.empty()) TRY(parse_signal(options.stop_signal));
  TRY(runtime::adjust_capabilities(runtime::default_capabilities(), options.cap_add, options.cap_drop));
  TRY(check_security_options(options));
  return fix_security_options(options);
}

// "K" alone means our own variable of that name, and nothing if we have none.
std::vector<std::string> resolved_environment(const std::vector<std::string>& wishes) {
  std::vector<std::string> result;
  for (const auto& wish : wishes) {
    if (wish.find('=') != std::string::npos) {
      result.push_back(wish);
    } else if (const char* value = ::getenv(wish.c_str())) {
      result.push_back(wish + "=" + value);
    }
  }
  return result;
}

Result<void> make_volumes(Context& context, const ContainerRecord& record) {
  FileDescriptor rootfs;
  for (const auto& point : record.mounts) {
    if (point.mount.kind != VolumeMount::Kind::volume) continue;
    TRY(ensure_volume(context, point.mount.source, point.anonymous));
    if (point.mount.no_copy) continue;
    if (!rootfs.valid()) {
      const store::MountRecipe recipe = TRY(context.store->snapshots().mount_recipe(record.snapshot));
      rootfs = TRY(store::open_mount(recipe));
    }
    TRY(fill_volume(context, point.mount.source, rootfs, point.mount.destination));
  }
  return {};
}

Result<void> insert_row(Context& context, const ContainerRecord& record) {
  auto inserted = context.store->database()->execute("INSERT INTO containers(id, name, created) VALUES(?, ?, ?)",
                                                     {record.id, record.name, record.created_at});
  if (inserted) return {};
  auto holder = holder_of(context, record.name);
  if (holder && !holder->empty()) return name_conflict(record.name, *holder);
  return inserted;
}

Result<void> create_files(Context& context, ContainerRecord& record) {
  record.snapshot = TRY(context.store->snapshots().prepare(record.layers, Durability::fsync));
  TRY(make_volumes(context, record));
  TRY(make_directories(context.configuration.root + "/containers", 0710));
  std::string directory = container_directory(context, record.id);
  TRY(make_directories(directory, 0710));
  // A --rm container does not outlive a power failure; syncing for it would be most of the time `run --rm` takes.
  Durability durability = record.options.auto_remove ? Durability::none : Durability::fsync;
  TRY(write_file_atomically(directory + "/config.json", serialize(record), 0600, durability));
  TRY(insert_row(context, record));
  return record.options.auto_remove ? Result<void>() : context.store->database()->sync();
}

}  // namespace

Result<std::string> create_container(Context& context, const ContainerOptions& options) {
  store::Store::Lease lease = TRY(context.store->lease());
  ContainerRecord record;
  record.options = options;
  TRY(check_options(record.options));
  record.options.trust_host_ca = options.trust_host_ca || context.configuration.trust_host_ca;
  record.options.env = resolved_environment(options.env);
  const store::LoadedImage image = TRY(image_for(context, options.image, options.platform));
  if (options.platform) TRY(unpack_image(context, image));
  const image::ContainerConfig& config = image.config.config;
  record.name = TRY(choose_name(context, options.name));
  record.id = random_hex(32);
  record.created_at = format_time_now();
  record.boot = context.store->snapshots().boot_id();
  record.image_id = image.record.image_id;
  record.layers = image.config.diff_ids;
  TRY(merge_command(record, config));
  TRY(merge_mounts(record, config));
  record.env = merge_environment(config.env, record.options.env);
  record.user = options.user.empty() ? config.user : options.user;
  record.working_dir = options.working_dir.empty() ? config.working_dir : options.working_dir;
  record.stop_signal = options.stop_signal.empty() ? config.stop_signal : options.stop_signal;
  record.hostname = options.hostname;
  if (record.hostname.empty() && options.network == "host") {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) == 0) record.hostname = name;
  }
  if (record.hostname.empty()) record.hostname = record.id.substr(0, 12);
  record.exposed_ports = config.exposed_ports;
  record.labels = config.labels;
  for (const auto& [key, value] : options.labels) record.labels[key] = value;

  auto created = create_files(context, record);
  if (created) return record.id;
  Error error = std::move(created).error();
  auto removed = delete_container(context, record, true);
  if (!removed) error = std::move(error).with_cleanup_failure(removed.error());
  return Failure(std::move(error));
}

}  // namespace dray::engine
