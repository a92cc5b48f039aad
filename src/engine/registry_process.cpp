// SPDX-License-Identifier: Apache-2.0
// pull and push by way of the helper program dray-registry, so that libcurl and its TLS are loaded only where
// they are used. Its lines are relayed as they come; a cancel becomes SIGTERM, and SIGKILL if that is not
// heeded within three seconds.
#include "registry_process.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>

#include <dray/core/process.hpp>
#include <dray/engine/images.hpp>

namespace dray::engine {
namespace {

constexpr std::size_t kMaxLine = 64u << 20;  // a catalog; a manifest
constexpr auto kGrace = std::chrono::seconds(3);

struct Outcome {
  std::optional<HelperResult> result;
  std::optional<Error> error;
};

Result<void> take_line(std::string_view line, ProgressSink& progress, Outcome& outcome) {
  HelperLine parsed = TRY(parse_helper_line(line));
  if (const auto* event = std::get_if<ProgressEvent>(&parsed)) {
    progress.report(*event);
  } else if (auto* result = std::get_if<HelperResult>(&parsed)) {
    outcome.result = std::move(*result);
  } else {
    outcome.error = std::get<Error>(std::move(parsed));
  }
  return {};
}

Result<void> take_lines(std::string& pending, ProgressSink& progress, Outcome& outcome) {
  std::size_t begin = 0;
  for (std::size_t end; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1)
    TRY(take_line(std::string_view(pending).substr(begin, end - begin), progress, outcome));
  pending.erase(0, begin);
  if (pending.size() > kMaxLine) return fail(ErrorCode::internal, "dray-registry wrote a line of more than 64 MiB");
  return {};
}

/// Until the helper closes its output. A child that is not waited for is killed by its destructor.
Result<Outcome> relay(ChildProcess& child, FdRef output, ProgressSink& progress, const CancelToken& cancel) {
  Outcome outcome;
  std::string pending;
  std::array<std::byte, 16384> buffer;
  std::optional<std::chrono::steady_clock::time_point> kill_at;
  for (;;) {
    if (cancel.cancelled() && !kill_at) {
      child.signal(SIGTERM);
      kill_at = std::chrono::steady_clock::now() + kGrace;
    }
    if (kill_at && std::chrono::steady_clock::now() > *kill_at) return fail(ErrorCode::cancelled, "cancelled");
    pollfd poller{output.get(), POLLIN, 0};
    if (::poll(&poller, 1, 50) <= 0) continue;
    const std::size_t got = TRY(read_some(output, buffer));
    if (got == 0) return outcome;
    pending.append(reinterpret_cast<const char*>(buffer.data()), got);
    TRY(take_lines(pending, progress, outcome));
  }
}

/// `input` is what it finds on its standard input: secrets go there, never into its arguments.
Result<HelperResult> run_helper(const std::vector<std::string>& arguments, const std::string& input,
                                ProgressSink& progress, const CancelToken& cancel) {
  SpawnRequest request;
  const std::string program = TRY(executable_directory()) + "/dray-registry";
  request.argv = {program};
  request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
  FileDescriptor given;
  if (!input.empty()) {
    given = FileDescriptor(::memfd_create("dray-registry", MFD_CLOEXEC));
    if (!given.valid()) return fail_errno("memfd_create");
    TRY(write_all(given, input));
    if (::lseek(given.get(), 0, SEEK_SET) < 0) return fail_errno("memfd");
    request.stdin_fd = given;
  }
  Pipe output = TRY(make_pipe());
  request.stdout_fd = output.write_end;
  auto spawned = ChildProcess::spawn(request);
  if (!spawned) {  // not_found would read as "no such image" to callers
    return Failure(
        std::move(spawned).error().with_code(ErrorCode::internal).with_hint("it belongs beside the program dray"));
  }
  ChildProcess child = *std::move(spawned);
  output.write_end.reset();

  Outcome outcome = TRY(relay(child, output.read_end, progress, cancel));
  const ExitStatus status = TRY(child.wait());
  if (outcome.error) return Failure(*std::move(outcome.error));
  if (outcome.result) return *std::move(outcome.result);
  TRY(cancel.check());
  return fail(ErrorCode::internal, "the helper \"" + program + "\" ended without a result (status " +
                                       std::to_string(status.exit_code()) + ")");
}

void add_registry_flags(std::vector<std::string>& arguments, const Configuration& configuration) {
  for (const std::string& insecure : configuration.insecure_registries)
    arguments.insert(arguments.end(), {"--insecure-registry", insecure});
  for (const auto& [registry, url] : configuration.registry_mirrors)
    arguments.insert(arguments.end(), {"--mirror", registry + "=" + url});
}

/// Appends "key value" to what dray-registry reads.
Result<void> add_line(std::string& lines, const char* key, const std::string& value) {
  if (value.empty()) return {};
  for (const char c : value)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f')
      return fail(ErrorCode::invalid_argument, std::string("a control character in the ") + key + " of a download");
  lines += std::string(key) + " " + value + "\n";
  return {};
}

}  // namespace

Result<builder::HttpAnswer> fetch_file(const builder::HttpRequest& request, ProgressSink& progress,
                                       const CancelToken& cancel) {
  std::string lines;
  TRY(add_line(lines, "url", request.url));
  TRY(add_line(lines, "authorization", request.authorization));
  TRY(add_line(lines, "etag", request.etag));
  TRY(add_line(lines, "last-modified", request.last_modified));
  HelperResult result = TRY(run_helper({"fetch", "--output", request.file}, lines, progress, cancel));
  builder::HttpAnswer answer;
  answer.not_modified = result.up_to_date;
  answer.etag = std::move(result.etag);
  answer.last_modified = std::move(result.last_modified);
  answer.size = result.size;
  if (!answer.not_modified) answer.digest = TRY(Digest::parse(result.digest));
  return answer;
}

Result<HelperResult> run_registry_helper(const Context& context, const std::string& command, const Reference& reference,
                                         const std::vector<std::string>& arguments, ProgressSink& progress,
                                         const CancelToken& cancel) {
  std::vector<std::string> words = {command, "--root", context.configuration.root};
  words.insert(words.end(), arguments.begin(), arguments.end());
  add_registry_flags(words, context.configuration);
  words.push_back(reference.canonical());
  return run_helper(words, "", progress, cancel);
}

Result<HelperResult> run_registry_helper(const Context& context, std::vector<std::string> words, ProgressSink& progress,
                                         const CancelToken& cancel) {
  words.insert(words.end(), {"--root", context.configuration.root});
  add_registry_flags(words, context.configuration);
  return run_helper(words, "", progress, cancel);
}

Result<void> push_document(const Context& context, const image::Descriptor& document, const Reference& reference,
                           bool insecure, ProgressSink& progress, const CancelToken& cancel) {
  std::vector<std::string> arguments = {"--digest", document.digest.to_string(),  "--media-type", document.media_type,
                                        "--size",   std::to_string(document.size)};
  if (insecure) arguments.insert(arguments.end(), {"--insecure-registry", reference.domain()});
  TRY(run_registry_helper(context, "push-document", reference, arguments, progress, cancel));
  return {};
}

Result<PullSummary> pull_image(Context& context, const std::string& name, const image::Platform& platform,
                               ProgressSink& progress, const CancelToken& cancel, PullExtent extent) {
  const Reference reference = TRY(Reference::parse(name));
  std::vector<std::string> arguments = {"--platform", platform.to_string()};
  if (extent == PullExtent::all_platforms) arguments.push_back("--all");
  HelperResult result = TRY(run_registry_helper(context, "pull", reference, arguments, progress, cancel));
  PullSummary summary;
  summary.digest = TRY(Digest::parse(result.digest));
  summary.image_id = TRY(Digest::parse(result.image_id));
  summary.reference = std::move(result.reference);
  summary.up_to_date = result.up_to_date;
  return summary;
}

Result<LoginSummary> login(const Configuration& configuration, const LoginRequest& request, ProgressSink& progress,
                           const CancelToken& cancel) {
  // Neither part can hold a NUL: both come from a command line, a terminal or a text.
  const std::string input = request.username.empty() ? "" : request.username + '\0' + request.password;
  std::vector<std::string> arguments = {"login", request.registry};
  add_registry_flags(arguments, configuration);
  HelperResult result = TRY(run_helper(arguments, input, progress, cancel));
  return LoginSummary{std::move(result.config_path), std::move(result.username)};
}

Result<bool> logout(const Configuration&, const std::string& registry, ProgressSink& progress,
                    const CancelToken& cancel) {
  const HelperResult result = TRY(run_helper({"logout", registry}, "", progress, cancel));
  return result.was_logged_in;
}

}  // namespace dray::engine
