// SPDX-License-Identifier: Apache-2.0
#include "criu_rpc.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>

#include <dray/core/socket.hpp>

#include "log.hpp"

namespace dray::oci::criu {
namespace {

enum WireType : unsigned { varint = 0, fixed64 = 1, length_delimited = 2, fixed32 = 5 };

constexpr unsigned kMemoryTracking = 1, kLazyPages = 2;  // of criu_features

/// Goes through the fields of a received message.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    unsigned name = 0;
    std::uint64_t number = 0;
    std::string_view text;
  };
  /// nullopt at the end, or where the message is broken.
  std::optional<Field> next() {
    if (rest_.empty() || broken_) return std::nullopt;
    const std::uint64_t tag = read_varint();
    Field field;
    field.name = static_cast<unsigned>(tag >> 3);
    switch (tag & 7) {
      case varint:
        field.number = read_varint();
        break;
      case length_delimited:
        field.text = take(read_varint());
        break;
      case fixed64:
        take(8);
        break;
      case fixed32:
        take(4);
        break;
      default:
        broken_ = true;
    }
    if (broken_) return std::nullopt;
    return field;
  }
  bool broken() const { return broken_; }

 private:
  std::uint64_t read_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::string_view byte = take(1);
      if (byte.empty()) return 0;
      value |= static_cast<std::uint64_t>(byte[0] & 0x7f) << shift;
      if ((byte[0] & 0x80) == 0) return value;
    }
    broken_ = true;
    return 0;
  }
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) {
      broken_ = true;
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
  bool broken_ = false;
};

// criu_restore_resp and criu_notify, which have few fields, all optional.
void read_restored(std::string_view bytes, Response& response) {
  Reader reader(bytes);
  while (auto field = reader.next()) {
    if (field->name == 1) response.pid = static_cast<pid_t>(field->number);
  }
}
void read_notification(std::string_view bytes, Response& response) {
  Reader reader(bytes);
  while (auto field = reader.next()) {
    if (field->name == 1) response.script = field->text;
    if (field->name == 2) response.pid = static_cast<pid_t>(field->number);
  }
}
void read_features(std::string_view bytes, Response& response) {
  Reader reader(bytes);
  while (auto field = reader.next()) {
    if (field->name == kMemoryTracking) response.memory_tracking = field->number != 0;
    if (field->name == kLazyPages) response.lazy_pages = field->number != 0;
  }
}

const char* name_of_type(unsigned type) {
  constexpr const char* kNames[] = {"EMPTY",       "DUMP",   "RESTORE",      "CHECK",         "PRE_DUMP",
                                    "PAGE_SERVER", "NOTIFY", "CPUINFO_DUMP", "CPUINFO_CHECK", "FEATURE_CHECK"};
  return type < std::size(kNames) ? kNames[type] : "UNKNOWN";
}

}  // namespace

void Message::append_varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

void Message::number(unsigned field, std::uint64_t value) {
  append_varint(std::uint64_t{field} << 3 | varint);
  append_varint(value);
}

void Message::text(unsigned field, std::string_view value) {
  append_varint(std::uint64_t{field} << 3 | length_delimited);
  append_varint(value.size());
  bytes_ += value;
}

Result<Response> parse_response(std::string_view bytes) {
  Response response;
  Reader reader(bytes);
  while (auto field = reader.next()) {
    switch (field->name) {
      case 1:
        response.type = static_cast<unsigned>(field->number);
        break;
      case 2:
        response.success = field->number != 0;
        break;
      case 4:
        read_restored(field->text, response);
        break;
      case 5:
        read_notification(field->text, response);
        break;
      case 7:
        response.error_number = static_cast<int>(field->number);
        break;
      case 8:
        read_features(field->text, response);
        break;
      case 9:
        response.error_message = field->text;
        break;
      default:
        break;
    }
  }
  if (reader.broken() || bytes.empty()) return fail(ErrorCode::corrupt, "criu's answer is damaged");
  return response;
}

Result<Session> Session::start(FdRef input, FdRef output, FdRef error) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("making a pair of sockets");
  FileDescriptor ours(ends[0]), theirs(ends[1]);
  if (::fcntl(theirs.get(), F_SETFD, 0) != 0) return fail_errno("preparing a socket for criu");
  SpawnRequest request;
  request.argv = {"criu", "swrk", std::to_string(theirs.get())};
  request.stdin_fd = input;
  request.stdout_fd = output;
  request.stderr_fd = error;
  auto process = ChildProcess::spawn(request);
  if (!process && process.error().error_number() == ENOENT)
    return fail(ErrorCode::unavailable,
                "the program criu, which saves and restores processes, is not installed: install the package criu");
  ChildProcess child = TRY(std::move(process));
  return Session(std::move(child), std::move(ours));
}

// Where it was not asked to the end it cleans up what it has half restored, if it gets the time.
Session::~Session() {
  socket_.reset();
  if (process_.pid() <= 0) return;
  struct pollfd waiting{process_.pidfd().get(), POLLIN, 0};
  int count;
  do {
    count = ::poll(&waiting, 1, 10'000);
  } while (count < 0 && errno == EINTR);
}

Result<void> Session::send(const Message& message) {
  ssize_t sent;
  do {
    sent = ::send(socket_.get(), message.bytes().data(), message.bytes().size(), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("speaking to criu");
  return {};
}

Result<Response> Session::receive(FileDescriptor& descriptor) {
  std::string buffer(64 * 1024, '\0');
  Received received =
      TRY_CTX(receive_with_descriptor(socket_, std::as_writable_bytes(std::span(buffer))), "listening to criu");
  if (received.size == 0) return fail(ErrorCode::command_failed, "criu ended without an answer");
  if (received.descriptor.valid()) descriptor = std::move(received.descriptor);
  if (received.truncated) return fail(ErrorCode::corrupt, "criu's answer is too long");
  return parse_response(std::string_view(buffer).substr(0, received.size));
}

Result<Response> Session::converse(const Message& request, const Listener& listener) {
  TRY(send(request));
  std::optional<Error> ours;
  for (;;) {
    FileDescriptor descriptor;
    auto received = receive(descriptor);
    if (!received && ours) return Failure(std::move(*ours));
    Response response = TRY(std::move(received));
    if (!response.success) {
      if (ours) return Failure(std::move(*ours));
      std::string text = std::string("criu failed: type ") + name_of_type(response.type) + " errno " +
                         std::to_string(response.error_number);
      if (!response.error_message.empty()) text += ": " + response.error_message;
      return fail(ErrorCode::command_failed, text);
    }
    if (response.type != static_cast<unsigned>(RequestType::notify)) return response;
    log_debug("notify: " + response.script);
    if (auto heard = listener(response, std::move(descriptor)); !heard && !ours) ours = std::move(heard).error();
    Message answer;
    answer.number(1, static_cast<unsigned>(RequestType::notify));
    answer.flag(3, !ours);
    TRY(send(answer));
  }
}

Result<Response> Session::ask(RequestType type, const Message& options, const Listener& listener) {
  Message request;
  request.number(1, static_cast<unsigned>(type));
  request.message(2, options);
  Response response = TRY(converse(request, listener));
  // After a pre-dump it waits for the next one; this ends it.
  (void)::shutdown(socket_.get(), SHUT_WR);
  const ExitStatus status = TRY(process_.wait());
  if (type != RequestType::pre_dump && status.exit_code() != 0)
    return fail(ErrorCode::command_failed, "criu failed: exit status " + std::to_string(status.exit_code()));
  return response;
}

Result<Response> Session::ask_for_features() {
  Message wanted, request;
  wanted.flag(kMemoryTracking, true);
  wanted.flag(kLazyPages, true);
  request.number(1, static_cast<unsigned>(RequestType::feature_check));
  request.message(5, wanted);
  auto response = converse(request, [](const Response&, FileDescriptor) { return Result<void>(); });
  if (!response) return Failure(std::move(response).error().with_context("CRIU feature check failed"));
  return response;
}

}  // namespace dray::oci::criu
