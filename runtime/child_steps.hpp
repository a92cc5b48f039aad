// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "child_plan.hpp"

// The steps of the child that concern mounts (child_mounts.cpp) and the process (child_process.cpp), as child.cpp calls
// them. Each ends the child on failure.

namespace dray::runtime::child {

/// Reports over the status pipe and ends the child.
[[noreturn]] void fail(const ChildPlan& plan, Step step, int error_number, std::uint32_t index = 0);
/// Tells the parent over the status pipe and goes on.
void report(const ChildPlan& plan, Step step, int index = 0);
/// Receives a Go and up to 2 * kMaxCgroups descriptors (`fds` may be null where none are due).
Go wait_for_go(const ChildPlan& plan, Step step, int* fds);
bool send_with_fd(int socket, const void* payload, std::size_t size, int fd);

/// openat2() in the container's root: no way out, no magic links. `resolve` adds RESOLVE_* flags. -1 and errno on
/// failure.
int open_in(int root, const char* path, int flags, std::uint64_t resolve = 0);
/// Opens `path` (O_PATH), creating what is missing, component by component, each resolved in the root. -1 and errno on
/// failure.
int open_target(int root, const char* path, bool is_directory, std::uint64_t resolve = 0);

// -- child_mounts.cpp
void enter_rootfs(const ChildPlan& plan);
/// pivot_root, and the host's file tree is unmounted: the kernel waits for an RCU grace period (a millisecond or more),
/// so this is called when there is time to wait.
void leave_host(const ChildPlan& plan);
void make_mounts(const ChildPlan& plan);
void make_devices(const ChildPlan& plan);
void bind_console(const ChildPlan& plan, int slave);
void mask_paths(const ChildPlan& plan);
void make_paths_readonly(const ChildPlan& plan);
/// `trees`: detached mounts.
void mount_cgroups(const ChildPlan& plan, const int* trees, std::uint32_t count);
void make_rootfs_readonly(const ChildPlan& plan);

// -- child_process.cpp
void become_undumpable(const ChildPlan& plan);
/// A session of its own, so that a terminal can be its controlling one; and a session keyring.
void start_session(const ChildPlan& plan);
/// A pty of the container's own devpts; the master goes to the parent. Returns the slave.
int open_console(const ChildPlan& plan);
void enter_working_directory(const ChildPlan& plan, bool create);
/// The steps that every process of a container takes last. `console`: slave of its pty, or -1.
[[noreturn]] void become_process(ChildPlan plan, int console);

}  // namespace dray::runtime::child
