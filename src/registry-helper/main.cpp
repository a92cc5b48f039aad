// SPDX-License-Identifier: Apache-2.0
// dray-registry: the registry client as a program of its own, so that `dray` need not load libcurl. It is
// started by dray's engine (src/engine/registry_process.cpp), writes the lines of helper_protocol.hpp to its
// standard output, and stops on SIGTERM, SIGINT, the death of its parent, or a reader that has gone away.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <mutex>

#include <dray/core/fd.hpp>
#include <dray/registry/client.hpp>
#include <dray/registry/helper_protocol.hpp>
#include <dray/registry/login.hpp>
#include <dray/registry/remote.hpp>
#include <dray/store/store.hpp>

namespace {

using namespace dray;

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
  std::string command, root, platform, media_type, file;
  std::vector<std::string> operands;
  bool all = false, referrers = false;
  registry::Options options;

  Result<Reference> reference() const { return Reference::parse(operands[0]); }
  Result<image::Platform> wanted_platform() const {
    return platform.empty() ? image::Platform::host() : image::Platform::parse(platform);
  }
};

/// command -> how many operands it takes.
const std::map<std::string, std::size_t> kCommands = {
    {"pull", 1},   {"push", 1},  {"tags", 1},   {"catalog", 1}, {"remove", 1},      {"manifest", 1},
    {"config", 1}, {"login", 1}, {"logout", 1}, {"copy", 2},    {"put-manifest", 1}};

Result<Arguments> parse_arguments(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || !kCommands.contains(words[0])) {
    std::string known;
    for (const auto& [name, operands] : kCommands) known += (known.empty() ? "" : "|") + name;
    return fail(ErrorCode::invalid_argument, "usage: dray-registry " + known + " --root DIR [FLAG…] OPERAND…");
  }
  arguments.command = words[0];
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) {
      arguments.operands.push_back(words[i]);
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
    } else if (words[i] == "--media-type") {
      arguments.media_type = value;
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
  if (arguments.operands.size() != kCommands.at(arguments.command))
    return fail(ErrorCode::invalid_argument, arguments.command + ": wrong number of operands");
  if (arguments.root.empty()) return fail(ErrorCode::invalid_argument, "missing --root");
  return arguments;
}

/// What changes or fills the store.
Result<std::string> run_transfer(const Arguments& arguments, LineSink& sink) {
  const auto store = TRY(store::Store::open(arguments.root));
  if (arguments.command == "copy") {
    registry::CopyOptions what{arguments.all, arguments.referrers, TRY(arguments.wanted_platform())};
    const Digest digest = TRY(registry::copy(*store, arguments.operands[0], arguments.operands[1], what,
                                             arguments.options, sink, cancel_token));
    return registry::encode_text("", "", digest.to_string());
  }
  const Reference reference = TRY(arguments.reference());
  if (arguments.command == "push") {
    const image::Descriptor pushed = TRY(registry::push(*store, reference, arguments.options, sink, cancel_token));
    return registry::encode_result(pushed);
  }
  const registry::PullResult pulled =
      TRY(registry::pull(*store, reference, TRY(arguments.wanted_platform()), arguments.options, sink, cancel_token));
  return registry::encode_result(reference, pulled);
}

constexpr std::size_t kMaxSecret = 16u << 10;

Result<std::string> log_in(const Arguments& arguments, LineSink& sink) {
  registry::LoginRequest request;
  request.registry = arguments.operands[0];
  const std::string given = TRY(read_all(FdRef(STDIN_FILENO), kMaxSecret));
  const std::size_t end = std::min(given.find('\0'), given.size());
  request.username = given.substr(0, end);
  request.password = given.substr(std::min(end + 1, given.size()));
  const registry::LoginResult result = TRY(registry::login(request, arguments.options, sink, cancel_token));
  return registry::encode_result(result);
}

Result<std::string> run(int argc, char** argv, LineSink& sink) {
  const Arguments arguments = TRY(parse_arguments(argc, argv));
  const std::string& command = arguments.command;
  const registry::Options& options = arguments.options;
  if (command == "pull" || command == "push" || command == "copy") return run_transfer(arguments, sink);
  if (command == "login") return log_in(arguments, sink);
  if (command == "logout")
    return registry::encode_logout(TRY(registry::logout(arguments.operands[0], options, cancel_token)));
  if (command == "catalog")
    return registry::encode_names(TRY(registry::list_repositories(arguments.operands[0], options, sink, cancel_token)));
  const Reference reference = TRY(arguments.reference());
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
