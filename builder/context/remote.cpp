// SPDX-License-Identifier: Apache-2.0
// Contexts that are not a plain directory of the user's. A git tree and a download become layers first, so they come
// from the cache when nothing has changed.
#include "context/remote.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <dray/core/rooted_path.hpp>

#include "context/scan.hpp"
#include "ops/ops.hpp"
#include "source/git_reference.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kMaxText = 16u << 20;
constexpr int kFlags = O_RDONLY | O_NONBLOCK | O_NOCTTY;

Result<FileDescriptor> open_layer(const SourceContext& sources, const SourceLayer& layer) {
  return store::open_mount(TRY(sources.store.snapshots().view({layer.layer})));
}

/// The time of a git tree's commit, which all its files have; nullopt for one without files.
Result<std::optional<std::int64_t>> time_of_tree(FdRef directory) {
  const std::vector<std::string> names = TRY_CTX(list_without_links(directory, ""), "reading the git context");
  if (names.empty()) return std::optional<std::int64_t>();
  struct stat status = {};
  if (::fstatat(directory.get(), names.front().c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("reading the time of the git context");
  return std::optional<std::int64_t>(status.st_mtim.tv_sec);
}

/// The newest file's.
Result<std::optional<std::int64_t>> newest_time(FdRef directory, const CancelToken& cancel) {
  const SourceTree tree{.root = directory};
  std::optional<std::int64_t> newest;
  for (const Source& source : TRY(find_sources(tree, "/", IgnorePatterns(), cancel)))
    for (const TreeEntry& entry : source.entries)
      if (!S_ISDIR(entry.status.st_mode))
        newest = std::max(newest.value_or(0), std::int64_t{entry.status.st_mtim.tv_sec});
  return newest;
}

Result<BuildContext> open_git(const GitReference& git, const SourceContext& sources) {
  GitOp op = git_op(git);
  for (const auto& [name, value] : sources.build.build_args)
    if (name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR" && (value == "1" || value == "true")) op.keep_git_dir = true;
  BuildContext context;
  context.directory = TRY(open_layer(sources, TRY(fetch_source(op, sources))));
  context.is_remote = context.is_git = true;
  context.time = TRY(time_of_tree(context.directory));
  return context;
}

Result<BuildContext> open_http(const std::string& url, const SourceContext& sources) {
  BuildContext context;
  context.is_remote = true;
  const FileDescriptor layer = TRY(open_layer(sources, TRY(fetch_source(HttpOp{url, "", "context"}, sources))));
  const FileDescriptor file = TRY(open_beneath(layer, "context", kFlags));
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return fail_errno("reading the build context");
  if (status.st_mtim.tv_sec != 0) context.time = status.st_mtim.tv_sec;  // Last-Modified
  const bool archive = TRY(is_archive(file));
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("reading the build context");
  if (!archive) {
    context.dockerfile = TRY_CTX(read_all(file, kMaxText), "reading the Dockerfile");
    context.is_only_dockerfile = true;
    return context;
  }
  const auto bytes = make_fd_source(FdRef(file));
  TRY(unpack_context(*bytes, sources.temporary(), sources.cancel, context));
  if (!context.time) context.time = TRY(newest_time(context.directory, sources.cancel));
  return context;
}

}  // namespace

Result<BuildContext> open_remote_context(const std::string& url, const SourceContext& sources) {
  const std::optional<GitReference> git = TRY(parse_git_reference(url));
  if (git) return open_git(*git, sources);
  if (is_http(url)) return open_http(url, sources);
  return fail(ErrorCode::invalid_argument, "\"" + url + "\" is no URL of a build context");
}

Result<std::map<std::string, ContextSource>> read_named_contexts(const BuildRequest& request) {
  using Kind = ContextSource::Kind;
  constexpr std::string_view kImage = "docker-image://", kStage = "target:", kLayout = "oci-layout://";
  std::map<std::string, ContextSource> contexts;
  for (const auto& [name, value] : request.named_contexts) {
    if (name.empty() || value.empty())
      return fail(ErrorCode::invalid_argument, "invalid build context \"" + name + "=" + value + "\": NAME=VALUE");
    ContextSource source{Kind::directory, value};
    const std::optional<GitReference> git = TRY(parse_git_reference(value));
    if (value.starts_with(kImage)) {
      source = {Kind::image, value.substr(kImage.size())};
      TRY_CTX(Reference::parse(source.value), "build context \"" + name + "\"");
    } else if (value.starts_with(kStage)) {
      source = {Kind::stage, value.substr(kStage.size())};
    } else if (value.starts_with(kLayout)) {
      return fail(ErrorCode::unsupported, "build context \"" + name + "\": oci-layout:// cannot be read here");
    } else if (git && !(git->looks_local && ::access(value.c_str(), F_OK) == 0)) {
      source.kind = Kind::git;
    } else if (is_http(value)) {
      source.kind = Kind::http;
    } else if (value.find("://") != std::string::npos) {
      return fail(ErrorCode::invalid_argument, "build context \"" + name + "\": unknown kind \"" + value + "\"");
    }
    contexts[name] = std::move(source);
  }
  return contexts;
}

Result<BuildContext> open_named_directory(const std::string& name, const std::string& path) {
  BuildContext context;
  context.directory = TRY_CTX(open_file(path, O_RDONLY | O_DIRECTORY), "build context \"" + name + "\"");
  const auto file = open_beneath(context.directory, ".dockerignore", kFlags);
  if (!file && file.error().code() == ErrorCode::not_found) return context;
  if (!file) return Failure(file.error());
  struct stat status = {};
  if (::fstat(file->get(), &status) != 0 || !S_ISREG(status.st_mode))
    return fail(ErrorCode::invalid_argument, "\"" + path + "/.dockerignore\" is not a regular file");
  context.ignore = TRY(IgnorePatterns::parse(TRY(read_all(*file, kMaxText)), path + "/.dockerignore"));
  return context;
}

PlanOptions plan_options(const BuildRequest& request, const BuildContext& context,
                         std::map<std::string, ContextSource> named_contexts, const image::Platform& platform) {
  PlanOptions options;
  options.build_args = request.build_args;
  options.labels = request.labels;
  options.target = request.target;
  options.network = request.network;
  options.platform = platform;
  options.created = format_time_now();
  if (context.is_git) options.context = {ContextSource::Kind::git, request.context_url};
  options.named_contexts = std::move(named_contexts);
  return options;
}

}  // namespace dray::builder
