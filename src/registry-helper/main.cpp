// SPDX-License-Identifier: Apache-2.0
// dray-registry: the registry client as a program of its own, so that `dray` need not load libcurl. It is
// started by dray's engine (src/engine/registry_process.cpp), writes the lines of helper_protocol.hpp to its
// standard output, and stops on SIGTERM, SIGINT, the death of its parent, or a reader that has gone away.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <mutex>

#include <dray/core/fd.hpp>
#include <dray/registry/client.hpp>
#include <dray/registry/helper_protocol.hpp>
#include <dray/registry/login.hpp>
#include <dray/registry/remote.hpp>
#include <dray/store/store.hpp>

namespace {

using namespace dray;

constexpr std::size_t kMaxRequest = 1u << 20;

CancelToken cancel_token;

void on_signal(int number) {
  // A second Ctrl-C means it. SIGTERM does not count: our parent sends it when it sees the first Ctrl-C,
  // before or after that reaches us, and an end right here would leave the pull's unfinished files behind.
  static volatile sig_atomic_t interrupts = 0;
  if (number == SIGINT) {
    if (interrupts > 0) _exit(128 + SIGINT);
    interrupts = 1;
  }
  cancel_token.cancel();
}

class LineSink : public ProgressSink {
 public:
  void report(const ProgressEvent& event) override { write(registry::encode_event(event)); }
  void write(std::string line) {
    line += '\n';
    const std::lock_guard lock(mutex_);
    if (!write_all(FdRef(STDOUT_FILENO), line)) cancel_token.cancel();  // nobody is there to want the result
  }

 private:
  std::mutex mutex_;
};

struct Arguments {
  std::string command, root, platform, operand, second_operand, output, file;
  std::string limit;
  std::string digest, media_type, size, diff_id;  ///< of a document or layer, for the commands that name one
  bool all = false, referrers = false;
  registry::Options options;

  Result<image::Platform> wanted_platform() const {
    return platform.empty() ? image::Platform::host() : image::Platform::parse(platform);
  }
};

/// Those that ask or change a registry, or copy; they take --root like pull.
constexpr std::array<std::string_view, 8> kRemoteCommands = {"tags",     "catalog", "search", "remove",
                                                             "manifest", "config",  "copy",   "put-manifest"};

Result<Arguments> parse_arguments(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty())
    return fail(ErrorCode::invalid_argument,
                "usage: dray-registry pull|push --root DIR [--platform P] REFERENCE | fetch --output FILE\n"
                "       dray-registry login|logout REGISTRY (username NUL password on standard input)");
  arguments.command = words[0];
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) {
      (arguments.operand.empty() ? arguments.operand : arguments.second_operand) = words[i];
      continue;
    }
    if (words[i] == "--all" || words[i] == "--referrers") {
      (words[i] == "--all" ? arguments.all : arguments.referrers) = true;
      continue;
    }
    if (i + 1 == words.size()) return fail(ErrorCode::invalid_argument, "missing value of " + words[i]);
    const std::string& value = words[i + 1];
    if (words[i] == "--root") {
      arguments.root = value;
    } else if (words[i] == "--platform") {
      arguments.platform = value;
    } else if (words[i] == "--output") {
      arguments.output = value;
    } else if (words[i] == "--limit") {
      arguments.limit = value;
    } else if (words[i] == "--digest") {
      arguments.digest = value;
    } else if (words[i] == "--media-type") {
      arguments.media_type = value;
    } else if (words[i] == "--size") {
      arguments.size = value;
    } else if (words[i] == "--diff-id") {
      arguments.diff_id = value;
    } else if (words[i] == "--file") {
      arguments.file = value;
    } else if (words[i] == "--mirror") {
      const std::size_t equals = std::min(value.find('='), value.size());
      arguments.options.mirrors.push_back({value.substr(0, equals), value.substr(std::min(equals + 1, value.size()))});
    } else if (words[i] == "--insecure-registry") {
      arguments.options.insecure_registries.push_back(value);
    } else {
      return fail(ErrorCode::invalid_argument, "unknown flag: " + words[i]);
    }
    ++i;
  }
  if (arguments.command == "fetch") {
    if (arguments.output.empty()) return fail(ErrorCode::invalid_argument, "missing --output");
    return arguments;
  }
  const std::string& command = arguments.command;
  const bool transfers = command == "pull" || command == "push" || command == "push-document" ||
                         command == "fetch-document" || command == "fetch-layer" ||
                         std::ranges::find(kRemoteCommands, command) != kRemoteCommands.end();
  if (!transfers && arguments.command != "login" && arguments.command != "logout")
    return fail(ErrorCode::invalid_argument, "unknown command: " + arguments.command);
  if (transfers && arguments.root.empty()) return fail(ErrorCode::invalid_argument, "missing --root");
  return arguments;
}

constexpr std::size_t kMaxSecret = 16u << 10;

Result<std::string> log_in(const Arguments& arguments, LineSink& sink) {
  registry::LoginRequest request;
  request.registry = arguments.operand;
  const std::string given = TRY(read_all(FdRef(STDIN_FILENO), kMaxSecret));
  const std::size_t end = std::min(given.find('\0'), given.size());
  request.username = given.substr(0, end);
  request.password = given.substr(std::min(end + 1, given.size()));
  const registry::LoginResult result = TRY(registry::login(request, arguments.options, sink, cancel_token));
  return registry::encode_result(result);
}

/// What to fetch, from standard input: see helper_protocol.hpp.
Result<std::string> fetch(const Arguments& arguments, LineSink& sink) {
  const std::string text = TRY(read_all(FdRef(STDIN_FILENO), kMaxRequest));
  registry::DownloadRequest request;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t blank = std::min(line.find(' '), line.size());
    const std::string key = line.substr(0, blank), value = line.substr(std::min(blank + 1, line.size()));
    if (key == "url")
      request.url = value;
    else if (key == "authorization")
      request.authorization = value;
    else if (key == "etag")
      request.etag = value;
    else if (key == "last-modified")
      request.last_modified = value;
    else
      return fail(ErrorCode::invalid_argument, "unknown line \"" + key + "\"");
  }
  const FileDescriptor file = TRY(open_file(arguments.output, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  request.file = file;
  const registry::Download result = TRY(registry::download(request, sink, cancel_token));
  return registry::encode_result(result);
}

Result<std::uint64_t> parse_number(const char* flag, const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    return fail(ErrorCode::invalid_argument, std::string(flag) + " is no number");
  return number;
}

Result<image::Descriptor> descriptor_of(const Arguments& arguments) {
  image::Descriptor descriptor;
  descriptor.digest = TRY(Digest::parse(arguments.digest));
  descriptor.media_type = arguments.media_type;
  descriptor.size = TRY(parse_number("--size", arguments.size));
  return descriptor;
}

/// What needs no store.
Result<std::string> ask_registry(const Arguments& arguments, LineSink& sink) {
  const std::string& command = arguments.command;
  const registry::Options& options = arguments.options;
  if (command == "catalog")
    return registry::encode_names(TRY(registry::list_repositories(arguments.operand, options, sink, cancel_token)));
  if (command == "search") {
    const std::uint64_t limit = TRY(parse_number("--limit", arguments.limit));
    return registry::encode_found(TRY(registry::search(arguments.operand, limit, options, sink, cancel_token)));
  }
  const Reference reference = TRY(Reference::parse(arguments.operand));
  if (command == "tags")
    return registry::encode_names(TRY(registry::list_tags(reference, options, sink, cancel_token)));
  if (command == "remove")
    return registry::encode_text(TRY(registry::remove_manifest(reference, options, sink, cancel_token)), "", "");
  if (command == "config")
    return registry::encode_text(
        TRY(registry::get_config(reference, TRY(arguments.wanted_platform()), options, sink, cancel_token)), "", "");
  if (command == "put-manifest") {
    registry::RemoteDocument document;
    document.bytes = TRY(read_file(arguments.file, image::kMaxManifestSize));
    document.media_type = arguments.media_type;
    document.digest = Digest::of(document.bytes);
    const Digest put = TRY(registry::put_manifest(reference, document, options, sink, cancel_token));
    return registry::encode_text("", "", put.to_string());
  }
  const registry::RemoteDocument document = TRY(registry::get_manifest(reference, options, sink, cancel_token));
  return registry::encode_text(document.bytes, document.media_type, document.digest.to_string());
}

Result<std::string> copy(const Arguments& arguments, LineSink& sink) {
  const auto store = TRY(store::Store::open(arguments.root));
  const registry::CopyOptions what{arguments.all, arguments.referrers, TRY(arguments.wanted_platform())};
  const Digest digest = TRY(
      registry::copy(*store, arguments.operand, arguments.second_operand, what, arguments.options, sink, cancel_token));
  return registry::encode_text("", "", digest.to_string());
}

Result<std::string> run(int argc, char** argv, LineSink& sink) {
  const Arguments arguments = TRY(parse_arguments(argc, argv));
  if (arguments.command == "fetch") return fetch(arguments, sink);
  if (arguments.command == "login") return log_in(arguments, sink);
  if (arguments.command == "logout") {
    const bool known = TRY(registry::logout(arguments.operand, arguments.options, cancel_token));
    return registry::encode_logout(known);
  }
  if (arguments.command == "copy") return copy(arguments, sink);
  if (std::ranges::find(kRemoteCommands, arguments.command) != kRemoteCommands.end())
    return ask_registry(arguments, sink);
  const Reference reference = TRY(Reference::parse(arguments.operand));
  const auto store = TRY(store::Store::open(arguments.root));
  if (arguments.command == "push") {
    const image::Descriptor pushed = TRY(registry::push(*store, reference, arguments.options, sink, cancel_token));
    return registry::encode_result(pushed);
  }
  if (arguments.command == "fetch-document")
    return registry::encode_result(
        TRY(registry::fetch_to_store(*store, reference, arguments.options, sink, cancel_token)));
  if (arguments.command == "push-document" || arguments.command == "fetch-layer") {
    const image::Descriptor named = TRY(descriptor_of(arguments));
    if (arguments.command == "push-document") {
      TRY(registry::push_document(*store, named, reference, arguments.options, sink, cancel_token));
    } else {
      const DiffId diff_id{TRY(Digest::parse(arguments.diff_id))};
      TRY(registry::fetch_layer_to_store(*store, reference, named, diff_id, arguments.options, sink, cancel_token));
    }
    return registry::encode_result(named);
  }
  const registry::PullOptions what{TRY(arguments.wanted_platform()), arguments.all};
  const registry::PullResult pulled =
      TRY(registry::pull(*store, reference, what, arguments.options, sink, cancel_token));
  return registry::encode_result(reference, pulled);
}

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  struct sigaction action{};
  action.sa_handler = on_signal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  LineSink sink;
  auto result = run(argc, argv, sink);
  sink.write(result ? *result : registry::encode_error(result.error()));
  return result ? 0 : 1;
}
