// SPDX-License-Identifier: Apache-2.0
// login, logout: what Docker's users know, in Docker's files.
#include <poll.h>
#include <unistd.h>

#include <dray/engine/images.hpp>
#include <dray/flags/flags.hpp>

#include "../command.hpp"
#include "../progress.hpp"
#include "../terminal.hpp"

namespace dray::cli {
namespace {

constexpr std::size_t kMaxSecret = 8u << 10;

/// One line of the terminal, after a prompt.
Result<std::string> ask(const std::string& prompt, Echo echo, const CancelToken& cancel) {
  print_error(prompt);
  const EchoMode mode(0, echo);
  std::string line;
  for (;;) {
    TRY(cancel.check());
    pollfd poller{0, POLLIN, 0};
    if (::poll(&poller, 1, 50) <= 0) continue;
    char c = 0;
    const ssize_t got = ::read(0, &c, 1);
    if (got <= 0 || c == '\n') break;
    if (line.size() < kMaxSecret) line += c;
  }
  if (echo == Echo::off) print_error("\n");
  return line;
}

std::string without_line_end(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

std::string server_of(const std::vector<std::string>& operands) { return operands.empty() ? "docker.io" : operands[0]; }

struct LoginFlags {
  std::string username;
  std::optional<std::string> password;
  bool password_stdin = false;
};

Result<void> check(const LoginFlags& flags) {
  if (flags.password && flags.password_stdin)
    return fail(ErrorCode::invalid_argument, "--password and --password-stdin are mutually exclusive");
  if (flags.password_stdin && flags.username.empty())
    return fail(ErrorCode::invalid_argument, "must provide --username with --password-stdin");
  return {};
}

/// Fills in what the flags leave open.
Result<void> ask_for_credentials(engine::LoginRequest& request, const CancelToken& cancel) {
  if (!is_terminal(0))
    return Failure(Error(ErrorCode::invalid_argument, "cannot perform an interactive login from a non-terminal")
                       .with_hint("give --username and --password-stdin"));
  if (request.username.empty()) request.username = TRY(ask("Username: ", Echo::on, cancel));
  if (request.username.empty()) return fail(ErrorCode::invalid_argument, "username is required");
  if (request.password.empty()) request.password = TRY(ask("Password: ", Echo::off, cancel));
  if (request.password.empty()) return fail(ErrorCode::invalid_argument, "password is required");
  return {};
}

Result<int> login(Invocation& invocation) {
  LoginFlags given;
  std::vector<std::string> operands;
  Flags flags("dray login", "[OPTIONS] [SERVER]",
              "Authenticate to a registry. Without SERVER, Docker Hub. What the registry accepts is kept in\n"
              "$DOCKER_CONFIG/config.json (~/.docker), or by the credential helper that file names.");
  flags.option("-p,--password", given.password,
               "Password (visible to other users of this host: prefer --password-stdin)");
  flags.flag("--password-stdin", given.password_stdin, "Take the password from stdin");
  flags.option("-u,--username", given.username, "Username");
  flags.operands(operands, 0, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  TRY(check(given));
  CancelToken& cancel = install_cancel_handlers();
  const engine::Configuration configuration = TRY(read_configuration(invocation));
  engine::LoginRequest request;
  request.registry = server_of(operands);
  request.username = given.username;
  request.password = given.password.value_or("");
  if (given.password) print_error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
  if (given.password_stdin) {
    request.password = without_line_end(TRY_CTX(read_all(FdRef(0), kMaxSecret), "reading the password from stdin"));
    if (request.password.empty()) return fail(ErrorCode::invalid_argument, "password is empty");
  }
  const auto progress = make_plain_progress();
  if (given.username.empty() && !given.password) {
    auto known = engine::login(configuration, request, *progress, cancel);
    if (known) {
      print("Authenticated with existing credentials.\nLogin Succeeded\n");
      return 0;
    }
    const ErrorCode code = known.error().code();
    if (code != ErrorCode::not_found && code != ErrorCode::permission_denied) return Failure(std::move(known).error());
  }
  if (request.username.empty() || request.password.empty()) TRY(ask_for_credentials(request, cancel));
  const engine::LoginSummary done = TRY(engine::login(configuration, request, *progress, cancel));
  if (!done.config_path.empty())
    print_error("\nWARNING! Your credentials are stored unencrypted in '" + printable(done.config_path) +
                "'.\nConfigure a credential helper to remove this warning.\n\n");
  print("Login Succeeded\n");
  return 0;
}

Result<int> logout(Invocation& invocation) {
  std::vector<std::string> operands;
  Flags flags("dray logout", "[SERVER]", "Log out from a registry. Without SERVER, from Docker Hub.");
  flags.operands(operands, 0, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const engine::Configuration configuration = TRY(read_configuration(invocation));
  const auto progress = make_no_progress();
  const std::string server = server_of(operands);
  const bool known = TRY(engine::logout(configuration, server, *progress, install_cancel_handlers()));
  print((known ? "Removing login credentials for " : "Not logged in to ") + printable(server) + "\n");
  return 0;
}

}  // namespace

int command_login(Invocation& invocation) { return finish(login(invocation)); }
int command_logout(Invocation& invocation) { return finish(logout(invocation)); }

}  // namespace dray::cli
