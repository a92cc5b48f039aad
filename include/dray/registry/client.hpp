// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/progress.hpp>
#include <dray/core/reference.hpp>
#include <dray/image/image.hpp>
#include <dray/store/store.hpp>

// The registry client (OCI distribution-spec v1.1, Docker Registry HTTP API v2). Linked only into dray-registry:
// libcurl and its TLS take 6 ms to load, which `dray run` must not pay.

namespace dray::registry {

/// Another registry that is asked before the one of a reference, when pulling. Its URL's path, if it has one, comes
/// before the repository's name.
struct Mirror {
  std::string registry;  ///< whose images it has: "docker.io"
  std::string url;       ///< "https://mirror.example:5000/cache"; http is spoken where it says so
};

struct Options {
  /// Registries that are spoken to over http, beside localhost and 127.0.0.0/8 (which are tried https first, then
  /// http).
  std::vector<std::string> insecure_registries;
  std::vector<Mirror> mirrors;          ///< asked in this order
  std::string docker_config_directory;  ///< "" = $DOCKER_CONFIG or ~/.docker; credentials and helpers come from there
  int parallel_transfers = 3;
};

/// Resolves `reference` for the platform, fetches manifest, config and layers (verified by digest and size; layers
/// unpacked side by side while they download) and records the image. Retries temporary failures with backoff. Progress:
/// one step a layer (id 1…, name = short digest; status "Downloading"/"Already exists"/"Pull complete"). Leaves nothing
/// on failure but whole, verified blobs.
struct PullResult {
  store::ImageRecord image;
  Digest digest;  ///< what the reference resolved to (index or manifest): "Digest: sha256:…"
  bool up_to_date = false;
};
struct PullOptions {
  image::Platform platform;
  /// The whole index: the platform's image as ever, all else it names as blobs. Where the index has no image for the
  /// platform, its first image takes that one's place.
  bool all_platforms = false;
};
Result<PullResult> pull(store::Store& store, const Reference& reference, const PullOptions& what,
                        const Options& options, ProgressSink& progress, const CancelToken& cancel);

/// Uploads layers the registry lacks (HEAD, cross-repository mount, else upload), config, manifest. Returns the
/// manifest's descriptor.
Result<image::Descriptor> push(store::Store& store, const Reference& reference, const Options& options,
                               ProgressSink& progress, const CancelToken& cancel);

/// One file from http or https (a source of a build).
struct DownloadRequest {
  std::string url;
  std::string authorization;        ///< header value; only the URL's own origin sees it
  std::string etag, last_modified;  ///< of the copy that is here already
  FdRef file;                       ///< the body is appended to it
  std::uint64_t limit = 16ull << 30;
  std::chrono::seconds stall_timeout{60};  ///< without a byte
};
struct Download {
  bool not_modified = false;  ///< the copy is still good; nothing was written
  std::string etag, last_modified;
  Digest digest;
  std::uint64_t size = 0;
};
/// Follows at most 10 redirects, to http and https only, never from https to http. Any answer but 200 and 304 is an
/// error. Progress: status of step 0.
Result<Download> download(const DownloadRequest& request, ProgressSink& progress, const CancelToken& cancel);

/// Uploads a manifest or index of the content store with all it refers to, children first; then it under the
/// reference's digest or tag. No image record is needed or changed.
Result<void> push_document(store::Store& store, const image::Descriptor& document, const Reference& reference,
                           const Options& options, ProgressSink& progress, const CancelToken& cancel);

/// The manifest or index a reference names, and a manifest's config, into the content store. Nothing else.
Result<image::Descriptor> fetch_to_store(store::Store& store, const Reference& reference, const Options& options,
                                         ProgressSink& progress, const CancelToken& cancel);

/// One layer of a repository into the content store, unpacked as `diff_id`; both digests verified.
Result<void> fetch_layer_to_store(store::Store& store, const Reference& reference, const image::Descriptor& layer,
                                  const DiffId& diff_id, const Options& options, ProgressSink& progress,
                                  const CancelToken& cancel);

}  // namespace dray::registry
