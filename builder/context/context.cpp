// SPDX-License-Identifier: Apache-2.0
// The context is a directory of the user, or arrives on "-" as a tar or as nothing but a Dockerfile: its first
// bytes tell. What lies inside a context is opened beneath it, so that a link in it shows the build nothing
// else; a Dockerfile the user names outside of it is simply the user's file.
#include "context/context.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include <dray/core/rooted_path.hpp>

#include "ops/ops.hpp"

namespace dray::builder {
namespace {

constexpr std::size_t kMaxText = 16u << 20;

Result<std::string> read_regular(FdRef file, const std::string& path) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return fail_errno("reading \"" + path + "\"");
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::invalid_argument, "\"" + path + "\" is not a regular file");
  return read_all(file, kMaxText);
}

Result<void> receive(const BuildRequest& request, const std::string& temporary, const CancelToken& cancel,
                     BuildContext& context) {
  const auto raw = make_fd_source(request.context_tar);
  const auto bytes = make_decompressing_source(*raw);
  std::string head;
  std::array<std::byte, 512> block{};
  while (head.size() < block.size()) {
    const std::size_t count =
        TRY_CTX(bytes->read(std::span(block).first(block.size() - head.size())), "reading the context");
    if (count == 0) break;
    head.append(reinterpret_cast<const char*>(block.data()), count);
  }
  if (!is_tar_header(std::as_bytes(std::span(head)))) {
    std::vector<std::byte> buffer(64u << 10);
    while (head.size() <= kMaxText) {
      const std::size_t count = TRY_CTX(bytes->read(buffer), "reading the Dockerfile");
      if (count == 0) break;
      head.append(reinterpret_cast<const char*>(buffer.data()), count);
    }
    if (head.size() > kMaxText) return fail(ErrorCode::invalid_argument, "the Dockerfile is larger than 16 MiB");
    context.dockerfile = std::move(head);
    context.is_only_dockerfile = true;
    return {};
  }
  const std::span<const std::byte> seen = std::as_bytes(std::span(head));
  PrependedSource all({seen.begin(), seen.end()}, *bytes);
  return unpack_context(all, temporary, cancel, context);
}

/// The path of `-f` below the context, or nullopt when it is elsewhere.
std::optional<std::string> inside(const std::string& directory, const std::string& file) {
  std::error_code error;
  const auto base = std::filesystem::canonical(directory, error);
  if (error) return std::nullopt;
  const auto absolute = std::filesystem::absolute(file, error);
  if (error) return std::nullopt;
  const auto parent = std::filesystem::weakly_canonical(absolute.parent_path(), error);
  if (error) return std::nullopt;
  const std::string relative = (parent / absolute.filename()).lexically_relative(base).string();
  if (relative.empty() || relative == ".." || relative.starts_with("../")) return std::nullopt;
  return relative;
}

constexpr int kFlags = O_RDONLY | O_NONBLOCK | O_NOCTTY;

/// A file named by -f: in the context where it lies in it, so that a link there shows the build nothing else.
Result<FileDescriptor> open_named(const BuildRequest& request, const BuildContext& context, const std::string& name,
                                  const std::string& suffix) {
  std::optional<std::string> relative = name;
  if (!context.unpacked && !context.is_remote && !request.dockerfile.empty())
    relative = inside(request.context_directory, name);
  if (!relative) return open_file(name + suffix, kFlags);
  if (!context.directory.valid())
    return fail(ErrorCode::invalid_argument, "a build needs a context directory or a Dockerfile");
  return open_beneath(context.directory, *relative + suffix, kFlags);
}

Failure cannot_read(const std::string& name, Error error) {
  const bool missing = error.code() == ErrorCode::not_found;
  error = std::move(error).with_context("failed to read dockerfile \"" + name + "\"");
  if (missing) error = std::move(error).with_hint("name another one with -f");
  return Failure(std::move(error));
}

Result<std::optional<std::string>> read_optional(Result<FileDescriptor> file, const std::string& path) {
  if (!file) {
    if (file.error().code() == ErrorCode::not_found) return std::nullopt;
    return Failure(std::move(file).error().with_context("reading \"" + path + "\""));
  }
  return TRY(read_regular(*file, path));
}

std::string dockerfile_name(const BuildRequest& request) {
  return request.dockerfile.empty() ? "Dockerfile" : request.dockerfile;
}

}  // namespace

Result<void> unpack_context(ByteSource& tar, const std::string& temporary, const CancelToken& cancel,
                            BuildContext& context) {
  context.unpacked = TRY(TempDir::create(temporary, "context-"));
  context.directory = TRY(open_file(context.unpacked->path(), O_RDONLY | O_DIRECTORY));
  const ExtractOptions options{.owner = std::nullopt, .keep_owner = false, .allow_devices = false};
  TRY_CTX(extract_archive(context.directory, "/", tar, options, cancel), "unpacking the context");
  return {};
}

Result<BuildContext> open_context(const BuildRequest& request, const std::string& temporary,
                                  const CancelToken& cancel) {
  BuildContext context;
  if (request.context_tar.valid()) {
    TRY(receive(request, temporary, cancel, context));
    if (context.is_only_dockerfile && (!request.dockerfile.empty() || request.dockerfile_text))
      return fail(ErrorCode::invalid_argument, "ambiguous Dockerfile source: both stdin and -f name a Dockerfile");
  } else if (!request.context_directory.empty()) {
    context.directory = TRY_CTX(open_file(request.context_directory, O_RDONLY | O_DIRECTORY),
                                "unable to prepare the build context \"" + request.context_directory + "\"");
  }
  return context;
}

Result<void> read_dockerfile(const BuildRequest& request, BuildContext& context) {
  if (context.is_only_dockerfile) return {};
  if (request.dockerfile_text) {
    context.dockerfile = *request.dockerfile_text;
    return {};
  }
  const std::string name = dockerfile_name(request);
  context.dockerfile_name = split_path(name).second;
  const auto file = open_named(request, context, name, "");
  if (!file) return cannot_read(name, file.error());
  auto text = read_regular(*file, name);
  if (!text) return cannot_read(name, std::move(text).error());
  context.dockerfile = std::move(*text);
  return {};
}

Result<std::size_t> read_ignore_file(const BuildRequest& request, BuildContext& context) {
  if (!context.directory.valid() || context.is_git) return std::size_t{0};
  std::optional<std::string> text;
  std::string file = dockerfile_name(request) + ".dockerignore";
  if (!request.dockerfile_text)
    text = TRY(read_optional(open_named(request, context, dockerfile_name(request), ".dockerignore"), file));
  if (!text) {
    file = ".dockerignore";
    text = TRY(read_optional(open_beneath(context.directory, file, kFlags), file));
  }
  if (!text) return std::size_t{0};
  context.ignore = TRY(IgnorePatterns::parse(*text, file));
  return text->size();
}

}  // namespace dray::builder
