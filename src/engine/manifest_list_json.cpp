// SPDX-License-Identifier: Apache-2.0
// A manifest list in the making: root/manifests/<name, percent-encoded>.json holds the index as it would be pushed,
// each entry with the reference it was made from in "source". The file is replaced as a whole.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <dray/engine/manifests.hpp>
#include <dray/engine/remote.hpp>

#include "registry_process.hpp"

namespace dray::engine {
namespace {

using nlohmann::ordered_json;

std::string list_path(const Context& context, const Reference& name) {
  std::string file;
  for (const char c : name.canonical()) file += c == '/' ? std::string("%2f") : std::string(1, c);
  return context.configuration.root + "/manifests/" + file + ".json";
}

Result<ordered_json> read_list(const Context& context, const Reference& name) {
  auto text = read_file(list_path(context, name), image::kMaxManifestSize);
  if (!text && text.error().code() == ErrorCode::not_found)
    return fail(ErrorCode::not_found, "No such manifest: " + name.familiar());
  if (!text) return Failure(std::move(text).error());
  ordered_json list = ordered_json::parse(*text, nullptr, false);
  if (!list.is_object() || !list["manifests"].is_array())
    return fail(ErrorCode::corrupt, "\"" + list_path(context, name) + "\" is damaged; remove it");
  return list;
}

Result<void> write_list(const Context& context, const Reference& name, const ordered_json& list) {
  TRY(make_directories(context.configuration.root + "/manifests", 0700));
  return write_file_atomically(list_path(context, name), list.dump(), 0600, Durability::none);
}

Result<ordered_json> describe(Context& context, const Reference& manifest, const CancelToken& cancel) {
  const RemoteManifest remote = TRY(remote_manifest(context, manifest.canonical(), cancel));
  if (image::is_index(remote.bytes, remote.media_type))
    return fail(ErrorCode::invalid_argument, manifest.familiar() + " is itself a manifest list");
  const image::Manifest parsed = TRY_CTX(image::parse_manifest(remote.bytes), manifest.familiar());
  const image::ImageConfig config =
      TRY_CTX(image::parse_config(TRY(remote_config(context, manifest.canonical(), cancel))), manifest.familiar());
  ordered_json platform = {{"architecture", config.platform.architecture}, {"os", config.platform.os}};
  if (!config.platform.variant.empty()) platform["variant"] = config.platform.variant;
  if (!config.platform.os_version.empty()) platform["os.version"] = config.platform.os_version;
  return ordered_json{{"mediaType", remote.media_type.empty() ? parsed.media_type : remote.media_type},
                      {"digest", remote.digest.to_string()},
                      {"size", remote.bytes.size()},
                      {"platform", std::move(platform)},
                      {"source", manifest.canonical()}};
}

std::string text(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// As it is pushed: Docker's type if every entry has Docker's.
ordered_json as_index(ordered_json list) {
  bool docker = true;
  for (auto& entry : list["manifests"]) {
    entry.erase("source");
    docker = docker && text(entry, "mediaType") == image::kDockerManifest;
  }
  return ordered_json{{"schemaVersion", 2},
                      {"mediaType", docker ? image::kDockerIndex : image::kOciIndex},
                      {"manifests", std::move(list["manifests"])}};
}

}  // namespace

Result<void> create_manifest_list(Context& context, const std::string& name, const std::vector<std::string>& manifests,
                                  bool amend, const CancelToken& cancel) {
  const Reference reference = TRY(Reference::parse(name));
  ordered_json list = {{"manifests", ordered_json::array()}};
  if (auto known = read_list(context, reference)) {
    if (!amend)
      return Failure(Error(ErrorCode::in_use, "a manifest list " + reference.familiar() + " is being made already")
                         .with_hint("add to it with --amend, or remove it with `dray manifest rm`"));
    list = *std::move(known);
  } else if (known.error().code() != ErrorCode::not_found) {
    return Failure(std::move(known).error());
  }
  auto& entries = list["manifests"];
  for (const std::string& manifest : manifests) {
    ordered_json entry = TRY(describe(context, TRY(Reference::parse(manifest)), cancel));
    std::erase_if(entries.get_ref<ordered_json::array_t&>(),
                  [&](const ordered_json& known) { return text(known, "digest") == text(entry, "digest"); });
    entries.push_back(std::move(entry));
  }
  return write_list(context, reference, list);
}

Result<void> annotate_manifest_list(Context& context, const std::string& name, const std::string& manifest,
                                    const ManifestAnnotation& annotation) {
  const Reference reference = TRY(Reference::parse(name)), wanted = TRY(Reference::parse(manifest));
  ordered_json list = TRY(read_list(context, reference));
  for (auto& entry : list["manifests"]) {
    if (text(entry, "source") != wanted.canonical()) continue;
    auto& platform = entry["platform"];
    if (annotation.os) platform["os"] = *annotation.os;
    if (annotation.architecture) platform["architecture"] = *annotation.architecture;
    if (annotation.variant) platform["variant"] = *annotation.variant;
    if (annotation.os_version) platform["os.version"] = *annotation.os_version;
    return write_list(context, reference, list);
  }
  return fail(ErrorCode::not_found,
              "manifest for image " + wanted.familiar() + " does not exist in " + reference.familiar());
}

Result<std::string> inspect_manifest(Context& context, const std::string& name, const CancelToken& cancel) {
  auto list = read_list(context, TRY(Reference::parse(name)));
  if (list) return as_index(*std::move(list)).dump(3);
  if (list.error().code() != ErrorCode::not_found) return Failure(std::move(list).error());
  const RemoteManifest remote = TRY(remote_manifest(context, name, cancel));
  return ordered_json::parse(remote.bytes, nullptr, false).dump(3, ' ', false, ordered_json::error_handler_t::replace);
}

Result<Digest> push_manifest_list(Context& context, const std::string& name, ProgressSink& progress,
                                  const CancelToken& cancel) {
  const Reference reference = TRY(Reference::parse(name));
  const ordered_json list = TRY(read_list(context, reference));
  const std::string repository = reference.domain() + "/" + reference.repository();
  for (const auto& entry : list["manifests"]) {
    const Reference source = TRY(Reference::parse(text(entry, "source")));
    const std::string from = source.domain() + "/" + source.repository();
    if (from == repository) continue;
    CopyRequest copy;
    copy.source = "docker://" + from + "@" + text(entry, "digest");
    copy.destination = "docker://" + repository + "@" + text(entry, "digest");
    TRY(copy_image(context, copy, progress, cancel));
  }
  const ordered_json index = as_index(list);
  const std::string file = list_path(context, reference) + ".push-" + random_hex(4);
  TRY(write_file_atomically(file, index.dump(), 0600, Durability::none));
  auto pushed = run_registry_helper(
      context, {"put-manifest", "--file", file, "--media-type", text(index, "mediaType"), reference.canonical()},
      progress, cancel);
  ::unlink(file.c_str());
  if (!pushed) return Failure(std::move(pushed).error());
  return Digest::parse(pushed->digest);
}

Result<void> remove_manifest_list(Context& context, const std::string& name) {
  const Reference reference = TRY(Reference::parse(name));
  if (::unlink(list_path(context, reference).c_str()) == 0) return {};
  if (errno == ENOENT) return fail(ErrorCode::not_found, "No such manifest: " + reference.familiar());
  return fail_errno("removing the manifest list " + reference.familiar());
}

}  // namespace dray::engine
