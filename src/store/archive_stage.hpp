// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>

#include <dray/core/digest.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/stream.hpp>
#include <dray/core/tar.hpp>

#include "snapshotter_state.hpp"

namespace dray::store {

/// A file of an image archive, on disk in the staging directory under a number. Copies share `extracted`.
struct StagedFile {
  std::string file;
  Digest digest;  ///< of the bytes as staged
  std::uint64_t size = 0;
  std::optional<DiffId> diff_id;  ///< of the tar in it, where we compressed it ourselves
  /// Of the same tar: its files, if it is a layer. Taken by whoever makes it one.
  std::shared_ptr<std::optional<ExtractedLayer>> extracted;
  Compression compression = Compression::none;
};

/// The files of an archive that is being loaded: read once, in whatever order they come, into a directory
/// that is removed with this object. Names of the archive are keys of a map, never paths.
class ArchiveStage {
 public:
  static Result<ArchiveStage> create(const std::string& parent, Snapshotter& snapshots);
  /// Blobs ("blobs/sha256/…") are verified against their names; tars of the old format are compressed and
  /// extracted on the way.
  Result<void> read(ByteSource& archive, const CancelToken& cancel);

  /// nullptr if absent. Links of the archive are followed (old `docker save` used symlinks for equal layers).
  const StagedFile* find(const std::string& name) const;
  const StagedFile* find_blob(const Digest& digest) const;
  /// A JSON document, at most image::kMaxManifestSize. not_found if absent.
  Result<std::string> read_document(const std::string& name) const;

 private:
  ArchiveStage(TempDir directory, Snapshotter& snapshots) : directory_(std::move(directory)), snapshots_(&snapshots) {}
  Result<void> stage(const std::string& name, tar::Reader& reader);

  Result<void> stage_layer(ByteSource& tar, ByteSink& file, StagedFile& staged);

  TempDir directory_;
  Snapshotter* snapshots_;
  std::size_t count_ = 0;  ///< of files staged, which are named by it; names of the archive have no say in that
  std::map<std::string, StagedFile> files_;
  std::map<std::string, std::string> links_;
};

}  // namespace dray::store
