// SPDX-License-Identifier: Apache-2.0
// dray-registry: the registry client as a program of its own, so that `dray` need not load libcurl. It is
// started by dray's engine (src/engine/registry_process.cpp), writes the lines of helper_protocol.hpp to its
// standard output, and stops on SIGTERM, SIGINT, the death of its parent, or a reader that has gone away.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <mutex>

#include <dray/core/fd.hpp>
#include <dray/registry/client.hpp>
#include <dray/registry/helper_protocol.hpp>
#include <dray/registry/login.hpp>
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
  std::string command, root, platform, operand, output;
  registry::Options options;
};

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
      arguments.operand = words[i];
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
  const bool transfers = arguments.command == "pull" || arguments.command == "push";
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

Result<std::string> run(int argc, char** argv, LineSink& sink) {
  const Arguments arguments = TRY(parse_arguments(argc, argv));
  if (arguments.command == "fetch") return fetch(arguments, sink);
  if (arguments.command == "login") return log_in(arguments, sink);
  if (arguments.command == "logout") {
    const bool known = TRY(registry::logout(arguments.operand, arguments.options, cancel_token));
    return registry::encode_logout(known);
  }
  const Reference reference = TRY(Reference::parse(arguments.operand));
  const auto store = TRY(store::Store::open(arguments.root));
  if (arguments.command == "push") {
    const image::Descriptor pushed = TRY(registry::push(*store, reference, arguments.options, sink, cancel_token));
    return registry::encode_result(pushed);
  }
  const image::Platform platform =
      arguments.platform.empty() ? image::Platform::host() : TRY(image::Platform::parse(arguments.platform));
  const registry::PullResult pulled =
      TRY(registry::pull(*store, reference, platform, arguments.options, sink, cancel_token));
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
