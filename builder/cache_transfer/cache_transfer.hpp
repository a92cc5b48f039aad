// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cache_transfer/cache_document.hpp"
#include "export/layers.hpp"
#include "plan/merge_plans.hpp"
#include "progress_step.hpp"
#include "solve/solver.hpp"

// --cache-from and --cache-to.

namespace dray::builder {

/// One end of a cache, checked.
struct CacheEnd {
  enum class Type { registry, local, in_image } type = Type::registry;
  std::optional<Reference> reference;  ///< registry
  std::string directory;               ///< local: an OCI layout
  std::string tag = "latest";          ///< local
  std::optional<Digest> digest;        ///< local, cache-from: instead of the tag
  bool max = false;                    ///< cache-to: every step, not only the result's own layers
  bool image_manifest = true;          ///< cache-to: an image manifest rather than an index
  bool oci_types = true;
  bool ignore_error = false;
  bool insecure = false;
  CompressionOptions compression;

  std::string name() const;
};
struct CacheOptions {
  std::vector<CacheEnd> from, to;
  bool in_image = false;  ///< type=inline, or BUILDKIT_INLINE_CACHE=1
};
Result<CacheOptions> read_cache_options(const BuildRequest& request);

/// The caches of --cache-from. A record is used by this build alone: it never becomes one of the local cache, so what
/// was believed because the user named its source is not believed later, when he does not. Thread-safe.
class CacheImport {
 public:
  CacheImport(store::Store& store, Registry* registry, ProgressSink& progress, const CancelToken& cancel)
      : store_(store), registry_(registry), progress_(progress), cancel_(cancel) {}

  /// Reads each one's document. One that cannot be read is a warning.
  Result<void> load(const std::vector<CacheEnd>& ends, StepNumbers& numbers);
  bool empty() const { return sources_.empty(); }
  /// The record of a key, its layer fetched and unpacked, both digests verified; nullopt: no cache has it, or what it
  /// has is not what it says (a warning).
  Result<std::optional<store::BuildCacheRecord>> find(const std::string& key);

 private:
  struct Source {
    CacheEnd end;
    CacheDocument document;
    std::optional<Reference> fetched_from;  ///< registry: where blobs are asked for
  };
  Result<CacheDocument> read(const CacheEnd& end);
  Result<std::string> read_blob(const CacheEnd& end, const image::Descriptor& blob);
  Result<void> fetch(const Source& source, const CacheDocument::Layer& layer);

  store::Store& store_;
  Registry* registry_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::vector<Source> sources_;
  std::mutex mutex_;
  std::map<DiffId, std::unique_ptr<std::mutex>> fetching_;
};

struct CacheExport {
  store::Store& store;
  Registry* registry;
  const Plan& plan;
  const std::vector<int>& results;  ///< vertices
  const std::vector<StepResult>& steps;
  const std::vector<CacheEnd>& to;
  StepNumbers& numbers;
};
/// Writes every --cache-to. With ignore-error a failure is a warning.
Result<void> export_caches(const CacheExport& request, ProgressSink& progress, const CancelToken& cancel);

}  // namespace dray::builder
