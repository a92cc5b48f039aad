// SPDX-License-Identifier: Apache-2.0
// Index entries that are indexes themselves are followed when no entry is for the platform.
#include "platform_choice.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxIndexDepth = 3;
using Get = std::function<Result<Document>(const image::Descriptor&)>;

Result<Document> choose(Document document, const image::Platform& platform, const std::string& name, const Get& get,
                        int depth) {
  if (!image::is_index(document.bytes, document.media_type)) return document;
  if (depth > kMaxIndexDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
  const image::Index index = TRY_CTX(image::parse_index(document.bytes), "index " + document.digest.to_string());
  auto chosen = image::select_platform(index, platform);
  if (chosen) {
    Document next = TRY(get(*chosen));
    return choose(std::move(next), platform, name, get, depth + 1);
  }
  for (const image::Descriptor& entry : index.manifests) {
    if (entry.platform || (entry.media_type != image::kOciIndex && entry.media_type != image::kDockerIndex)) continue;
    if (depth + 1 > kMaxIndexDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
    Document next = TRY(get(entry));
    auto found = choose(std::move(next), platform, name, get, depth + 1);
    if (found || found.error().code() != ErrorCode::not_found) return found;
  }
  return Failure(std::move(chosen).error().with_context(name));
}

}  // namespace

Result<Document> choose_platform(Document document, const image::Platform& platform, const std::string& name,
                                 const Get& get) {
  return choose(std::move(document), platform, name, get, 0);
}

}  // namespace dray::registry
