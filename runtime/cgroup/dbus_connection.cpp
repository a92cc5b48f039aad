// SPDX-License-Identifier: Apache-2.0
// A D-Bus connection over a Unix socket. See dbus.hpp.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../user_namespace.hpp"
#include "dbus.hpp"

namespace dray::runtime::dbus {
namespace {

constexpr int kTimeoutMs = 30'000;

Result<void> send_bytes(FdRef socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail_errno("writing to D-Bus");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

std::string hexadecimal(std::string_view text) {
  std::string out;
  for (char letter : text) {
    out += "0123456789abcdef"[(letter >> 4) & 15];
    out += "0123456789abcdef"[letter & 15];
  }
  return out;
}

}  // namespace

Result<Connection> Connection::open(const std::string& socket_path, bool is_bus) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path))
    return fail(ErrorCode::invalid_argument, "D-Bus socket \"" + socket_path + "\" has too long a name");
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size());
  Connection connection;
  connection.socket_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.socket_.valid()) return fail_errno("making a socket");
  if (::connect(connection.socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_errno("connecting to D-Bus socket \"" + socket_path + "\"");
  TRY(connection.authenticate());
  if (!is_bus) return connection;
  Message hello;
  hello.destination = hello.interface = "org.freedesktop.DBus";
  hello.path = "/org/freedesktop/DBus";
  hello.member = "Hello";
  TRY(connection.call(std::move(hello)));
  return connection;
}

/// The user's number, which the other side compares with what the kernel says. BEGIN goes along with it, as sd-bus
/// does: sent after the answer, systemd may read it together with the first message and then not look at that until
/// more comes.
Result<void> Connection::authenticate() {
  using namespace std::string_literals;
  // In a user namespace we don't know our number outside; the empty one is "whoever the kernel says I am".
  const bool anonymous = in_own_user_namespace();
  const std::string who = anonymous ? "\r\nDATA" : " " + hexadecimal(std::to_string(::geteuid()));
  TRY(send_bytes(socket_, "\0AUTH EXTERNAL"s + who + "\r\nBEGIN\r\n"));
  std::size_t end = 0;
  const std::string_view challenge = "DATA\r\n";
  while (anonymous && received_.size() < challenge.size()) TRY(read_more());
  if (anonymous && received_.starts_with(challenge)) received_.erase(0, challenge.size());
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (received_.size() > 4096) return fail(ErrorCode::corrupt, "D-Bus does not answer as it should");
    TRY(read_more());
  }
  if (!received_.starts_with("OK "))
    return fail(ErrorCode::permission_denied, "D-Bus refuses this user: " + received_.substr(0, end));
  received_.erase(0, end + 2);
  return {};
}

Result<void> Connection::read_more() {
  struct pollfd waiting{socket_.get(), POLLIN, 0};
  const int ready = ::poll(&waiting, 1, kTimeoutMs);
  if (ready < 0 && errno == EINTR) return {};
  if (ready < 0) return fail_errno("waiting for D-Bus");
  if (ready == 0) return fail(ErrorCode::unavailable, "D-Bus does not answer within 30 s");
  char buffer[16 * 1024];
  const ssize_t size = ::read(socket_.get(), buffer, sizeof(buffer));
  if (size < 0 && errno == EINTR) return {};
  if (size < 0) return fail_errno("reading from D-Bus");
  if (size == 0) return fail(ErrorCode::unavailable, "D-Bus closed the connection");
  received_.append(buffer, static_cast<std::size_t>(size));
  return {};
}

Result<void> Connection::send(Message& message) {
  message.serial = ++serial_;
  return send_bytes(socket_, marshal(message));
}

Result<Message> Connection::receive() {
  while (received_.size() < 16) TRY(read_more());
  const std::size_t size = TRY(message_size(received_));
  while (received_.size() < size) TRY(read_more());
  auto message = unmarshal(std::string_view(received_).substr(0, size));
  received_.erase(0, size);
  return message;
}

Result<Message> Connection::call(Message message) {
  message.type = Message::call;
  TRY(send(message));
  for (;;) {
    Message answer = TRY(receive());
    if (answer.type == Message::signal) {
      signals_.push_back(std::move(answer));
      continue;
    }
    if (answer.reply_serial != message.serial) continue;
    if (answer.type == Message::reply) return answer;
    auto text = answer.signature.starts_with('s') ? Reader(answer.body).string() : Result<std::string>("");
    return fail(ErrorCode::command_failed, answer.error_name + ": " + (text ? *text : ""));
  }
}

Result<Message> Connection::next_signal() {
  while (signals_.empty()) {
    Message message = TRY(receive());
    if (message.type == Message::signal) signals_.push_back(std::move(message));
  }
  Message signal = std::move(signals_.front());
  signals_.pop_front();
  return signal;
}

}  // namespace dray::runtime::dbus
