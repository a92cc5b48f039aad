// SPDX-License-Identifier: Apache-2.0
// COPY and ADD by BuildKit's rules: what a directory holds is copied, not itself; sources are put in place one after
// the other. A symlink in the destination's path is followed inside the rootfs; one below it is replaced, or an error
// where a directory has to be.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>

#include "ops/destination.hpp"
#include "ops/tree_copier.hpp"

namespace dray::builder {
namespace {

class CopyRun {
 public:
  CopyRun(FdRef root, const CopyOp& op, ModeChange mode, Owner owner, const CancelToken& cancel)
      : root_(root),
        op_(op),
        mode_(mode),
        owner_(owner),
        cancel_(cancel),
        destination_(root, op.destination, owner, mode.for_new_directories()) {}

  Result<void> put(const SourceTree& tree, const Source& source) {
    // Files of the context belong to root, those of a stage keep their owner (as in BuildKit), unless --chown.
    const std::optional<Owner> forced = tree.is_context || !op_.chown.empty() ? std::optional(owner_) : std::nullopt;
    TreeCopier copier(mode_, tree, forced, cancel_);
    if (source.is_directory()) {
      FileDescriptor directory = TRY(destination_.directory());
      return copier.copy_directory(source, std::move(directory));
    }
    const bool may_unpack = op_.unpack || (op_.is_add && !tree.is_download);
    if (may_unpack && S_ISREG(source.entries.front().status.st_mode)) {
      const bool unpacked = TRY(unpack(tree, source));
      if (unpacked) return {};
    }
    std::string name;
    FileDescriptor directory = TRY(destination_.parent(split_path(source.path).second, name));
    return copier.copy_file(source, std::move(directory), name);
  }

  Result<void> put(const InlineFile& file) {
    std::string name;
    const FileDescriptor directory = TRY(destination_.parent(file.name, name));
    TRY(make_room(directory, name, file.name));
    const FileDescriptor made =
        TRY_CTX(open_file_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), file.name);
    TRY_CTX(write_all(made, file.content), file.name);
    struct stat status = {};
    status.st_mode = S_IFREG | 0644;
    const SourceTree nothing;
    return TreeCopier(mode_, nothing, owner_, cancel_).set_owner_and_mode(made, FileStatus(status), file.name);
  }

 private:
  /// False: it is no archive.
  Result<bool> unpack(const SourceTree& tree, const Source& source) {
    const FileDescriptor file = TRY(tree.open(source.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    const bool archive = TRY(is_archive(file));
    if (!archive) return false;
    TRY(destination_.directory());
    if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("reading \"" + source.path + "\"");
    const auto bytes = make_fd_source(FdRef(file));
    ExtractOptions options;
    if (!op_.chown.empty()) options.owner = owner_;
    TRY_CTX(extract_archive(root_, destination_.resolved(), *bytes, options, cancel_),
            "unpacking \"" + source.path + "\"");
    return true;
  }

  FdRef root_;
  const CopyOp& op_;
  ModeChange mode_;
  Owner owner_;
  const CancelToken& cancel_;
  Destination destination_;
};

}  // namespace

std::vector<CopyPart> parts_of(const SourceTree& tree, const std::vector<Source>& sources) {
  std::vector<CopyPart> parts;
  for (const Source& source : sources) parts.push_back({&tree, &source});
  return parts;
}

Result<void> copy_sources(FdRef root, const CopyOp& op, const std::vector<CopyPart>& parts, const CancelToken& cancel) {
  const Owner owner = TRY(resolve_owner(root, op.chown));
  CopyRun run(root, op, TRY(ModeChange::parse(op.chmod)), owner, cancel);
  for (const CopyPart& part : parts) TRY(run.put(*part.tree, *part.source));
  for (const InlineFile& file : op.files) TRY(run.put(file));
  return {};
}

}  // namespace dray::builder
