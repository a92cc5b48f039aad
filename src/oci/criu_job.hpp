// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

#include "criu.hpp"
#include "criu_rpc.hpp"

// What checkpoint and restore tell CRIU alike.

namespace dray::oci::criu {

/// Fields of criu_opts.
namespace field {
enum Number : unsigned {
  images_dir_fd = 1,
  pid = 2,
  leave_running = 3,
  ext_unix_sk = 4,
  tcp_established = 5,
  evasive_devices = 6,
  shell_job = 7,
  file_locks = 8,
  log_level = 9,
  log_file = 10,
  page_server = 11,
  notify_scripts = 12,
  root = 13,
  parent_img = 14,
  track_mem = 15,
  auto_dedup = 16,
  work_dir_fd = 17,
  link_remap = 18,
  ext_mnt = 23,
  manage_cgroups = 24,
  cg_root = 25,
  rst_sibling = 26,
  inherit_fd = 27,
  manage_cgroups_mode = 34,
  external = 37,
  empty_ns = 38,
  join_ns = 39,
  freeze_cgroup = 44,
  tcp_skip_in_flight = 46,
  lazy_pages = 48,
  orphan_pts_master = 50,
  config_file = 51,
  lsm_profile = 53,
  lsm_mount_context = 63,
};
}  // namespace field

struct Job {
  Message options;
  FileDescriptor images, work;  // CRIU reads them from this process, by their numbers in `options`
  std::string log;              ///< path of CRIU's log

  void add_pair(field::Number list, std::string_view key, std::string_view value);
};
/// Opens the directories, and sets what both commands have.
Result<Job> make_job(const CriuOptions& options, const runtime::Spec& spec, const char* log_name);

/// Lines around those of CRIU's log that tell of errors, as warnings.
void quote_log(const std::string& path);

// -- what is outside of the container ---------------------------------------------------------------------------------
/// Names by which images know namespaces that are the caller's: "extRootNetNS".
std::string external_namespace_key(const char* name);
/// Those that CRIU leaves alone and finds at restore.
std::vector<std::pair<const char*, const runtime::Namespace*>> external_namespaces(const runtime::Spec& spec);

/// A mount whose source is the host's.
struct ExternalMount {
  std::string destination, source;
};
Result<std::vector<ExternalMount>> external_mounts(const runtime::Spec& spec, const std::string& bundle,
                                                   const std::string& cgroups_path);

/// Standard descriptors of a process by their names in images, "pipe:[17]" or "file[1c:5]" (of a file that the
/// container has no mount for); anything else is for CRIU alone to restore.
Result<std::vector<std::string>> describe_descriptors(pid_t pid);
bool is_pipe(const std::string& descriptor);
bool is_external_file(const std::string& descriptor);
/// descriptors.json in the images' directory, as runc has it.
Result<void> write_descriptors(const std::string& directory, const std::vector<std::string>& descriptors);
Result<std::vector<std::string>> read_descriptors(const std::string& directory);

/// The root file system at a place of its own: CRIU wants it to be a mount point that nothing lies upon. Unmounted
/// with the object.
class RestoreRoot {
 public:
  /// At `path`, which must not exist. Mount points that the container's mounts need are made in it.
  static Result<RestoreRoot> make(const std::string& path, const std::string& rootfs, const runtime::Spec& spec,
                                  const std::string& bundle);
  RestoreRoot(RestoreRoot&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  RestoreRoot& operator=(RestoreRoot&&) = delete;
  ~RestoreRoot();
  const std::string& path() const { return path_; }

 private:
  explicit RestoreRoot(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace dray::oci::criu
