// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>

#include "mounts/secrets.hpp"
#include "plan/plan.hpp"

namespace dray::builder {

/// A download or a git tree as a layer of its own: steps read it as they read any other stage.
struct SourceLayer {
  DiffId layer;
  image::Descriptor blob;
  std::string created_at;
  bool cached = false;
};

/// What sources need of the build.
struct SourceContext {
  store::Store& store;
  ImageSource& network;
  const BuildRequest& build;
  Secrets& secrets;
  ProgressSink& progress;
  int step_id = 0;
  const CancelToken& cancel;

  std::string temporary() const { return store.root() + "/tmp"; }
  void report(const std::string& text) const {
    progress.report({.kind = ProgressEvent::Kind::output, .id = step_id, .text = text + "\n", .is_stderr = true});
  }
};

/// HttpOp and GitOp. With --no-cache nothing is taken from the cache.
Result<SourceLayer> fetch_source(const Op& op, const SourceContext& context);

Result<SourceLayer> fetch_http(const HttpOp& op, const SourceContext& context);
Result<SourceLayer> fetch_git(const GitOp& op, const SourceContext& context);

/// The layer known under `key` (hex), if all of it is still there.
Result<std::optional<SourceLayer>> find_source_layer(const SourceContext& context, const std::string& key);
/// Has `fill` write an empty root filesystem, and keeps it under the keys.
Result<SourceLayer> make_source_layer(const SourceContext& context, const std::vector<std::string>& keys,
                                      const std::string& description,
                                      const std::function<Result<void>(FdRef root)>& fill);
Result<void> remember_source_layer(const SourceContext& context, const std::string& key, const std::string& description,
                                   const SourceLayer& layer);

}  // namespace dray::builder
