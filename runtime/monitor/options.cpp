// SPDX-License-Identifier: Apache-2.0
// Parsing of dray-monitor's command line; written by become_monitor.cpp alone.

#include "options.hpp"

#include <string.h>
#include <unistd.h>

namespace dray::monitor {
namespace {

bool parse_number(const char* text, int& out) {
  if (*text == '\0') return false;
  long value = 0;
  for (; *text != '\0'; ++text) {
    if (*text < '0' || *text > '9') return false;
    value = value * 10 + (*text - '0');
    if (value > 0x7fffffff) return false;
  }
  out = static_cast<int>(value);
  return true;
}

}  // namespace

bool parse_options(int argc, char** argv, Options& options) {
  struct Number {
    const char* name;
    int* target;
  };
  int stdin_once = 0, exit_durable = 0, client_cleans = 0, kept = 0;
  const Number numbers[] = {
      {"pid", &options.pid},
      {"pidfd", &options.pidfd},
      {"console", &options.console},
      {"in", &options.in},
      {"out", &options.out},
      {"err", &options.err},
      {"lock", &options.lock},
      {"client", &options.client},
      {"listener", &options.listener},
      {"log", &options.log},
      {"oom", &options.oom},
      {"state", &options.state_directory},
      {"stdin_once", &stdin_once},
      {"keep", &kept},
      {"exit_durable", &exit_durable},
      {"client_cleans", &client_cleans},
      {"restart", &options.restart.policy},
      {"restart_max", &options.restart.max},
      {"restart_count", &options.restart.count},
      {"restart_delay", &options.restart.delay_ms},
  };
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0; ++i) {
    const char* equals = strchr(argv[i], '=');
    if (equals == nullptr) return false;
    auto length = static_cast<size_t>(equals - argv[i]);
    if (length == 4 && memcmp(argv[i], "exit", 4) == 0) {
      options.exit_path = equals + 1;
      continue;
    }
    if (length == 9 && memcmp(argv[i], "stop_mark", 9) == 0) {
      options.stop_mark = equals + 1;
      continue;
    }
    bool known = false;
    for (const Number& number : numbers)
      if (strlen(number.name) == length && memcmp(argv[i], number.name, length) == 0)
        known = parse_number(equals + 1, *number.target);
    if (!known) return false;
  }
  options.stdin_once = stdin_once != 0;
  options.exit_durable = exit_durable != 0;
  options.client_cleans = client_cleans != 0;
  if (i + 1 < argc) options.cleanup_argv = argv + i + 1;
  for (int j = i + 1; j + 1 < argc && options.restart_argv == nullptr; ++j) {
    if (strcmp(argv[j], "--") != 0) continue;
    argv[j] = nullptr;
    options.restart_argv = argv + j + 1;
  }
  if (options.restart_argv == nullptr || options.stop_mark == nullptr) options.restart.policy = RestartRule::never;
  return options.pid > 0 && options.pidfd >= 0;
}

void close_kept(int argc, char** argv) {
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; ++i) {
    int fd = -1;
    if (strncmp(argv[i], "keep=", 5) == 0 && parse_number(argv[i] + 5, fd)) close(fd);
  }
}

}  // namespace dray::monitor
