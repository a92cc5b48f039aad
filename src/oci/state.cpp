// SPDX-License-Identifier: Apache-2.0
#include "state.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <dray/core/process.hpp>
#include <dray/runtime/launch.hpp>
#include <dray/runtime/spec_json.hpp>

namespace dray::oci {
namespace {

constexpr const char* kRestoreRoot = "/criu-root";
constexpr const char* kGate = "/exec.fifo";
constexpr const char* kOutcome = "/outcome/exec.fifo";

bool is_alive(const ContainerState& state) {
  if (state.pid <= 0) return false;
  auto stat = read_process_stat(state.pid);
  if (!stat || stat->start_ticks != state.start_ticks || stat->state == 'Z' || stat->state == 'X') return false;
  return state.boot == read_boot_id();
}

// Whoever can write here decides which processes we kill and which files we remove.
Result<void> check_root(const std::string& root) {
  struct stat status;
  if (::stat(root.c_str(), &status) != 0)
    return errno == ENOENT ? Result<void>() : fail_errno("opening \"" + root + "\"");
  if (status.st_uid != ::geteuid())
    return fail(ErrorCode::permission_denied, "the state root \"" + root + "\" belongs to another user");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0)
    return fail(ErrorCode::permission_denied, "the state root \"" + root + "\" can be written by others");
  return {};
}

}  // namespace

const char* name_of(Status status) {
  switch (status) {
    case Status::creating:
      return "creating";
    case Status::created:
      return "created";
    case Status::running:
      return "running";
    case Status::paused:
      return "paused";
    case Status::stopped:
      break;
  }
  return "stopped";
}

Result<void> check_id(const std::string& id) {
  const bool good = !id.empty() && id.size() <= 1024 && id != "." && id != ".." &&
                    std::all_of(id.begin(), id.end(), [](unsigned char letter) {
                      return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                             (letter >= '0' && letter <= '9') ||
                             std::string_view("_+-.").find(static_cast<char>(letter)) != std::string_view::npos;
                    });
  if (id.empty()) return fail(ErrorCode::invalid_argument, "container id cannot be empty");
  if (!good) return fail(ErrorCode::invalid_argument, "invalid container ID format: \"" + id + "\"");
  return {};
}

Result<StateDirectory> StateDirectory::create(const std::string& root, const std::string& id) {
  TRY(check_id(id));
  TRY_CTX(make_directories(root, 0711), "making the directory of the containers' states");
  TRY(check_root(root));
  StateDirectory directory(root + "/" + id);
  if (::mkdir(directory.path_.c_str(), 0711) != 0) {
    if (errno == EEXIST) return fail(ErrorCode::already_exists, "container with given ID already exists");
    return fail_errno("making \"" + directory.path_ + "\"");
  }
  directory.temporary_ = true;
  return directory;
}

Result<StateDirectory> StateDirectory::open(const std::string& root, const std::string& id) {
  TRY(check_id(id));
  TRY(check_root(root));
  StateDirectory directory(root + "/" + id);
  struct stat status;
  if (::lstat(directory.path_.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    return fail(ErrorCode::not_found, "container does not exist");
  // In one like /tmp.
  if (status.st_uid != ::geteuid())
    return fail(ErrorCode::permission_denied, "\"" + directory.path_ + "\" belongs to another user");
  return directory;
}

StateDirectory::StateDirectory(StateDirectory&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, false)) {}

StateDirectory::~StateDirectory() {
  if (temporary_) (void)remove();
}

Result<ContainerState> StateDirectory::read() const {
  auto text = read_file(path_ + "/state.json");
  if (!text && text.error().error_number() == ENOENT)
    return fail(ErrorCode::not_found, "container does not exist");  // its `create` was killed
  if (!text) return Failure(std::move(text).error());
  return parse_state(*text);
}

Result<void> StateDirectory::write(const ContainerState& state) const {
  return write_file_atomically(path_ + "/state.json", serialize(state), 0600, Durability::none);
}

Result<runtime::Spec> StateDirectory::read_spec() const {
  std::string text = TRY(read_file(path_ + "/config.json"));
  return runtime::parse_spec(text);
}

Result<void> StateDirectory::write_spec(const std::string& json) const {
  return write_file_atomically(path_ + "/config.json", json, 0600, Durability::none);
}

Result<void> StateDirectory::remove() {
  std::size_t slash = path_.rfind('/');
  FileDescriptor parent = TRY(open_file(path_.substr(0, slash), O_RDONLY | O_DIRECTORY));
  // A killed `restore` has left it. Private, or its end would be that of mounts of the host's in the root file system.
  const std::string left = path_ + kRestoreRoot;
  if (::mount(nullptr, left.c_str(), nullptr, MS_PRIVATE | MS_REC, nullptr) == 0)
    (void)::umount2(left.c_str(), MNT_DETACH);
  TRY(remove_tree(parent, path_.substr(slash + 1)));
  temporary_ = false;
  return {};
}

Result<StateDirectory::GateFiles> StateDirectory::make_gate() const {
  if (::mkdir((path_ + "/outcome").c_str(), 0700) != 0) return fail_errno("making \"" + path_ + "/outcome\"");
  for (const char* name : {kOutcome, kGate}) {
    if (::mkfifo((path_ + name).c_str(), 0600) != 0) return fail_errno("making \"" + path_ + name + "\"");
  }
  GateFiles gate;
  // Both directions: the process must not see an end of file because nobody has opened the other end yet.
  gate.start = TRY(open_file(path_ + kGate, O_RDWR));
  FileDescriptor reader = TRY(open_file(path_ + kOutcome, O_RDONLY | O_NONBLOCK));
  gate.status = TRY(open_file(path_ + kOutcome, O_WRONLY));
  return gate;
}

// Not whether the file is there: a `start` that was killed could not remove it.
bool StateDirectory::has_gate() const { return open_file(path_ + kGate, O_WRONLY | O_NONBLOCK).has_value(); }

Result<void> StateDirectory::open_gate(const ContainerState& state, const std::string& command) const {
  const FileDescriptor process = open_process(state);
  if (!process.valid()) return fail(ErrorCode::invalid_argument, "cannot start a container that has stopped");
  // First the ear, then the word: the process may answer at once.
  FileDescriptor outcome = TRY(open_file(path_ + kOutcome, O_RDONLY | O_NONBLOCK));
  FileDescriptor gate;
  auto opened = open_file(path_ + kGate, O_WRONLY | O_NONBLOCK);
  if (!opened && opened.error().error_number() == ENXIO)
    return fail(ErrorCode::invalid_argument, "cannot start a container that has stopped");
  gate = TRY(std::move(opened));
  auto started = runtime::open_gate({gate, outcome}, state.pid, process, command);
  (void)::unlink((path_ + kOutcome).c_str());
  if (::unlink((path_ + kGate).c_str()) != 0 && started) return fail_errno("removing \"" + path_ + kGate + "\"");
  return started;
}

Result<std::vector<std::string>> list_ids(const std::string& root, bool must_exist) {
  std::vector<std::string> ids;
  TRY(check_root(root));
  DIR* directory = ::opendir(root.c_str());
  if (directory == nullptr) {
    if (errno == ENOENT && !must_exist) return ids;
    return fail_errno("opening \"" + root + "\"");
  }
  while (const dirent* entry = ::readdir(directory)) {
    if (check_id(entry->d_name) && entry->d_type == DT_DIR) ids.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  std::sort(ids.begin(), ids.end());
  return ids;
}

FileDescriptor open_process(const ContainerState& state) {
  if (state.pid <= 0) return {};
  FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0)));
  // Only now, as the number cannot change its owner any more.
  if (!process.valid() || !is_alive(state)) return {};
  return process;
}

Status status_of(const StateDirectory& directory, const ContainerState& state) {
  if (state.pid == 0) return Status::creating;
  if (!is_alive(state)) return Status::stopped;
  if (!state.cgroups_path.empty() && runtime::is_cgroup_frozen(state.cgroups_path).value_or(false))
    return Status::paused;
  return directory.has_gate() ? Status::created : Status::running;
}

Result<Container> find_container(const std::string& root, const std::string& id) {
  StateDirectory directory = TRY(StateDirectory::open(root, id));
  ContainerState state = TRY(directory.read());
  const Status status = status_of(directory, state);
  return Container{std::move(directory), std::move(state), status};
}

}  // namespace dray::oci
