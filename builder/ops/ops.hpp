// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>

#include "context/scan.hpp"
#include "plan/plan.hpp"

// The build steps that change a root filesystem without running anything in it. `root` is a mounted rootfs:
// every path from the Dockerfile, the context or an archive is resolved inside it.

namespace dray::builder {

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

/// "user", "user:group", numbers or names of the rootfs's passwd and group; "" = 0:0.
Result<Owner> resolve_owner(FdRef root, const std::string& text);

/// WORKDIR.
Result<void> make_working_directory(FdRef root, const WorkdirOp& op);

/// What find_sources found in a tree.
struct CopyPart {
  const SourceTree* tree;
  const Source* source;
};
/// COPY and ADD: the parts in their order, then op's own files.
Result<void> copy_sources(FdRef root, const CopyOp& op, const std::vector<CopyPart>& parts, const CancelToken& cancel);
/// All of them from one tree.
std::vector<CopyPart> parts_of(const SourceTree& tree, const std::vector<Source>& sources);

struct ExtractOptions {
  std::optional<Owner> owner;  ///< instead of the archive's
  bool keep_owner = true;      ///< false: everything is ours
  bool allow_devices = true;
  bool is_layer = false;  ///< whiteouts delete, a directory replaces a link, the root's own entry counts
};

/// The file is a tar archive, compressed or not, by its content. Reads it from the start.
Result<bool> is_archive(FdRef file);
/// True if these are the first (uncompressed) bytes of a tar archive.
bool is_tar_header(std::span<const std::byte> block);
/// Unpacks an archive (any compression) below `directory` of `root`. Entries with ".." are refused; links on
/// the way are followed inside `root` only.
Result<void> extract_archive(FdRef root, const std::string& directory, ByteSource& source,
                             const ExtractOptions& options, const CancelToken& cancel);

/// Removes what is in the way of a new file `name`; a directory in the way is an error.
Result<void> make_room(FdRef directory, const std::string& name, const std::string& path);

}  // namespace dray::builder
