// SPDX-License-Identifier: Apache-2.0
// Helpers are programs of the host: their name is checked against a character set before it becomes part of a program
// name, what they get goes to their stdin (never the command line), their answer is bounded in size and time.
#include "credential_helper.hpp"

#include <poll.h>

#include <dray/core/process.hpp>

namespace dray::registry {
namespace {

constexpr std::size_t kMaxHelperOutput = 1u << 20;
constexpr std::size_t kMaxHelperInput = 32u << 10;  // fits a pipe
constexpr auto kHelperTimeout = std::chrono::seconds(30);
constexpr std::string_view kTokenUser = "<token>";  // an identity token in the place of a password

bool is_helper_name(std::string_view name) {
  if (name.empty() || name.size() > 64) return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

using TimePoint = std::chrono::steady_clock::time_point;

/// Until `fd` can be read, or is at its end.
Result<void> wait_for(FdRef fd, TimePoint end, const Stop& stop) {
  for (;;) {
    if (stop.requested()) return Failure(Stop::error());
    if (std::chrono::steady_clock::now() > end)
      return fail(ErrorCode::unavailable, "it did not answer within 30 seconds");
    pollfd poller{fd.get(), POLLIN, 0};
    if (poll(&poller, 1, 100) > 0) return {};
  }
}

Result<std::string> read_output(FdRef output, TimePoint end, const Stop& stop) {
  std::string text;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    TRY(wait_for(output, end, stop));
    const std::size_t got = TRY(read_some(output, buffer));
    if (got == 0) return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), got);
    if (text.size() > kMaxHelperOutput) return fail(ErrorCode::corrupt, "it wrote more than 1 MiB");
  }
}

struct Answer {
  int status = 0;
  std::string output;
};

Result<Answer> call(const std::string& name, const char* action, const std::string& given, const Stop& stop) {
  if (!is_helper_name(name)) return fail(ErrorCode::invalid_argument, "not a valid name of a credential helper");
  if (given.size() > kMaxHelperInput) return fail(ErrorCode::invalid_argument, "the credentials are too long");
  Pipe input = TRY(make_pipe());
  Pipe output = TRY(make_pipe());
  // Written before the helper starts: it fits the pipe, and a helper that never reads cannot raise SIGPIPE here.
  TRY(write_all(input.write_end, given));
  input.write_end.reset();
  SpawnRequest request;
  request.argv = {"docker-credential-" + name, action};
  request.stdin_fd = input.read_end;
  request.stdout_fd = output.write_end;
  ChildProcess child = TRY(ChildProcess::spawn(request));
  output.write_end.reset();
  const TimePoint end = std::chrono::steady_clock::now() + kHelperTimeout;
  auto text = TRY(read_output(output.read_end, end, stop));  // `child` is killed where this fails
  TRY(wait_for(child.pidfd(), end, stop));                   // it may close its output and stay
  const ExitStatus status = TRY(child.wait());
  return Answer{status.exit_code(), std::move(text)};
}

bool means_nothing_known(const Answer& answer) {
  return answer.status != 0 && answer.output.find("credentials not found") != std::string::npos;
}

Failure failed(const Answer& answer) {
  return fail(ErrorCode::command_failed, "it ended with status " + std::to_string(answer.status));
}

}  // namespace

Result<Credentials> get_from_helper(const std::string& name, const std::string& server, const Stop& stop) {
  const Answer answer = TRY(call(name, "get", server + "\n", stop));
  if (means_nothing_known(answer)) return Credentials{};
  if (answer.status != 0) return failed(answer);
  HelperEntry entry = TRY(parse_helper_entry(answer.output));
  Credentials credentials;
  if (entry.username == kTokenUser) {
    credentials.identity_token = std::move(entry.secret);
  } else {
    credentials.username = std::move(entry.username);
    credentials.password = std::move(entry.secret);
  }
  return credentials;
}

Result<void> store_in_helper(const std::string& name, const std::string& server, const Credentials& credentials,
                             const Stop& stop) {
  HelperEntry entry{credentials.username, credentials.password};
  if (!credentials.identity_token.empty()) entry = {std::string(kTokenUser), credentials.identity_token};
  const Answer answer = TRY(call(name, "store", encode_helper_entry(server, entry), stop));
  if (answer.status != 0) return failed(answer);
  return {};
}

Result<void> erase_from_helper(const std::string& name, const std::string& server, const Stop& stop) {
  const Answer answer = TRY(call(name, "erase", server + "\n", stop));
  if (answer.status != 0 && !means_nothing_known(answer)) return failed(answer);
  return {};
}

}  // namespace dray::registry
