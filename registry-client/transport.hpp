// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <dray/registry/client.hpp>
#include <dray/registry/remote.hpp>
#include <dray/store/store.hpp>

#include "fetch.hpp"

// Places that hold images, by skopeo's names for them: docker://, oci:, oci-archive:, docker-archive:, dir:, and local:
// for Dray's own store.

namespace dray::registry {

/// What all transports of one copy share. Outlives them.
struct CopyContext {
  store::Store& store;
  const CopyOptions& what;
  const Options& options;
  ProgressSink& progress;
  const CancelToken& cancel;
  const Stop& stop;
  std::optional<Reference> source_repository;  ///< where the source is a registry
};

/// Documents and blobs as they are there. Thread-safe but for top().
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual Result<Document> top() = 0;
  /// A document that another one names; size and digest are verified.
  virtual Result<Document> child(HttpClient& client, const image::Descriptor& descriptor) = 0;
  /// The blob as an open file: its own, or an unnamed one in the directory `scratch`. Whether the bytes are right is
  /// the caller's to check.
  virtual Result<FileDescriptor> open(HttpClient& client, const image::Descriptor& blob, const std::string& scratch,
                                      StepProgress& progress) = 0;
  /// Artifacts that name `subject` (signatures, SBOMs).
  virtual Result<std::vector<image::Descriptor>> referrers(HttpClient& client, const Digest& subject) = 0;
};

class ImageDestination {
 public:
  virtual ~ImageDestination() = default;
  /// A directory for unnamed files; one made there can be linked by put().
  virtual std::string scratch() const = 0;
  virtual Result<bool> has(HttpClient& client, const image::Descriptor& blob) = 0;
  /// Whether the destination could take the blob from where it has it already (another repository), without its bytes.
  virtual Result<bool> adopt(HttpClient&, const image::Descriptor&, StepProgress&) { return false; }
  /// `file` was verified. The step's end is reported by this.
  virtual Result<void> put(HttpClient& client, const image::Descriptor& blob, FileDescriptor file,
                           StepProgress& progress) = 0;
  /// After everything it names. `name_it`: it is what the destination's name means.
  virtual Result<void> put_document(HttpClient& client, const Document& document, bool name_it) = 0;
  virtual bool holds_indexes() const { return true; }
  virtual Result<void> finish() { return {}; }
};

struct TransportName {
  std::string transport, rest;  ///< "oci", "/srv/layout:tag"
};
Result<TransportName> parse_transport_name(const std::string& text);

Result<std::unique_ptr<ImageSource>> open_source(const CopyContext& context, const TransportName& name);
Result<std::unique_ptr<ImageDestination>> open_destination(const CopyContext& context, const TransportName& name);

// One of these a transport; `rest` is what follows the colon.
Result<std::unique_ptr<ImageSource>> open_registry_source(const CopyContext& context, const std::string& rest);
Result<std::unique_ptr<ImageDestination>> open_registry_destination(const CopyContext& context,
                                                                    const std::string& rest);
Result<std::unique_ptr<ImageSource>> open_local_source(const CopyContext& context, const std::string& rest);
Result<std::unique_ptr<ImageDestination>> open_local_destination(const CopyContext& context, const std::string& rest);
Result<std::unique_ptr<ImageSource>> open_layout_source(const std::string& rest);
Result<std::unique_ptr<ImageDestination>> open_layout_destination(const std::string& rest);
Result<std::unique_ptr<ImageSource>> open_archive_source(const CopyContext& context, const std::string& rest);
enum class ArchiveKind { oci, docker };
Result<std::unique_ptr<ImageDestination>> open_archive_destination(const CopyContext& context, ArchiveKind kind,
                                                                   const std::string& rest);
Result<std::unique_ptr<ImageSource>> open_directory_source(const std::string& rest);
Result<std::unique_ptr<ImageDestination>> open_directory_destination(const std::string& rest);

// Shared by them.
/// The document in `bytes`, verified against `descriptor`.
Result<Document> verified_document(std::string bytes, const image::Descriptor& descriptor);
/// A file that has no name (O_TMPFILE) in `directory`.
Result<FileDescriptor> make_unnamed_file(const std::string& directory);
/// Gives `file` the name `path`: by a link where it is an unnamed file of that file system, else by copying.
Result<void> place_file(FdRef file, const std::string& path);
/// "PATH:NAME" with the name optional; a colon followed by a slash is part of the path.
std::pair<std::string, std::string> split_path_and_name(const std::string& rest);

}  // namespace dray::registry
