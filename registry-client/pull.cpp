// SPDX-License-Identifier: Apache-2.0
// A pull: reference -> (index ->) manifest -> config -> layers -> record. Everything below the manifest is
// named by digest in something verified before, so after the first answer the registry can only withhold, not
// forge. The manifest is stored last, just before the record: what an interrupted pull leaves are whole blobs
// and layers, which the next one finds and skips.
#include <thread>

#include <dray/core/process.hpp>
#include <dray/registry/client.hpp>

#include "fetch.hpp"
#include "parallel.hpp"
#include "platform_choice.hpp"
#include "whole_index.hpp"

namespace dray::registry {
namespace {

constexpr std::size_t kMaxLayers = 1024;

bool is_layer_type(std::string_view type) {
  for (const std::string_view prefix : {"application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."})
    if (type.starts_with(prefix) && !type.ends_with("+encrypted")) return true;
  return false;
}

Result<void> check_manifest(const image::Manifest& manifest) {
  for (const image::Descriptor& layer : manifest.layers)
    if (!is_layer_type(layer.media_type))
      return fail(ErrorCode::unsupported, "not a container image: it has a layer of type \"" + layer.media_type + "\"");
  if (manifest.layers.size() > kMaxLayers)
    return fail(ErrorCode::unsupported, "the image has " + std::to_string(manifest.layers.size()) +
                                            " layers; the limit is " + std::to_string(kMaxLayers));
  if (manifest.config.media_type != image::kOciConfig && manifest.config.media_type != image::kDockerConfig)
    return fail(ErrorCode::unsupported,
                "not a container image: its config is of type \"" + manifest.config.media_type + "\"");
  return {};
}

Result<void> check_config(const image::ImageConfig& config, const image::Manifest& manifest,
                          const image::Platform& platform, ProgressSink& progress) {
  if (config.diff_ids.size() != manifest.layers.size())
    return fail(ErrorCode::corrupt, "the image config names " + std::to_string(config.diff_ids.size()) +
                                        " layers, the manifest " + std::to_string(manifest.layers.size()));
  if (!config.platform.os.empty() && config.platform.os != "linux")
    return fail(ErrorCode::unsupported,
                "image operating system \"" + config.platform.os + "\" cannot be used on this platform");
  if (!config.platform.architecture.empty() && config.platform.architecture != platform.architecture)
    report_message(progress,
                   "warning: the image is for " + config.platform.to_string() + ", not for " + platform.to_string());
  return {};
}

struct LayerJob {
  const image::Descriptor* descriptor = nullptr;
  const DiffId* diff_id = nullptr;  ///< nullptr: not unpacked, another platform's
  int id = 0;
};

/// Fetches all layers in `threads` threads. The first error stops the others.
Result<void> fetch_layers(Session& session, HttpClient& first_client, store::Store& store,
                          const std::vector<LayerJob>& jobs, int threads, ProgressSink& progress, Stop& stop) {
  SpareConnections spare{kSpareConnections};
  const auto fetch = [&](HttpClient& client, std::size_t i) {
    StepProgress step(progress, jobs[i].id, jobs[i].descriptor->digest.short_hex());
    if (jobs[i].diff_id == nullptr) return fetch_blob(session, client, store, *jobs[i].descriptor, spare, step);
    auto fetched = fetch_layer(session, client, store, *jobs[i].descriptor, *jobs[i].diff_id, spare, step);
    if (!fetched && fetched.error().code() == ErrorCode::not_found && !jobs[i].descriptor->urls.empty())
      return Result<void>(Failure(std::move(fetched).error().with_hint(
          "a foreign layer, which its manifest says is at " + jobs[i].descriptor->urls.front() +
          "; Dray fetches layers from the registry only")));
    return fetched;
  };
  // Who has nothing to do helps with the layers that are still on their way.
  return transfer_all(first_client, jobs.size(), threads, stop, fetch, [&] { ++spare; });
}

bool is_complete(store::Store& store, const image::Manifest& manifest, const image::ImageConfig& config) {
  for (std::size_t i = 0; i < manifest.layers.size(); ++i)
    if (!store.content().contains(manifest.layers[i].digest) || !store.snapshots().contains(config.diff_ids[i]))
      return false;
  return true;
}

bool is_complete(store::Store& store, const image::Descriptor& index) {
  const auto blobs = store.referenced_blobs(index);
  return blobs && std::ranges::all_of(*blobs, [&](const Digest& blob) { return store.content().contains(blob); });
}

/// After the record. An index that is recorded stays so as long as it is what the registry has.
Result<void> record_index(store::Store& store, const std::string& reference, const Document& top, bool is_whole) {
  if (!is_whole) return store.forget_image_index(reference);
  return store.put_image_index(reference, descriptor_of_index(top));
}

Result<PullResult> pull_from(const Endpoint& endpoint, store::Store& store, const Reference& reference,
                             const PullOptions& what, const Options& options, ProgressSink& progress,
                             const CancelToken& cancel) {
  Stop stop(cancel);
  HttpClient client = TRY(HttpClient::create());
  auto session = TRY(Session::connect(client, endpoint, reference, Purpose::pull_manifest, options, progress, stop));
  Document top = TRY(fetch_document(*session, client, reference.tag_or_digest(), nullptr));
  if (!top.rate_limit.empty()) report_message(progress, "warning: " + session->host() + ": " + top.rate_limit);
  PullResult result;
  result.digest = top.digest;
  const bool whole = what.all_platforms && image::is_index(top.bytes, top.media_type);
  const image::Platform platform = whole ? first_platform(top, what.platform) : what.platform;
  const Document document =
      TRY(choose_platform(top, platform, reference.familiar(), [&](const image::Descriptor& entry) {
        return fetch_document(*session, client, entry.digest.to_string(), &entry);
      }));
  report_message(progress,
                 reference.tag_or_digest() + ": Pulling from " +
                     (reference.domain() == "docker.io" ? reference.repository() : reference.familiar_name()));

  const image::Manifest manifest =
      TRY_CTX(image::parse_manifest(document.bytes), "manifest " + document.digest.to_string());
  TRY_CTX(check_manifest(manifest), reference.familiar());
  const std::string config_bytes = TRY(fetch_small_blob(*session, client, store, manifest.config));
  const image::ImageConfig config =
      TRY_CTX(image::parse_config(config_bytes), "image config " + manifest.config.digest.to_string());
  TRY_CTX(check_config(config, manifest, platform, progress), reference.familiar());

  store::ImageRecord& record = result.image;
  record.reference = reference.canonical();
  record.manifest = document.digest;
  record.media_type = !document.media_type.empty() ? document.media_type : manifest.media_type;
  record.image_id = manifest.config.digest;
  record.created_at = format_time_now();
  const std::string repo_digest = reference.domain() + "/" + reference.repository() + "@" + result.digest.to_string();
  record.repo_digests = {repo_digest};

  const auto known = TRY(store.find_image(reference));
  const auto known_index = TRY(store.find_image_index(record.reference));
  const bool index_held = known_index && known_index->digest == top.digest;  // it is what the registry has now
  if (known && known->manifest == record.manifest) {
    for (const std::string& old : known->repo_digests)
      if (old != repo_digest) record.repo_digests.push_back(old);
    record.created_at = known->created_at;
    result.up_to_date = record.repo_digests.size() == known->repo_digests.size() &&
                        store.content().contains(document.digest) && is_complete(store, manifest, config) &&
                        (whole ? index_held && is_complete(store, *known_index) : index_held || !known_index);
    if (result.up_to_date) return result;
  }

  std::vector<LayerJob> jobs;
  std::set<std::pair<Digest, DiffId>> seen;  // an image may hold the same layer twice
  for (std::size_t i = 0; i < manifest.layers.size(); ++i)
    if (seen.emplace(manifest.layers[i].digest, config.diff_ids[i]).second)
      jobs.push_back({&manifest.layers[i], &config.diff_ids[i], static_cast<int>(jobs.size()) + 1});
  std::vector<image::Descriptor> others;
  if (whole) others = TRY(fetch_index_documents(*session, client, store, top));
  for (const image::Descriptor& blob : others)
    if (blob.digest != manifest.config.digest &&
        std::ranges::none_of(manifest.layers, [&](const auto& layer) { return layer.digest == blob.digest; }))
      jobs.push_back({&blob, nullptr, static_cast<int>(jobs.size()) + 1});
  TRY(fetch_layers(*session, client, store, jobs, options.parallel_transfers, progress, stop));
  TRY(store.content().write_blob(document.bytes, document.digest));
  if (whole) TRY(store.content().write_blob(top.bytes, top.digest));
  TRY_CTX(store.put_image(record), "recording " + reference.familiar());
  if (whole || known_index) TRY(record_index(store, record.reference, top, whole || index_held));
  return result;
}

/// Whether another registry may do better.
bool is_remote(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::not_found || code == ErrorCode::permission_denied ||
         code == ErrorCode::corrupt || code == ErrorCode::invalid_argument || code == ErrorCode::unsupported;
}

}  // namespace

Result<PullResult> pull(store::Store& store, const Reference& reference, const PullOptions& what,
                        const Options& options, ProgressSink& progress, const CancelToken& cancel) {
  const auto lease = TRY(store.lease());
  for (const Mirror& mirror : options.mirrors) {
    if (mirror.registry != reference.domain()) continue;
    const Endpoint endpoint = TRY(mirror_of(mirror, reference));
    auto pulled = pull_from(endpoint, store, reference, what, options, progress, cancel);
    if (pulled || !is_remote(pulled.error().code())) return pulled;
    report_message(progress, "mirror " + mirror.url + ": " + pulled.error().message() + "; trying the next registry");
  }
  return pull_from(origin_of(reference), store, reference, what, options, progress, cancel);
}

}  // namespace dray::registry
