// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <dray/builder/cache.hpp>
#include <dray/builder/lint.hpp>
#include <dray/engine/containers.hpp>
#include <dray/engine/engine.hpp>

namespace dray::engine {

/// A row of `images`: one a reference (or one "<none>" for an untagged image).
struct ImageSummary {
  std::string repository, tag;  ///< "<none>" where absent
  Digest id, manifest;
  std::string created_at;  ///< of the config, RFC 3339
  std::uint64_t size = 0;  ///< unpacked bytes
};
Result<std::vector<ImageSummary>> list_images(Context& context);

/// Docker's `image inspect` object as JSON text. With `platform`, of that one of the name's images.
Result<std::string> inspect_image(Context& context, const std::string& name,
                                  const std::optional<image::Platform>& platform = {});

struct HistoryRow {
  std::string id;  ///< image ID on the top row, "<missing>" below
  std::string created, created_by, comment;
  std::uint64_t size = 0;
};
Result<std::vector<HistoryRow>> image_history(Context& context, const std::string& name,
                                              const std::optional<image::Platform>& platform = {});

Result<void> tag_image(Context& context, const std::string& source, const std::string& target);

/// `rmi`: one line a thing done, as Docker prints it ("Untagged: …", "Deleted: sha256:…"). in_use if a container uses
/// it (force only overrides for stopped containers and several tags).
Result<std::vector<std::string>> remove_image(Context& context, const std::string& name, bool force);

struct PullSummary {
  std::string reference;  ///< canonical
  Digest digest, image_id;
  bool up_to_date = false;
};
/// Runs dray-registry (the helper executable beside dray), which links the registry client, and relays its progress.
enum class PullExtent { one_platform, all_platforms };
Result<PullSummary> pull_image(Context& context, const std::string& name, const image::Platform& platform,
                               ProgressSink& progress, const CancelToken& cancel,
                               PullExtent extent = PullExtent::one_platform);
/// With `platform`, of a name for several platforms that one's image alone; not_found if there is none.
Result<image::Descriptor> push_image(Context& context, const std::string& name,
                                     const std::optional<image::Platform>& platform, ProgressSink& progress,
                                     const CancelToken& cancel);
/// The names (canonical) that the store has in the repository of `name`.
Result<std::vector<std::string>> tags_in_store(Context& context, const Reference& name);

/// `login`. Without username and password: what Docker's configuration already holds is tried (not_found: nothing).
struct LoginRequest {
  std::string registry = "docker.io";
  std::string username, password;
};
struct LoginSummary {
  std::string config_path;  ///< the file that holds the secret in the clear; "" = a credential helper has it
  std::string username;
};
Result<LoginSummary> login(const Configuration& configuration, const LoginRequest& request, ProgressSink& progress,
                           const CancelToken& cancel);
/// False if there were no credentials.
Result<bool> logout(const Configuration& configuration, const std::string& registry, ProgressSink& progress,
                    const CancelToken& cancel);

/// `image bootstrap`: a base image through mmdebstrap from Debian's signed packages.
struct BootstrapRequest {
  std::string reference;  ///< "debian:bookworm"; the tag is the suite unless `suite` is given
  std::string suite;
  std::string variant = "minbase";
  std::string mirror;  ///< "" = the host's sources, else mmdebstrap's default
  std::vector<std::string> include;
};
Result<Digest> bootstrap_image(Context& context, const BootstrapRequest& request, ProgressSink& progress,
                               const CancelToken& cancel);

struct BuildOptions {
  bool trust_host_ca = false;
  /// Stands between the user and a shell in a step until it ends; its exit code. Empty: there is nobody to ask.
  std::function<Result<int>(Exec)> session;
  bool terminal = false;  ///< the shell gets one, of this size
  unsigned short rows = 0, columns = 0;
};
/// builder::build with the runtime as executor and the store/registry as image source.
Result<builder::BuildResult> build_image(Context& context, const builder::BuildRequest& request,
                                         const BuildOptions& options, ProgressSink& progress,
                                         const CancelToken& cancel);

/// `builder du` and `builder prune`.
Result<std::vector<builder::CacheEntry>> list_build_cache(Context& context);
Result<builder::CachePruned> prune_build_cache(Context& context, const builder::CachePolicy& policy);
/// builder::check_build and outline_build with the store and registry as image source.
Result<builder::LintReport> check_build(Context& context, const builder::BuildRequest& request, ProgressSink& progress,
                                        const CancelToken& cancel);
Result<builder::Outline> outline_build(Context& context, const builder::BuildRequest& request, ProgressSink& progress,
                                       const CancelToken& cancel);

}  // namespace dray::engine
