// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

// Mounts without a place in any mount table: a descriptor, gone when it closes, so that a killed process leaves none.
// Attributes are MOUNT_ATTR_* of <sys/mount.h>.

namespace dray {

enum class Below { no, yes };

/// A detached clone of what `opened` (O_PATH or not) is, with what is mounted below it if asked for.
Result<FileDescriptor> clone_mount_at(FdRef opened, Below below);

/// A detached clone of `path` inside the detached mount `mount`. Resolved in it: no link leads out, and what was
/// resolved is what is shown, whoever renames it meanwhile. `mount` may have to be attached elsewhere for that: nothing
/// can be done with it afterwards but reading.
Result<FileDescriptor> open_submount(FdRef mount, const std::string& path);

/// Sets attributes of a detached mount, and makes it private.
Result<void> set_mount_attributes(FdRef mount, std::uint64_t attributes, Below below);

/// A new empty tmpfs, its root directory 0755 and ours. `size` in bytes, 0 = half of the memory. Not written to swap
/// where the kernel can say so.
Result<FileDescriptor> make_tmpfs(std::uint64_t size, std::uint64_t attributes);

}  // namespace dray
