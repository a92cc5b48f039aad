// SPDX-License-Identifier: Apache-2.0
// A push: layers, config, manifest, in that order, since a registry refuses a manifest whose blobs it lacks.
// The manifest is sent byte by byte as stored, with its own media type, so its digest stays what it was.
#include <thread>

#include <dray/registry/client.hpp>

#include "blob_upload.hpp"
#include "mount_sources.hpp"
#include "parallel.hpp"

namespace dray::registry {
namespace {

/// Blobs of the store, and manifests, into one repository.
class Pusher {
 public:
  Pusher(Session& session, store::Store& store, std::map<Digest, std::string> mount_sources)
      : uploader_(session), store_(store), mount_sources_(std::move(mount_sources)) {}

  Result<void> push_blob(HttpClient& client, const image::Descriptor& blob, StepProgress& progress) {
    const auto source = mount_sources_.find(blob.digest);
    return uploader_.put_blob(
        client, blob, source == mount_sources_.end() ? "" : source->second,
        [&] { return store_.content().open_blob(blob.digest); }, progress);
  }
  /// `name`: the tag, or the digest.
  Result<void> push_manifest(HttpClient& client, const std::string& name, const std::string& bytes,
                             const std::string& media_type, const Digest& digest) {
    return uploader_.put_manifest(client, name, bytes, media_type, digest);
  }

 private:
  Uploader uploader_;
  store::Store& store_;
  const std::map<Digest, std::string> mount_sources_;
};

Result<void> push_layers(Pusher& pusher, HttpClient& first_client, const std::vector<image::Descriptor>& layers,
                         int threads, ProgressSink& progress, Stop& stop) {
  return transfer_all(first_client, layers.size(), threads, stop, [&](HttpClient& client, std::size_t i) {
    StepProgress step(progress, static_cast<int>(i) + 1, layers[i].digest.short_hex());
    return pusher.push_blob(client, layers[i], step);
  });
}

/// A document to push, after those below it.
struct PushedDocument {
  std::string bytes, media_type;
  Digest digest;
};

/// What a document refers to, children before parents; blobs each once.
struct DocumentTree {
  std::vector<PushedDocument> documents;
  std::vector<image::Descriptor> layers, configs;
};

Result<void> collect_tree(store::Store& store, const image::Descriptor& document, int depth, std::set<Digest>& seen,
                          DocumentTree& tree) {
  constexpr int kMaxDepth = 4;
  if (depth > kMaxDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
  if (!seen.insert(document.digest).second) return {};
  const std::string bytes = TRY(store.content().read_blob(document.digest));
  if (image::is_index(bytes, document.media_type)) {
    const image::Index index = TRY(image::parse_index(bytes));
    for (const image::Descriptor& entry : index.manifests) {
      // A build cache's index names its layers and config as they are.
      if (entry.media_type == image::kOciManifest || entry.media_type == image::kDockerManifest ||
          entry.media_type == image::kOciIndex || entry.media_type == image::kDockerIndex) {
        TRY(collect_tree(store, entry, depth + 1, seen, tree));
      } else if (seen.insert(entry.digest).second) {
        tree.layers.push_back(entry);
      }
    }
  } else {
    const image::Manifest manifest = TRY(image::parse_manifest(bytes));
    for (const image::Descriptor& layer : manifest.layers)
      if (seen.insert(layer.digest).second) tree.layers.push_back(layer);
    if (seen.insert(manifest.config.digest).second) tree.configs.push_back(manifest.config);
  }
  tree.documents.push_back({bytes, document.media_type, document.digest});
  return {};
}

}  // namespace

Result<void> push_document(store::Store& store, const image::Descriptor& document, const Reference& reference,
                           const Options& options, ProgressSink& progress, const CancelToken& cancel) {
  Stop stop(cancel);
  const auto lease = TRY(store.lease());
  DocumentTree tree;
  std::set<Digest> seen;
  TRY(collect_tree(store, document, 0, seen, tree));
  HttpClient client = TRY(HttpClient::create());
  auto session = TRY(Session::connect(client, reference, Purpose::push, options, progress, stop));
  std::map<Digest, std::string> all_sources = find_mount_sources(store, reference), sources;
  for (const image::Descriptor& layer : tree.layers)
    if (const auto source = all_sources.find(layer.digest); source != all_sources.end()) sources.insert(*source);
  for (const auto& [digest, repository] : sources) session->add_pull_scope(repository);
  Pusher pusher(*session, store, std::move(sources));
  TRY(push_layers(pusher, client, tree.layers, options.parallel_transfers, progress, stop));
  SilentProgress silent;
  for (const image::Descriptor& config : tree.configs) {
    StepProgress step(silent, 0, config.digest.short_hex());
    TRY(pusher.push_blob(client, config, step));
  }
  for (const PushedDocument& pushed : tree.documents) {
    const std::string name = pushed.digest == document.digest ? reference.tag_or_digest() : pushed.digest.to_string();
    TRY_CTX(pusher.push_manifest(client, name, pushed.bytes, pushed.media_type, pushed.digest), "pushing the manifest");
  }
  return {};
}

Result<image::Descriptor> push(store::Store& store, const Reference& reference, const Options& options,
                               ProgressSink& progress, const CancelToken& cancel) {
  if (reference.tag().empty()) return fail(ErrorCode::invalid_argument, "cannot push a digest reference");
  Stop stop(cancel);
  const auto lease = TRY(store.lease());
  auto found = TRY(store.find_image(reference));
  if (!found)
    return fail(ErrorCode::not_found, "an image does not exist locally with the tag: " + reference.familiar_name());
  store::ImageRecord record = *std::move(found);
  const std::string manifest_bytes = TRY(store.content().read_blob(record.manifest));
  const image::Manifest manifest = TRY(image::parse_manifest(manifest_bytes));
  const std::string media_type = !record.media_type.empty() ? record.media_type : manifest.media_type;

  HttpClient client = TRY(HttpClient::create());
  auto session = TRY(Session::connect(client, reference, Purpose::push, options, progress, stop));
  report_message(progress, "The push refers to repository [" + reference.domain() + "/" + reference.repository() + "]");

  std::map<Digest, std::string> all_sources = find_mount_sources(store, reference);
  std::map<Digest, std::string> sources;
  std::vector<image::Descriptor> layers;
  std::set<Digest> seen;
  for (const image::Descriptor& layer : manifest.layers) {
    if (!seen.insert(layer.digest).second) continue;
    layers.push_back(layer);
    if (const auto source = all_sources.find(layer.digest); source != all_sources.end()) sources.insert(*source);
  }
  for (const auto& [digest, repository] : sources) session->add_pull_scope(repository);

  Pusher pusher(*session, store, std::move(sources));
  TRY(push_layers(pusher, client, layers, options.parallel_transfers, progress, stop));
  SilentProgress silent;  // users know layers; the config is not one
  StepProgress step(silent, 0, manifest.config.digest.short_hex());
  TRY(pusher.push_blob(client, manifest.config, step));
  TRY_CTX(pusher.push_manifest(client, reference.tag(), manifest_bytes, media_type, record.manifest),
          "pushing the manifest");

  const std::string repo_digest = reference.domain() + "/" + reference.repository() + "@" + record.manifest.to_string();
  if (std::ranges::find(record.repo_digests, repo_digest) == record.repo_digests.end()) {
    record.repo_digests.push_back(repo_digest);
    TRY_CTX(store.put_image(record), "recording the pushed digest of " + reference.familiar());
  }
  image::Descriptor pushed;
  pushed.media_type = media_type;
  pushed.digest = record.manifest;
  pushed.size = manifest_bytes.size();
  return pushed;
}

}  // namespace dray::registry
