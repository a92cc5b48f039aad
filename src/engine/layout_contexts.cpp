// SPDX-License-Identifier: Apache-2.0
#include "layout_contexts.hpp"

#include <sys/stat.h>

#include <dray/core/process.hpp>
#include <dray/engine/remote.hpp>

namespace dray::engine {
namespace {

constexpr std::string_view kOwn = "localhost/dray-oci-layout:";
constexpr std::string_view kScheme = "oci-layout://";

/// "PATH[:TAG][@DIGEST]" as `image copy` names it; the digest counts.
Result<std::string> place_of(const std::string& text) {
  std::string path = text, name = "latest";
  const std::size_t at = text.rfind("@sha");
  if (at != std::string::npos) {
    path = text.substr(0, at);
    name = TRY(Digest::parse(text.substr(at + 1))).to_string();
  }
  const std::size_t colon = path.rfind(':');
  if (colon != std::string::npos && path.find('/', colon) == std::string::npos) {
    if (at == std::string::npos) name = path.substr(colon + 1);
    path.resize(colon);
  }
  struct stat status = {};
  if (path.empty() || ::stat((path + "/oci-layout").c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    return fail(ErrorCode::not_found, "\"" + path + "\" is no OCI layout: it has no file \"oci-layout\"");
  return "oci:" + path + ":" + name;
}

}  // namespace

LayoutContexts::~LayoutContexts() {
  for (const Reference& name : names_) {
    const auto record = context_.store->find_image(name);
    if (record && *record) (void)context_.store->remove_image(**record);  // what stays is an image the user sees
  }
}

bool LayoutContexts::is_own(const Reference& name) { return name.canonical().starts_with(kOwn); }

Result<builder::BuildRequest> LayoutContexts::bring_in(const builder::BuildRequest& request,
                                                       const CancelToken& cancel) {
  builder::BuildRequest changed = request;
  for (auto& [name, value] : changed.named_contexts) {
    if (!value.starts_with(kScheme)) continue;
    const std::string where = "build context \"" + name + "\"";
    const std::string place = TRY_CTX(place_of(value.substr(kScheme.size())), where);
    const std::string own = std::string(kOwn) + random_hex(12);
    CopyRequest copy;
    copy.source = place;
    copy.destination = "local:" + own;
    copy.all_platforms = request.platforms.size() > 1;
    if (request.platforms.size() == 1) copy.platform = request.platforms.front().to_string();
    SilentProgress progress;
    names_.push_back(TRY(Reference::parse(own)));
    TRY_CTX(copy_image(context_, copy, progress, cancel), where);
    value = "docker-image://" + own;
  }
  return changed;
}

}  // namespace dray::engine
