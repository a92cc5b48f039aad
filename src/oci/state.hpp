// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/cgroup.hpp>
#include <dray/runtime/intel_rdt.hpp>
#include <dray/runtime/spec.hpp>

// What is kept of a container between the commands: a directory <root>/<id> with
//   state.json         ContainerState
//   config.json        a copy of the bundle's, as it was at `create`
//   start.lock         held by the one `start` that is at work
//   exec.fifo          as long as the container waits for its start
//   outcome/exec.fifo  over which `start` hears of a failing execve
//   notify/            with $NOTIFY_SOCKET: what the container has at /run/notify
//   criu-root          where CRIU finds the root file system while it restores
// mkdir of the directory is what makes an id taken.

namespace dray::oci {

struct ContainerState {
  std::string id, bundle, rootfs, created;  ///< created: RFC 3339
  std::string oci_version;
  uid_t owner = 0;
  pid_t pid = 0;  ///< 0 while it is being created
  std::uint64_t start_ticks = 0;
  std::string boot;          ///< the kernel's boot_id: after a reboot another process may have the same pid and ticks
  std::string cgroups_path;  ///< "" = none
  std::optional<runtime::SystemdUnit> systemd_unit;  ///< of the cgroup
  std::optional<runtime::RdtGroup> rdt_group;
  bool own_pid_namespace = true;
  bool new_keyring = true;  ///< for what exec starts as well
  std::map<std::string, std::string> annotations;
};

enum class Status { creating, created, running, paused, stopped };
const char* name_of(Status status);

/// The directory of one container.
class StateDirectory {
 public:
  /// already_exists if the id is taken. Removed again by the destructor unless keep() was called.
  static Result<StateDirectory> create(const std::string& root, const std::string& id);
  /// not_found "container does not exist".
  static Result<StateDirectory> open(const std::string& root, const std::string& id);

  StateDirectory(StateDirectory&& other) noexcept;
  StateDirectory& operator=(StateDirectory&&) = delete;
  ~StateDirectory();
  void keep() { temporary_ = false; }

  const std::string& path() const { return path_; }
  Result<ContainerState> read() const;
  Result<void> write(const ContainerState& state) const;
  Result<runtime::Spec> read_spec() const;
  Result<void> write_spec(const std::string& json) const;
  Result<void> remove();

  /// The two FIFOs of the gate, opened so that the container's process finds both ends.
  struct GateFiles {
    FileDescriptor start, status;
  };
  Result<GateFiles> make_gate() const;
  bool has_gate() const;  ///< A process waits at it: the container is not yet started.
  /// Lets the process go on and waits for its execve, whose failure is the error. invalid_argument if it has ended.
  Result<void> open_gate(const ContainerState& state, const std::string& command) const;

 private:
  explicit StateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
  bool temporary_ = false;
};

/// Letters, digits and "_+-.": anything else, "." and "..": invalid_argument.
Result<void> check_id(const std::string& id);
/// Sorted. A root that is not there has none if it is the default one.
Result<std::vector<std::string>> list_ids(const std::string& root, bool must_exist);

/// pidfd of the container's first process; invalid if it has ended.
FileDescriptor open_process(const ContainerState& state);
Status status_of(const StateDirectory& directory, const ContainerState& state);

struct Container {
  StateDirectory directory;
  ContainerState state;
  Status status;
};
Result<Container> find_container(const std::string& root, const std::string& id);

/// "root"; "#1000" for a number without a name.
std::string owner_name(uid_t uid);

// -- documents.cpp: the JSON -----------------------------------------------------------------------------------------
std::string serialize(const ContainerState& state);
Result<ContainerState> parse_state(const std::string& json);
/// runtime-spec's state, for hooks.
std::string describe_for_hook(const ContainerState& state, const char* status);
/// What `state` prints.
std::string describe(const ContainerState& state, Status status);
/// What `list --format json` prints.
std::string describe_all(const std::vector<std::pair<ContainerState, Status>>& containers);
/// runtime-spec's containerProcessState, for a seccomp listener.
std::string describe_process(const ContainerState& state, const char* status, pid_t pid, const std::string& metadata);

}  // namespace dray::oci
