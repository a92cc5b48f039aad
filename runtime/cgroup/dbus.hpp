// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

// As much of the D-Bus protocol as talking to systemd takes: no library is linked for a few messages a container.
// https://dbus.freedesktop.org/doc/dbus-specification.html

namespace dray::runtime::dbus {

struct Scalar {
  std::uint64_t bits = 0;  ///< a number's; sign-extended
  std::string text;
  bool operator==(const Scalar&) const = default;
};
/// Any basic type, or an array of one.
struct Typed {
  std::string signature;
  std::vector<Scalar> items;
  bool operator==(const Typed&) const = default;
};
/// What a variant can hold here: b, t, s, as, ay, au, a(ss), or what was told by a user.
using Value = std::variant<bool, std::uint64_t, std::string, std::vector<std::string>, std::vector<std::uint8_t>,
                           std::vector<std::uint32_t>, std::vector<std::pair<std::string, std::string>>, Typed>;
struct Property {
  std::string name;
  Value value;
  bool operator==(const Property&) const = default;
};

/// Marshals in the machine's byte order. Begins at a multiple of 8, as a message's body does.
class Writer {
 public:
  void byte(std::uint8_t value) { bytes_ += static_cast<char>(value); }
  void boolean(bool value) { uint32(value ? 1 : 0); }
  void uint32(std::uint32_t value);
  void uint64(std::uint64_t value);
  void string(std::string_view value);  ///< also an object path
  void signature(std::string_view value);
  void scalar(char type, const Scalar& value);
  void variant(const Value& value);
  void properties(const std::vector<Property>& properties);  ///< a(sv)
  void align(std::size_t to) { bytes_.resize((bytes_.size() + to - 1) / to * to, '\0'); }
  /// An array's length, filled in by end_array; elements are aligned to `alignment`.
  std::size_t begin_array(std::size_t alignment);
  void end_array(std::size_t token);

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  std::vector<std::size_t> starts_;
};

struct Message {
  enum Type : std::uint8_t { call = 1, reply = 2, error = 3, signal = 4 };
  std::uint8_t type = 0;
  std::uint32_t serial = 0, reply_serial = 0;
  std::string path, interface, member, error_name, destination, signature;
  std::string body;
};

/// The bytes of a message.
std::string marshal(const Message& message);
/// The size of the message that begins with these (at least 16) bytes; corrupt when it can't be one of ours.
Result<std::size_t> message_size(std::string_view header);
Result<Message> unmarshal(std::string_view bytes);

/// Reads a body from its beginning; everything is checked against the end.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  Result<std::uint8_t> byte();
  Result<std::uint32_t> uint32();
  Result<std::string> string();
  Result<std::string> signature();
  Result<void> align(std::size_t to);
  std::size_t position() const { return at_; }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

/// A connection to a bus, or to systemd's own socket (`is_bus` false). Calls wait 30 s.
class Connection {
 public:
  static Result<Connection> open(const std::string& socket_path, bool is_bus);

  /// The reply's message; an error reply is an Error whose message begins with the D-Bus error's name.
  Result<Message> call(Message message);
  /// The next signal, also one that came while a reply was waited for.
  Result<Message> next_signal();
  /// The next message of any type.
  Result<Message> receive();
  Result<void> send(Message& message);  ///< gives it its serial number

 private:
  Result<void> authenticate();
  Result<void> read_more();
  FileDescriptor socket_;
  std::string received_;
  std::deque<Message> signals_;
  std::uint32_t serial_ = 0;
};

}  // namespace dray::runtime::dbus
