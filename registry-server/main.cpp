// SPDX-License-Identifier: Apache-2.0
// dray-registry-server: what `dray registry serve` and `dray registry gc` become (src/cli/commands/registry.cpp), a
// program of its own so that `dray` need not load an HTTP server. usage: dray-registry-server DEFAULT_STORAGE serve|gc
// [OPTIONS]
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>

#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>
#include <dray/flags/flags.hpp>
#include <dray/registry/server.hpp>

namespace {

using namespace dray;

CancelToken cancel_token;

void on_signal(int number) {
  if (cancel_token.cancelled()) _exit(128 + number);  // the second time somebody means it
  cancel_token.cancel();
}

void log_line(const std::string& line) {
  static std::mutex mutex;
  std::string text = format_time_now() + " ";
  for (const char c : line) text += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  text += '\n';
  const std::lock_guard lock(mutex);
  (void)write_all(FdRef(STDERR_FILENO), text);
}

Result<int> serve(const std::string& storage, const std::vector<std::string>& arguments) {
  registry::ServerOptions options;
  options.storage = storage;
  std::vector<std::string> operands;
  Flags flags(
      "dray registry serve", "[OPTIONS]",
      "Serve a registry (OCI distribution-spec 1.1) until Ctrl-C\n\n"
      "docker, podman, skopeo, dray and others push to it and pull from it, for example:\n"
      "  dray registry serve &\n"
      "  dray tag app localhost:5000/app && dray push localhost:5000/app\n\n"
      "Plain http is for loopback. For other machines give a certificate, and users:\n"
      "  htpasswd -B -c users alice\n"
      "  dray registry serve --listen :443 --tls-cert cert.pem --tls-key key.pem --htpasswd users\n\n"
      "A pull-through cache, with the credentials of ~/.docker/config.json:\n"
      "  dray registry serve --listen 127.0.0.1:5001 --storage /var/cache/hub --proxy https://registry-1.docker.io");
  flags.option("--listen", options.listen,
               "Address to listen on: HOST:PORT, [IPv6]:PORT or :PORT (default 127.0.0.1:5000)", "address");
  flags.option("--storage", options.storage, "Folder of the registry's content (default ROOT/registry)", "dir");
  flags.option("--tls-cert", options.tls_certificate, "Certificate chain in PEM: serve https (TLS 1.2 and 1.3)",
               "file");
  flags.option("--tls-key", options.tls_key, "Private key in PEM", "file");
  flags.option("--htpasswd", options.htpasswd,
               "Users with bcrypt hashes (htpasswd -B); without it everybody may do everything", "file");
  flags.option("--proxy", options.proxy, "Be a pull-through cache of this registry; pushes are refused", "url");
  flags.flag("--insecure", options.insecure, "Allow plain http on other addresses than loopback");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(arguments)) == Flags::Outcome::help_shown) return 0;
  TRY(registry::serve(options, cancel_token, log_line));
  return 0;
}

Result<int> collect(std::string storage, const std::vector<std::string>& arguments) {
  std::vector<std::string> operands;
  Flags flags("dray registry gc", "[OPTIONS]",
              "Remove blobs that no manifest has named for an hour, while the registry does not run\n\n"
              "Deleting a manifest leaves its layers: others may share them.");
  flags.option("--storage", storage, "Folder of the registry's content (default ROOT/registry)", "dir");
  flags.operands(operands, 0, 0);
  if (TRY(flags.parse(arguments)) == Flags::Outcome::help_shown) return 0;
  const registry::Garbage garbage = TRY(registry::collect_registry_garbage(storage));
  std::printf("Removed %llu blobs, %llu bytes\n", static_cast<unsigned long long>(garbage.blobs),
              static_cast<unsigned long long>(garbage.bytes));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_DUMPABLE, 0);  // passwords pass through
  ::umask(077);
  ::signal(SIGPIPE, SIG_IGN);
  struct sigaction action{};
  action.sa_handler = on_signal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);

  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 2 || (words[1] != "serve" && words[1] != "gc")) {
    std::fputs("usage: dray registry serve|gc [OPTIONS]\n", stderr);
    return 125;
  }
  const std::vector<std::string> arguments(words.begin() + 2, words.end());
  const auto code = words[1] == "serve" ? serve(words[0], arguments) : collect(words[0], arguments);
  if (code) return *code;
  std::fprintf(stderr, "dray: %s\n", code.error().to_string().c_str());
  return code.error().hint().starts_with("See '") ? 125 : 1;
}
