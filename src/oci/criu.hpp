// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/core/result.hpp>

#include "container.hpp"

// Saving a container's processes and bringing them back, by CRIU. What is told to CRIU, and in which words the images
// name what is outside of the container, is as runc has it, so that either restores what the other has saved.

namespace dray::oci {

struct CriuOptions {
  std::string image_path, work_path, parent_path;  ///< work_path "" = image_path; parent_path relative to image_path
  std::string cgroups_mode;                        ///< "" = CRIU's default
  std::string page_server;                         ///< "ADDRESS:PORT"
  std::string lsm_profile, lsm_mount_context;
  std::vector<std::string> empty_namespaces;
  int status_fd = -1;  ///< gets a zero byte when pages can be asked for
  bool leave_running = false, pre_dump = false, shell_job = false, file_locks = false, link_remap = false;
  bool external_unix_sockets = false, tcp_established = false, tcp_skip_in_flight = false;
  bool lazy_pages = false, auto_dedup = false;
};

/// The container is gone afterwards, unless it was to be left running or the dump was a pre-dump. On failure it runs
/// on; CRIU's log is in work_path.
Result<void> checkpoint_container(Container& container, const CriuOptions& options);

/// As create_container() and start_container() in one: all of it or nothing. The caller is the process's parent.
Result<Created> restore_container(const Settings& settings, const CreateOptions& create, const CriuOptions& options);

}  // namespace dray::oci
