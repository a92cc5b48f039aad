// SPDX-License-Identifier: Apache-2.0
// --verify-reproducible: which step of two equal builds made something else, and in which file it shows first.
#include "verify/verify.hpp"

#include <algorithm>

#include <dray/core/tar.hpp>

namespace dray::builder {
namespace {

Result<Digest> content_of(tar::Reader& reader) {
  HashingSource content(reader);
  TRY(drain(content));
  return content.finish();
}

/// "" where nothing but the content could differ.
std::string difference(const tar::Entry& a, const tar::Entry& b) {
  if (a.type != b.type) return "is of another type";
  if (a.link_target != b.link_target) return "leads to \"" + a.link_target + "\" and to \"" + b.link_target + "\"";
  if (a.mode != b.mode) return "has another mode";
  if (a.uid != b.uid || a.gid != b.gid) return "has another owner";
  if (a.size != b.size) return "has " + std::to_string(a.size) + " bytes and " + std::to_string(b.size);
  if (a.xattrs != b.xattrs) return "has other extended attributes";
  if (a.device_major != b.device_major || a.device_minor != b.device_minor) return "is another device";
  return "";
}

std::string time_of(const tar::Entry& entry) {
  std::string nanoseconds = std::to_string(entry.mtime_nanoseconds);
  return std::to_string(entry.mtime_seconds) + "." + std::string(9 - nanoseconds.size(), '0') + nanoseconds;
}

Result<std::string> layer_difference(store::Store& store, const BuiltStep& a, const BuiltStep& b,
                                     std::optional<std::int64_t> epoch) {
  if (!a.blob || !b.blob) return std::string();
  auto first_file = make_fd_source(TRY(store.content().open_blob(a.blob->digest)));
  auto second_file = make_fd_source(TRY(store.content().open_blob(b.blob->digest)));
  auto first = make_decompressing_source(*first_file), second = make_decompressing_source(*second_file);
  return first_difference(*first, *second, epoch);
}

/// Else an error that names the first step, and the file.
Result<void> check_same(store::Store& store, const std::vector<BuiltStep>& first, const std::vector<BuiltStep>& second,
                        std::optional<std::int64_t> epoch) {
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (i >= second.size() || first[i].title != second[i].title)
      return fail(ErrorCode::corrupt, "not reproducible: the second build has other steps");
    if (first[i].digest == second[i].digest) continue;
    const std::string file = TRY(layer_difference(store, first[i], second[i], epoch));
    if (file.empty() && epoch && (first[i].blob || i + 1 == first.size())) continue;
    std::string message =
        "not reproducible: " + first[i].title + " made " + first[i].digest + ", and then " + second[i].digest;
    if (!file.empty()) message += ": " + file;
    Error error(ErrorCode::corrupt, std::move(message));
    if (!first[i].location.empty()) error = std::move(error).with_location(first[i].location);
    return Failure(std::move(error));
  }
  return {};
}

}  // namespace

Result<std::string> first_difference(ByteSource& first, ByteSource& second, std::optional<std::int64_t> epoch) {
  tar::Reader one(first), two(second);
  std::string other_time;  // said only if nothing worse is found: times of directories differ as soon as a file does
  for (;;) {
    std::optional<tar::Entry> a = TRY(one.next());
    std::optional<tar::Entry> b = TRY(two.next());
    for (std::optional<tar::Entry>* entry : {&a, &b}) {
      if (!*entry || !epoch || (*entry)->mtime_seconds < *epoch) continue;
      (*entry)->mtime_seconds = *epoch;
      (*entry)->mtime_nanoseconds = 0;
    }
    if (!a && !b) return other_time;
    if (!a || !b || a->path != b->path) {
      const bool only_first = a && (!b || a->path < b->path);
      return "\"" + (only_first ? a->path : b->path) + "\" is only in the " + (only_first ? "first" : "second") +
             " build";
    }
    if (const std::string found = difference(*a, *b); !found.empty()) return "\"" + a->path + "\" " + found;
    if (a->size > 0 && TRY(content_of(one)) != TRY(content_of(two))) return "\"" + a->path + "\" has another content";
    if (other_time.empty() && (a->mtime_seconds != b->mtime_seconds || a->mtime_nanoseconds != b->mtime_nanoseconds))
      other_time = "\"" + a->path + "\" has another time: " + time_of(*a) + " and " + time_of(*b);
  }
}

std::vector<BuiltStep> steps_of(const Plan& plan, const std::vector<StepResult>& results,
                                const std::vector<BuiltImage>& images) {
  std::vector<BuiltStep> steps;
  for (const Vertex& vertex : plan.vertices) {
    const StepResult& result = results[static_cast<std::size_t>(vertex.id)];
    if (result.layers.empty()) continue;
    BuiltStep step{vertex.title, vertex.location.to_string(), result.layers.back().digest.to_string(), {}};
    if (!std::holds_alternative<SourceOp>(vertex.op)) step.blob = result.blob;
    steps.push_back(std::move(step));
  }
  for (const BuiltImage& image : images)
    steps.push_back({"the image's config", "", Digest::of(image::serialize(image.config)).to_string(), {}});
  return steps;
}

Result<void> verify_reproducible(
    store::Store& store, const BuildRequest& request, const BuildResult& first, std::optional<std::int64_t> epoch,
    ProgressSink& progress,
    const std::function<Result<BuildResult>(const BuildRequest& request, ProgressSink& progress)>& build) {
  progress.report({.kind = ProgressEvent::Kind::message, .text = "building again without the cache, to compare"});
  SilentProgress silent;
  BuildRequest again = request;
  again.no_cache = true;
  again.shell_on_failure = false;
  again.tags.clear();
  again.outputs = {{.type = "cacheonly", .attributes = {}}};
  again.cache_from.clear();
  again.cache_to.clear();
  again.attestations.clear();
  const BuildResult second = TRY_CTX(build(again, silent), "the second build");
  const bool levelled = std::ranges::any_of(request.outputs, [](const TypedOptions& output) {
    const auto wish = output.attributes.find("rewrite-timestamp");
    return wish != output.attributes.end() && wish->second == "true";
  });
  return check_same(store, first.steps, second.steps, levelled ? epoch : std::nullopt);
}

}  // namespace dray::builder
