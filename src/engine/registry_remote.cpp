// SPDX-License-Identifier: Apache-2.0
#include <dray/engine/remote.hpp>

#include "registry_process.hpp"

namespace dray::engine {
namespace {

Result<HelperResult> ask(Context& context, const std::vector<std::string>& words, const CancelToken& cancel) {
  SilentProgress progress;
  return run_registry_helper(context, words, progress, cancel);
}

}  // namespace

Result<std::vector<std::string>> remote_tags(Context& context, const std::string& name, const CancelToken& cancel) {
  return TRY(ask(context, {"tags", TRY(Reference::parse(name)).canonical()}, cancel)).names;
}

Result<std::vector<std::string>> remote_repositories(Context& context, const std::string& registry,
                                                     const CancelToken& cancel) {
  if (registry.starts_with('-')) return fail(ErrorCode::invalid_argument, "not a registry: \"" + registry + "\"");
  return TRY(ask(context, {"catalog", registry}, cancel)).names;
}

Result<std::vector<FoundRepository>> search_registry(Context& context, const std::string& term, std::size_t limit,
                                                     const CancelToken& cancel) {
  if (term.starts_with('-')) return fail(ErrorCode::invalid_argument, "not a search term: \"" + term + "\"");
  return TRY(ask(context, {"search", "--limit", std::to_string(limit), term}, cancel)).found;
}

Result<std::string> remove_remote(Context& context, const std::string& name, const CancelToken& cancel) {
  return TRY(ask(context, {"remove", TRY(Reference::parse(name)).canonical()}, cancel)).text;
}

Result<RemoteManifest> remote_manifest(Context& context, const std::string& name, const CancelToken& cancel) {
  HelperResult result = TRY(ask(context, {"manifest", TRY(Reference::parse(name)).canonical()}, cancel));
  return RemoteManifest{std::move(result.text), std::move(result.media_type), TRY(Digest::parse(result.digest))};
}

Result<std::string> remote_config(Context& context, const std::string& name, const CancelToken& cancel) {
  return TRY(ask(context, {"config", TRY(Reference::parse(name)).canonical()}, cancel)).text;
}

Result<std::string> image_manifest(Context& context, const std::string& name) {
  const store::ImageRecord record = TRY(context.store->resolve_image(name));
  return context.store->content().read_blob(record.manifest);
}

Result<Digest> copy_image(Context& context, const CopyRequest& request, ProgressSink& progress,
                          const CancelToken& cancel) {
  std::vector<std::string> words = {"copy"};
  if (request.all_platforms) words.push_back("--all");
  if (request.referrers) words.push_back("--referrers");
  if (!request.platform.empty()) words.insert(words.end(), {"--platform", request.platform});
  for (const std::string& place : {request.source, request.destination}) {
    if (place.starts_with('-')) return fail(ErrorCode::invalid_argument, "not an image: \"" + place + "\"");
    words.push_back(place);
  }
  return Digest::parse(TRY(run_registry_helper(context, words, progress, cancel)).digest);
}

}  // namespace dray::engine
