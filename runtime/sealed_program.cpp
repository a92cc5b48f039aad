// SPDX-License-Identifier: Apache-2.0
#include <dray/runtime/sealed_program.hpp>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>

#include "mounts.hpp"

namespace dray::runtime {
namespace {

bool is_sealed() {
  struct statvfs status;
  return ::getenv(kExecutableDirectory) != nullptr && ::statvfs("/proc/self/exe", &status) == 0 &&
         (status.f_flag & ST_RDONLY) != 0;
}

bool has_ptrace(const std::vector<std::string>& capabilities) {
  return std::find(capabilities.begin(), capabilities.end(), "CAP_SYS_PTRACE") != capabilities.end();
}

std::string mark_of(const std::string& state_directory) { return state_directory + "/ptrace"; }

}  // namespace

bool is_seen_inside(const std::string& state_directory, const std::vector<std::string>& first_process) {
  return has_ptrace(first_process) || ::access(mark_of(state_directory).c_str(), F_OK) == 0;
}

Result<void> note_who_sees(const std::string& state_directory, const std::vector<std::string>& capabilities) {
  if (!has_ptrace(capabilities)) return {};
  return write_file_atomically(mark_of(state_directory), "", 0600, Durability::none);
}

Result<void> run_sealed() {
  if (is_sealed()) return {};
  const std::string directory = TRY(executable_directory());
  auto program = clone_mount("/proc/self/exe");
  if (!program && program.error().error_number() == EPERM) return {};
  const FileDescriptor tree = TRY(std::move(program));
  TRY(change_mount(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, MS_PRIVATE, 0));
  std::string line = TRY(read_file("/proc/self/cmdline", 16u << 20));
  std::vector<char*> arguments;
  for (std::size_t at = 0; at < line.size(); at = line.find('\0', at) + 1) {
    arguments.push_back(line.data() + at);
    if (line.find('\0', at) == std::string::npos) break;
  }
  arguments.push_back(nullptr);
  // Siblings are looked for beside the file; in the mount it is alone.
  if (::setenv(kExecutableDirectory, directory.c_str(), 1) != 0) return fail_errno("preparing the environment");
  ::syscall(SYS_execveat, tree.get(), "", arguments.data(), environ, AT_EMPTY_PATH);
  return fail_errno("executing this program from a read-only mount");
}

}  // namespace dray::runtime
