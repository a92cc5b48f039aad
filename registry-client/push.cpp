// SPDX-License-Identifier: Apache-2.0
// A push: layers, config, manifest, in that order, since a registry refuses a manifest whose blobs it lacks.
// The manifest is sent byte by byte as stored, with its own media type, so its digest stays what it was.
#include <thread>

#include <dray/registry/client.hpp>

#include "blob_upload.hpp"

namespace dray::registry {
namespace {

/// blob -> a repository of the same registry that was pushed or pulled with it.
std::map<Digest, std::string> find_mount_sources(store::Store& store, const Reference& target) {
  std::map<Digest, std::string> sources;
  const auto records = store.list_images();
  if (!records) return sources;
  for (const store::ImageRecord& record : *records) {
    for (const std::string& name : record.repo_digests) {
      const auto known = Reference::parse(name);
      if (!known || known->domain() != target.domain() || known->repository() == target.repository()) continue;
      const auto bytes = store.content().read_blob(record.manifest);
      if (!bytes) continue;
      const auto manifest = image::parse_manifest(*bytes);
      if (!manifest) continue;
      for (const image::Descriptor& layer : manifest->layers) sources.emplace(layer.digest, known->repository());
    }
  }
  return sources;
}

class SilentSink : public ProgressSink {
  void report(const ProgressEvent&) override {}
};

using PutBlob = std::function<Result<void>(HttpClient& client, const image::Descriptor& blob, StepProgress& step)>;

Result<void> push_layers(const PutBlob& put, HttpClient& first_client, const std::vector<image::Descriptor>& layers,
                         int threads, ProgressSink& progress, Stop& stop) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<Error> first_error;
  const auto work = [&](HttpClient& client) {
    for (std::size_t i = next++; i < layers.size() && !stop.requested(); i = next++) {
      StepProgress step(progress, static_cast<int>(i) + 1, layers[i].digest.short_hex());
      auto pushed = put(client, layers[i], step);
      if (pushed) continue;
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::move(pushed).error();
      stop.abandon();
      return;
    }
  };
  std::vector<std::thread> workers;
  const std::size_t count = std::min<std::size_t>(static_cast<std::size_t>(std::max(1, threads)), layers.size());
  for (std::size_t i = 1; i < count; ++i) {
    auto client = HttpClient::create();
    if (!client) break;
    workers.emplace_back([&work, own = *std::move(client)]() mutable { work(own); });
  }
  work(first_client);
  for (std::thread& worker : workers) worker.join();
  if (first_error) return Failure(*std::move(first_error));
  if (stop.requested()) return Failure(Stop::error());
  return {};
}

}  // namespace

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

  Uploader uploader(*session);
  const PutBlob put = [&](HttpClient& own, const image::Descriptor& blob, StepProgress& step) {
    const auto source = sources.find(blob.digest);
    return uploader.put_blob(
        own, blob, source == sources.end() ? "" : source->second,
        [&] { return store.content().open_blob(blob.digest); }, step);
  };
  TRY(push_layers(put, client, layers, options.parallel_transfers, progress, stop));
  SilentSink silent;  // users know layers; the config is not one
  StepProgress step(silent, 0, manifest.config.digest.short_hex());
  TRY(put(client, manifest.config, step));
  TRY_CTX(uploader.put_manifest(client, reference.tag(), manifest_bytes, media_type, record.manifest),
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
