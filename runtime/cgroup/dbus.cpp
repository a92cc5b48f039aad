// SPDX-License-Identifier: Apache-2.0
// Marshalling of D-Bus messages. See dbus.hpp.

#include "dbus.hpp"

#include <bit>
#include <cstring>

namespace dray::runtime::dbus {
namespace {

constexpr char kByteOrder = std::endian::native == std::endian::little ? 'l' : 'B';
constexpr std::size_t kHeaderSize = 16;
// Ours are below a kilobyte; systemd's signals may list a unit's properties.
constexpr std::size_t kMaxMessage = 16u << 20;

enum Field : std::uint8_t { path = 1, interface, member, error_name, reply_serial, destination, sender, signature };

Failure malformed() { return fail(ErrorCode::corrupt, "malformed D-Bus message"); }

std::uint32_t number_at(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

std::size_t aligned(std::size_t size) { return (size + 7) / 8 * 8; }

void write_field(Writer& writer, Field field, const char* type, std::string_view text) {
  if (text.empty()) return;
  writer.align(8);
  writer.byte(field);
  writer.signature(type);
  if (*type == 'g')
    writer.signature(text);
  else
    writer.string(text);
}

Result<void> read_field(Reader& reader, Message& message) {
  TRY(reader.align(8));
  const std::uint8_t field = TRY(reader.byte());
  const std::string type = TRY(reader.signature());
  if (type == "u") {
    const std::uint32_t value = TRY(reader.uint32());
    if (field == Field::reply_serial) message.reply_serial = value;
    return {};
  }
  if (type != "s" && type != "o" && type != "g") return malformed();
  std::string text = type == "g" ? TRY(reader.signature()) : TRY(reader.string());
  if (field == Field::path)
    message.path = std::move(text);
  else if (field == Field::interface)
    message.interface = std::move(text);
  else if (field == Field::member)
    message.member = std::move(text);
  else if (field == Field::error_name)
    message.error_name = std::move(text);
  else if (field == Field::destination)
    message.destination = std::move(text);
  else if (field == Field::signature)
    message.signature = std::move(text);
  return {};
}

}  // namespace

void Writer::uint32(std::uint32_t value) {
  align(4);
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void Writer::uint64(std::uint64_t value) {
  align(8);
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void Writer::string(std::string_view value) {
  uint32(static_cast<std::uint32_t>(value.size()));
  bytes_ += value;
  bytes_ += '\0';
}

void Writer::signature(std::string_view value) {
  byte(static_cast<std::uint8_t>(value.size()));
  bytes_ += value;
  bytes_ += '\0';
}

std::size_t Writer::begin_array(std::size_t alignment) {
  uint32(0);
  const std::size_t token = bytes_.size() - 4;
  align(alignment);  // not counted in the length
  starts_.push_back(bytes_.size());
  return token;
}

void Writer::end_array(std::size_t token) {
  const auto size = static_cast<std::uint32_t>(bytes_.size() - starts_.back());
  starts_.pop_back();
  std::memcpy(bytes_.data() + token, &size, sizeof(size));
}

void Writer::scalar(char type, const Scalar& value) {
  switch (type) {
    case 's':
    case 'o':
      return string(value.text);
    case 'g':
      return signature(value.text);
    case 'y':
      return byte(static_cast<std::uint8_t>(value.bits));
    case 'n':
    case 'q': {
      align(2);
      const auto number = static_cast<std::uint16_t>(value.bits);
      bytes_.append(reinterpret_cast<const char*>(&number), sizeof(number));
      return;
    }
    case 'b':
    case 'i':
    case 'u':
      return uint32(static_cast<std::uint32_t>(value.bits));
    default:
      return uint64(value.bits);
  }
}

void Writer::variant(const Value& value) {
  struct Visitor {
    Writer& writer;
    void operator()(bool flag) const {
      writer.signature("b");
      writer.boolean(flag);
    }
    void operator()(std::uint64_t number) const {
      writer.signature("t");
      writer.uint64(number);
    }
    void operator()(const std::string& text) const {
      writer.signature("s");
      writer.string(text);
    }
    void operator()(const Typed& value) const {
      writer.signature(value.signature);
      if (!value.signature.starts_with('a')) return writer.scalar(value.signature.front(), value.items.front());
      const char type = value.signature[1];
      const bool wide = type == 'x' || type == 't' || type == 'd';
      const bool narrow = type == 'y' || type == 'g';
      const std::size_t array = writer.begin_array(wide ? 8 : narrow ? 1 : type == 'n' || type == 'q' ? 2 : 4);
      for (const Scalar& item : value.items) writer.scalar(type, item);
      writer.end_array(array);
    }
    void operator()(const std::vector<std::string>& texts) const {
      writer.signature("as");
      const std::size_t array = writer.begin_array(4);
      for (const std::string& text : texts) writer.string(text);
      writer.end_array(array);
    }
    void operator()(const std::vector<std::uint8_t>& values) const {
      writer.signature("ay");
      const std::size_t array = writer.begin_array(1);
      for (std::uint8_t each : values) writer.byte(each);
      writer.end_array(array);
    }
    void operator()(const std::vector<std::uint32_t>& values) const {
      writer.signature("au");
      const std::size_t array = writer.begin_array(4);
      for (std::uint32_t each : values) writer.uint32(each);
      writer.end_array(array);
    }
    void operator()(const std::vector<std::pair<std::string, std::string>>& pairs) const {
      writer.signature("a(ss)");
      const std::size_t array = writer.begin_array(8);
      for (const auto& [first, second] : pairs) {
        writer.align(8);
        writer.string(first);
        writer.string(second);
      }
      writer.end_array(array);
    }
  };
  std::visit(Visitor{*this}, value);
}

void Writer::properties(const std::vector<Property>& properties) {
  const std::size_t array = begin_array(8);
  for (const Property& property : properties) {
    align(8);
    string(property.name);
    variant(property.value);
  }
  end_array(array);
}

std::string marshal(const Message& message) {
  Writer writer;
  writer.byte(static_cast<std::uint8_t>(kByteOrder));
  writer.byte(message.type);
  writer.byte(0);  // flags
  writer.byte(1);  // protocol version
  writer.uint32(static_cast<std::uint32_t>(message.body.size()));
  writer.uint32(message.serial);
  const std::size_t fields = writer.begin_array(8);
  write_field(writer, Field::path, "o", message.path);
  write_field(writer, Field::interface, "s", message.interface);
  write_field(writer, Field::member, "s", message.member);
  write_field(writer, Field::error_name, "s", message.error_name);
  if (message.reply_serial != 0) {
    writer.align(8);
    writer.byte(Field::reply_serial);
    writer.signature("u");
    writer.uint32(message.reply_serial);
  }
  write_field(writer, Field::destination, "s", message.destination);
  write_field(writer, Field::signature, "g", message.signature);
  writer.end_array(fields);
  writer.align(8);
  return writer.bytes() + message.body;
}

Result<std::size_t> message_size(std::string_view header) {
  if (header.size() < kHeaderSize || header[0] != kByteOrder || header[3] != 1) return malformed();
  const std::size_t body = number_at(header, 4), fields = number_at(header, 12);
  if (body > kMaxMessage || fields > kMaxMessage) return malformed();
  return aligned(kHeaderSize + fields) + body;
}

Result<Message> unmarshal(std::string_view bytes) {
  const std::size_t size = TRY(message_size(bytes));
  if (size != bytes.size()) return malformed();
  const std::size_t end = kHeaderSize + number_at(bytes, 12);
  Message message;
  message.type = static_cast<std::uint8_t>(bytes[1]);
  message.serial = number_at(bytes, 8);
  message.body = bytes.substr(aligned(end));
  Reader reader(bytes.substr(0, end));
  for (int skipped = 0; skipped < 4; ++skipped) TRY(reader.uint32());
  while (reader.position() < end) TRY(read_field(reader, message));
  return message;
}

Result<void> Reader::align(std::size_t to) {
  at_ = (at_ + to - 1) / to * to;
  if (at_ > bytes_.size()) return malformed();
  return {};
}

Result<std::uint8_t> Reader::byte() {
  if (at_ >= bytes_.size()) return malformed();
  return static_cast<std::uint8_t>(bytes_[at_++]);
}

Result<std::uint32_t> Reader::uint32() {
  TRY(align(4));
  if (bytes_.size() - at_ < 4) return malformed();
  at_ += 4;
  return number_at(bytes_, at_ - 4);
}

Result<std::string> Reader::string() {
  const std::size_t size = TRY(uint32());
  if (bytes_.size() - at_ <= size) return malformed();
  at_ += size + 1;
  return std::string(bytes_.substr(at_ - size - 1, size));
}

Result<std::string> Reader::signature() {
  const std::size_t size = TRY(byte());
  if (bytes_.size() - at_ <= size) return malformed();
  at_ += size + 1;
  return std::string(bytes_.substr(at_ - size - 1, size));
}

}  // namespace dray::runtime::dbus
