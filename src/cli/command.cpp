// SPDX-License-Identifier: Apache-2.0
// What all commands share: the engine's context, errors on stderr, cancellation.
#include "command.hpp"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace dray::cli {
namespace {

CancelToken cancel_token;

void on_cancel(int signal_number) {
  if (cancel_token.cancelled()) ::_exit(128 + signal_number);
  cancel_token.cancel();
}

}  // namespace

CancelToken& install_cancel_handlers() {
  struct sigaction action{};
  action.sa_handler = on_cancel;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGHUP, &action, nullptr);
  return cancel_token;
}

std::string printable(std::string_view text) {
  std::string result;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      result += escaped;
    } else {
      result += c;
    }
  }
  return result;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    // A closed pipe (dray ps | head) ends quietly, as SIGPIPE would; anything else is lost output.
    if (errno != EPIPE) std::perror("dray: writing to standard output");
    ::_exit(1);
  }
}

void print_error(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

int report(const Error& error, Kind kind) {
  std::fflush(stdout);
  std::string text = "dray: ";
  if (!error.location().empty()) text += error.location() + ": ";
  text += error.message() + "\n";
  if (!error.hint().empty()) text += error.hint() + "\n";
  print_error(printable(text));
  if (error.code() == ErrorCode::cancelled) return 130;
  if (kind == Kind::plain)
    return error.code() == ErrorCode::invalid_argument && error.hint().starts_with("See '") ? 125 : 1;
  switch (error.code()) {
    case ErrorCode::command_not_found:
      return 127;
    case ErrorCode::not_executable:
      return 126;
    default:
      return 125;
  }
}

int finish(const Result<int>& result, Kind kind) { return result ? *result : report(result.error(), kind); }

Result<bool> parse_filter_flag(const std::string& key, const std::string& value) {
  if (value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  return fail(ErrorCode::invalid_argument, "invalid filter '" + key + "=" + value + "': true or false");
}

Result<engine::Configuration> read_configuration(const Invocation& invocation) {
  std::string path = invocation.configuration_path.empty() ? "/etc/dray/daemon.json" : invocation.configuration_path;
  engine::Configuration configuration = TRY(engine::load_configuration(path));
  auto from = [](const std::string& flag, const char* variable, std::string& target) {
    const char* value = std::getenv(variable);
    if (!flag.empty()) {
      target = flag;
    } else if (value != nullptr && *value != '\0') {
      target = value;
    }
  };
  from(invocation.root, "DRAY_ROOT", configuration.root);
  from(invocation.state, "DRAY_STATE", configuration.state);
  std::string driver;
  from(invocation.storage_driver, "DRAY_STORAGE_DRIVER", driver);
  if (!driver.empty()) {
    const char* source = invocation.storage_driver.empty() ? "$DRAY_STORAGE_DRIVER" : "--storage-driver";
    configuration.storage_driver = store::DriverWish(TRY(store::parse_storage_driver(driver)), source);
  }
  return configuration;
}

Result<engine::Context> open_engine(const Invocation& invocation) {
  engine::Context context = TRY(engine::open(TRY(read_configuration(invocation))));
  if (const std::string& reason = context.store->snapshots().fallback_reason(); !reason.empty())
    print_error(printable("dray: warning: overlayfs does not work in \"" + context.configuration.root + "\" (" +
                          reason +
                          "): this new store has storage driver vfs, with which each container and build step is a "
                          "copy of its image's files; --root chooses another folder\n"));
  return context;
}

}  // namespace dray::cli
