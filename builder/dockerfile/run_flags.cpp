// SPDX-License-Identifier: Apache-2.0
// RUN --mount and --device. The type decides which options make sense, and fields are taken in order: "required" before
// "type=secret" is an error, as in BuildKit.
#include "dockerfile/run_flags.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "dockerfile/text.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

struct Field {
  std::string text, key, value;
  bool has_value = false;
};

Field split_field(const std::string& text) {
  const std::size_t equals = text.find('=');
  Field field{text, to_lower(text.substr(0, equals)), "", equals != std::string::npos};
  if (field.has_value) field.value = text.substr(equals + 1);
  return field;
}

std::optional<std::uint32_t> number(std::string_view text, int base) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// "64m", "1.5 GiB": binary units.
std::optional<std::uint64_t> bytes(std::string_view text) {
  double value = 0;
  if (text.empty() || !(is_digit(text.front()) || text.front() == '.')) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  std::string unit = to_lower(text.substr(static_cast<std::size_t>(end - text.data())));
  if (unit.starts_with(' ')) unit.erase(0, 1);
  if (unit.ends_with('b')) unit.pop_back();
  if (unit.size() == 2 && unit[1] == 'i') unit.pop_back();
  if (unit.size() > 1) return std::nullopt;
  const std::size_t power = unit.empty() ? 0 : std::string_view("kmgtp").find(unit[0]) + 1;
  if (power > 5 || (!unit.empty() && power == 0)) return std::nullopt;
  value *= std::pow(1024.0, static_cast<double>(power));
  if (value > 9.0e18) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

Failure bad_value(const Field& field) { return invalid("invalid value for " + field.key + ": " + field.value); }

/// "ro", "rw" and "required" may stand alone.
Result<bool> true_or(const Field& field) {
  if (!field.has_value) return true;
  const auto value = parse_bool(field.value);
  if (!value) return bad_value(field);
  return *value;
}

Result<void> set_number(const Field& field, int base, std::optional<std::uint32_t>& target) {
  target = number(field.value, base);
  if (!target) return invalid("invalid value " + field.value + " for " + field.key);
  return {};
}

Failure not_for(const Field& field, const MountFlag& mount) {
  return invalid("unexpected key '" + field.key + "' for mount type '" + mount.type + "'");
}

/// Takes one field; `chosen` becomes true where the field says whether the mount is read-only.
Result<void> apply(const Field& field, MountFlag& mount, bool& chosen) {
  const std::string& key = field.key;
  if (key == "readonly" || key == "ro" || key == "readwrite" || key == "rw") {
    const bool value = TRY(true_or(field));
    mount.read_only = key.starts_with("readw") || key == "rw" ? !value : value;
    chosen = true;
    return {};
  }
  if (key == "required") {
    if (mount.type != "secret" && mount.type != "ssh") return not_for(field, mount);
    mount.required = TRY(true_or(field));
    return {};
  }
  if (!field.has_value) return invalid("invalid field '" + field.text + "' must be a key=value pair");
  if (key == "type") {
    static const std::vector<std::string> kTypes = {"bind", "cache", "tmpfs", "secret", "ssh"};
    const std::string type = to_lower(field.value);
    if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end())
      return invalid("unsupported mount type \"" + field.value + "\"" + did_you_mean(field.value, kTypes));
    mount.type = type;
  } else if (key == "from") {
    mount.from = field.value;
  } else if (key == "source" || key == "src") {
    mount.source = field.value;
  } else if (key == "target" || key == "dst" || key == "destination") {
    mount.target = field.value;
  } else if (key == "id") {
    mount.id = field.value;
  } else if (key == "env") {
    mount.env = field.value;
  } else if (key == "size") {
    if (mount.type != "tmpfs") return not_for(field, mount);
    const auto size = bytes(field.value);
    if (!size) return bad_value(field);
    mount.size = *size;
  } else if (key == "sharing") {
    static const std::vector<std::string> kModes = {"shared", "private", "locked"};
    const std::string sharing = to_lower(field.value);
    if (std::find(kModes.begin(), kModes.end(), sharing) == kModes.end())
      return invalid("unsupported sharing value \"" + field.value + "\"" + did_you_mean(field.value, kModes));
    mount.sharing = sharing;
  } else if (key == "mode") {
    TRY(set_number(field, 8, mount.mode));
  } else if (key == "uid") {
    TRY(set_number(field, 10, mount.uid));
  } else if (key == "gid") {
    TRY(set_number(field, 10, mount.gid));
  } else {
    static const std::vector<std::string> kKeys = {
        "type", "from", "source", "target", "readonly", "id",          "sharing", "required", "size",     "mode",
        "uid",  "gid",  "src",    "dst",    "ro",       "destination", "rw",      "env",      "readwrite"};
    return invalid("unexpected key '" + key + "' in '" + field.text + "'" + did_you_mean(key, kKeys));
  }
  return {};
}

Result<void> check(const MountFlag& mount) {
  if (mount.type == "bind" || mount.type == "tmpfs") {
    const char* given = mount.mode ? "mode" : mount.uid ? "uid" : mount.gid ? "gid" : nullptr;
    if (given != nullptr) return invalid(std::string(given) + " not allowed for \"" + mount.type + "\" type mounts");
  }
  if (mount.type == "secret") {
    if (!mount.from.empty()) return invalid("secret mount should not have a from");
    if (!mount.sharing.empty()) return invalid("secret mount should not define sharing");
    if (mount.source.empty() && mount.target.empty() && mount.id.empty())
      return invalid("invalid secret mount. one of source, target required");
    if (!mount.source.empty() && !mount.id.empty()) return invalid("both source and id can't be set");
  }
  if (!mount.sharing.empty() && mount.type != "cache")
    return invalid("invalid cache sharing set for " + mount.type + " mount");
  if (mount.type == "ssh" && !mount.source.empty()) return invalid("ssh does not support source");
  return {};
}

}  // namespace

Result<MountFlag> parse_mount(std::string_view text, const ExpandWord& expand) {
  MountFlag mount;
  bool chosen = false;
  const std::vector<std::string> fields = TRY_CTX(split_csv(text), "failed to parse csv mounts");
  for (const std::string& word : fields) {
    Field field = split_field(word);
    if (field.has_value) field.value = TRY(expand(field.value));
    TRY(apply(field, mount, chosen));
  }
  TRY(check(mount));
  if (!chosen) mount.read_only = mount.type != "cache" && mount.type != "tmpfs";
  return mount;
}

Result<std::string> mount_source(std::string_view text) {
  std::string from;
  const std::vector<std::string> fields = TRY_CTX(split_csv(text), "failed to parse csv mounts");
  for (const std::string& word : fields) {
    const Field field = split_field(word);
    if (field.key != "from" || !field.has_value) continue;
    const std::size_t dollar = field.value.find('$');
    if (dollar != std::string::npos && dollar + 1 != field.value.size())
      return invalid("'from' doesn't support variable expansion, define alias stage instead");
    from = field.value;
  }
  return from;
}

Result<DeviceFlag> parse_device(std::string_view text) {
  DeviceFlag device;
  const std::vector<std::string> fields = TRY_CTX(split_csv(text), "failed to parse csv devices");
  for (const std::string& word : fields) {
    const Field field = split_field(word);
    if (field.key == "required") {
      device.required = TRY(true_or(field));
    } else if (field.key == "name" && field.has_value) {
      if (!device.name.empty()) return invalid("device name already set to " + device.name);
      device.name = field.value;
    } else if (device.name.empty()) {
      device.name = field.text;  // "vendor.com/class=name"
    } else if (!field.has_value) {
      return invalid("invalid field '" + field.text + "' must be a key=value pair");
    } else {
      return invalid("unexpected key '" + field.key + "' in '" + field.text + "'" +
                     did_you_mean(field.key, {"name", "required"}));
    }
  }
  return device;
}

}  // namespace dray::builder
