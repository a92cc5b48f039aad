// SPDX-License-Identifier: Apache-2.0
// Saving.
#include "criu.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include <dray/core/rooted_path.hpp>

#include "criu_job.hpp"
#include "log.hpp"

namespace dray::oci {
namespace {

using criu::Job;
using criu::RequestType;
using criu::Response;
using criu::Session;
namespace field = criu::field;

Result<void> check_features(const CriuOptions& options) {
  if (!options.pre_dump && !options.lazy_pages) return {};
  Session session = TRY(Session::start(FdRef(), FdRef(1), FdRef(2)));
  const Response features = TRY(session.ask_for_features());
  std::string missing;
  if (options.pre_dump && !features.memory_tracking) missing = "MemTrack";
  if (options.lazy_pages && !features.lazy_pages) missing += missing.empty() ? "LazyPages" : " LazyPages";
  if (missing.empty()) return {};
  return fail(ErrorCode::unsupported, "criu is missing features: [" + missing + "]");
}

Result<void> check_status_descriptor(const CriuOptions& options) {
  if (!options.lazy_pages || options.status_fd == -1) return {};
  const std::string wrong = "invalid --status-fd argument " + std::to_string(options.status_fd) + ": ";
  const int flags = ::fcntl(options.status_fd, F_GETFL);
  if (flags < 0) return fail(ErrorCode::invalid_argument, wrong + "not open");
  if ((flags & O_ACCMODE) == O_RDONLY) return fail(ErrorCode::invalid_argument, wrong + "not writable");
  // CRIU would hold it open beyond the zero byte.
  if (::fcntl(options.status_fd, F_SETFD, FD_CLOEXEC) != 0) return fail_errno("the descriptor of --status-fd");
  return {};
}

// The place of a mount: the way to it may have symbolic links.
std::string place_in_container(FdRef root, const std::string& path) {
  auto target = open_in_root(root, path, O_PATH);
  if (!target) return path;
  char place[PATH_MAX];
  const ssize_t length = ::readlink(descriptor_path(*target).c_str(), place, sizeof place);
  return length > 0 ? std::string(place, static_cast<std::size_t>(length)) : path;
}

Result<void> add_mounts(Job& job, const Container& container, const runtime::Spec& spec) {
  const ContainerState& state = container.state;
  FileDescriptor root = TRY(open_file("/proc/" + std::to_string(state.pid) + "/root", O_PATH | O_DIRECTORY));
  for (const auto& mount : TRY(criu::external_mounts(spec, state.bundle, state.cgroups_path)))
    job.add_pair(field::ext_mnt, place_in_container(root, mount.destination), mount.destination);
  for (const auto& path : spec.masked_paths) {
    auto status = stat_in_root(root, path, FollowLast::yes);
    if (status && !S_ISDIR(status->st_mode)) job.add_pair(field::ext_mnt, path, "/dev/null");
  }
  return {};
}

Result<void> add_namespaces(Job& job, const runtime::Spec& spec) {
  for (const auto& [name, wanted] : criu::external_namespaces(spec)) {
    struct stat status;
    if (::stat(wanted->path.c_str(), &status) != 0) return fail_errno("looking at \"" + wanted->path + "\"");
    job.options.text(field::external, std::string(name) + "[" + std::to_string(status.st_ino) +
                                          "]:" + criu::external_namespace_key(name));
  }
  return {};
}

// So that CRIU stops all processes at once.
Result<void> add_freezer(Job& job, const ContainerState& state) {
  if (state.cgroups_path.empty()) return {};
  const auto directories = TRY(runtime::cgroup_directories(state.cgroups_path));
  for (const auto& directory : directories) {
    if (directory.controller == "freezer" || (directory.controller.empty() && directories.size() == 1)) {
      job.options.text(field::freeze_cgroup, directory.path);
      return {};
    }
  }
  return {};
}

Result<Job> make_dump_job(const Container& container, const runtime::Spec& spec, const CriuOptions& options) {
  const ContainerState& state = container.state;
  Job job = TRY(criu::make_job(options, spec, "dump.log"));
  job.options.text(field::root, state.rootfs);
  job.options.number(field::pid, static_cast<unsigned>(state.pid));
  job.options.flag(field::leave_running, options.leave_running);
  job.options.flag(field::tcp_skip_in_flight, options.tcp_skip_in_flight);
  job.options.flag(field::link_remap, options.link_remap);
  TRY(add_namespaces(job, spec));
  TRY(add_freezer(job, state));
  if (!options.parent_path.empty()) {
    job.options.text(field::parent_img, options.parent_path);
    job.options.flag(field::track_mem, true);
  }
  if (options.pre_dump) return job;  // of memory only
  TRY(add_mounts(job, container, spec));
  const auto descriptors = TRY(criu::describe_descriptors(state.pid));
  for (const auto& descriptor : descriptors) {
    if (criu::is_external_file(descriptor)) job.options.text(field::external, descriptor);
  }
  TRY(criu::write_descriptors(options.image_path, descriptors));
  return job;
}

Result<void> prepare_images(const CriuOptions& options) {
  TRY_CTX(make_directories(options.image_path, 0700), "the images' directory");
  if (options.parent_path.empty()) return {};
  if (options.parent_path.front() == '/') return fail(ErrorCode::invalid_argument, "--parent-path must be relative");
  const std::string parent = join_path(options.image_path, options.parent_path);
  struct stat status;
  if (::stat(parent.c_str(), &status) != 0) return fail_errno("invalid --parent-path: \"" + parent + "\"");
  if (!S_ISDIR(status.st_mode))
    return fail(ErrorCode::invalid_argument, "invalid --parent-path: \"" + parent + "\" is not a directory");
  return {};
}

}  // namespace

Result<void> checkpoint_container(Container& container, const CriuOptions& options) {
  if (container.status != Status::running && container.status != Status::paused)
    return fail(ErrorCode::invalid_argument,
                std::string("container cannot be checkpointed in ") + name_of(container.status) + " state");
  TRY(prepare_images(options));
  const runtime::Spec spec = TRY(container.directory.read_spec());
  TRY(check_status_descriptor(options));
  TRY(check_features(options));
  const Job job = TRY(make_dump_job(container, spec, options));
  Session session = TRY(Session::start(FdRef(), FdRef(1), FdRef(2)));
  FileDescriptor status(options.lazy_pages ? options.status_fd : -1);
  auto listener = [&](const Response& notification, FileDescriptor) -> Result<void> {
    if (notification.script != "status-ready" || !status.valid()) return {};
    auto told = write_all(status, std::string_view("\0", 1));
    if (!told) log_warning("can't write \\0 to status fd: " + told.error().message());
    status.reset();
    return {};
  };
  auto dumped = session.ask(options.pre_dump ? RequestType::pre_dump : RequestType::dump, job.options, listener);
  if (!dumped) {
    criu::quote_log(job.log);
    return Failure(std::move(dumped).error().with_hint("log file: " + job.log));
  }
  if (options.leave_running || options.pre_dump) return {};
  // It is in the images now.
  if (auto destroyed = destroy_container(container.directory, container.state); !destroyed)
    log_warning(destroyed.error().message());
  return {};
}

}  // namespace dray::oci
