// SPDX-License-Identifier: Apache-2.0
// Docker's grammars for mounts: -v [SOURCE:]DESTINATION[:OPTIONS] and --mount's comma-separated key=value.
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include <dray/core/rooted_path.hpp>
#include <dray/core/text.hpp>
#include <dray/engine/containers.hpp>

#include "volumes.hpp"

namespace dray::engine {
namespace {

bool is_propagation(const std::string& word) {
  return word == "shared" || word == "rshared" || word == "slave" || word == "rslave" || word == "private" ||
         word == "rprivate";
}

Failure invalid(const std::string& text, const std::string& reason = "") {
  return fail(ErrorCode::invalid_argument,
              "invalid volume specification: '" + text + "'" + (reason.empty() ? "" : ": " + reason));
}

Failure invalid_config(const VolumeMount& mount, const std::string& reason) {
  const char* kind = mount.kind == VolumeMount::Kind::bind     ? "bind"
                     : mount.kind == VolumeMount::Kind::volume ? "volume"
                                                               : "tmpfs";
  return fail(ErrorCode::invalid_argument, std::string("invalid mount config for type \"") + kind + "\": " + reason);
}

Result<void> check_destination(VolumeMount& mount) {
  if (mount.destination.empty()) return invalid_config(mount, "field Target must not be empty");
  if (mount.destination.front() != '/')
    return invalid_config(mount, "invalid mount path: '" + mount.destination + "' mount path must be absolute");
  mount.destination = clean_path(mount.destination);
  if (mount.destination == "/") return invalid_config(mount, "invalid specification: destination can't be '/'");
  return {};
}

std::string absolute(const std::string& path) {
  char buffer[PATH_MAX];
  if (path.starts_with('/') || ::getcwd(buffer, sizeof buffer) == nullptr) return clean_path(path);
  return join_path(buffer, path);
}

Result<bool> parse_boolean(const std::string& key, const std::string& value) {
  if (const auto flag = value.empty() ? true : parse_bool(value)) return *flag;
  return fail(ErrorCode::invalid_argument, "invalid value for " + key + ": " + value);
}

// One key of --mount. `kind` is parsed before the others, so that the order on the command line does not matter.
Result<void> apply_mount_key(VolumeMount& mount, const std::string& key, const std::string& value) {
  using Kind = VolumeMount::Kind;
  if (key == "type") return {};
  if (key == "source" || key == "src") {
    mount.source = value;
  } else if (key == "target" || key == "dst" || key == "destination") {
    mount.destination = value;
  } else if (key == "readonly" || key == "ro") {
    mount.read_only = TRY(parse_boolean(key, value));
  } else if (key == "bind-propagation" && mount.kind == Kind::bind) {
    if (!is_propagation(value)) return fail(ErrorCode::invalid_argument, "invalid propagation value: " + value);
    mount.options.push_back(value);
  } else if (key == "bind-create-src" && mount.kind == Kind::bind) {
    mount.create_source = TRY(parse_boolean(key, value));
  } else if (key == "bind-nonrecursive" && mount.kind == Kind::bind) {
    bool set = TRY(parse_boolean(key, value));
    if (set) mount.options.push_back("bind");
  } else if (key == "volume-nocopy" && mount.kind == Kind::volume) {
    mount.no_copy = TRY(parse_boolean(key, value));
  } else if (key == "tmpfs-size" && mount.kind == Kind::tmpfs) {
    mount.options.push_back("size=" + value);
  } else if (key == "tmpfs-mode" && mount.kind == Kind::tmpfs) {
    mount.options.push_back("mode=" + value);
  } else if (key == "consistency") {
    // A hint for other operating systems.
  } else {
    return fail(ErrorCode::invalid_argument, "unexpected key '" + key + "' in '" + key + "=" + value + "'");
  }
  return {};
}

}  // namespace

Result<VolumeMount> parse_volume(const std::string& text) {
  auto parts = split(text, ':');
  if (parts.size() > 3 || text.empty()) return invalid(text);
  for (const auto& part : parts) {
    if (part.empty()) return parts.size() == 1 ? invalid(text) : invalid(text, "empty section between colons");
  }
  VolumeMount mount;
  mount.kind = VolumeMount::Kind::volume;
  std::string options;
  if (parts.size() == 1) {
    mount.destination = parts[0];
  } else {
    mount.source = parts[0];
    mount.destination = parts[1];
    if (parts.size() == 3) options = parts[2];
  }
  if (!mount.source.empty() && (mount.source[0] == '/' || mount.source[0] == '.')) {
    mount.kind = VolumeMount::Kind::bind;
    mount.source = absolute(mount.source);
  } else if (!mount.source.empty()) {
    TRY(check_volume_name(mount.source));
  }
  auto checked = check_destination(mount);
  if (!checked) return invalid(text, checked.error().message());
  if (!options.empty()) {
    for (const auto& word : split(options, ',')) {
      if (word == "ro" || word == "rw") {
        mount.read_only = word == "ro";
      } else if (word == "nocopy" && mount.kind == VolumeMount::Kind::volume) {
        mount.no_copy = true;
      } else if (is_propagation(word) && mount.kind == VolumeMount::Kind::bind) {
        mount.options.push_back(word);
      } else if (word != "z" && word != "Z" && word != "cached" && word != "delegated" && word != "consistent") {
        return fail(ErrorCode::invalid_argument, "invalid mode: " + options);
      }
    }
  }
  return mount;
}

Result<VolumeMount> parse_mount(const std::string& text) {
  VolumeMount mount;
  mount.kind = VolumeMount::Kind::volume;
  mount.create_source = false;
  const auto fields = TRY_CTX(split_csv(text), "invalid argument \"" + text + "\" for \"--mount\" flag");
  std::string type = "volume";
  for (const auto& field : fields) {
    if (field.starts_with("type=")) type = field.substr(5);
  }
  if (type == "bind") {
    mount.kind = VolumeMount::Kind::bind;
  } else if (type == "tmpfs") {
    mount.kind = VolumeMount::Kind::tmpfs;
  } else if (type != "volume") {
    return fail(ErrorCode::invalid_argument, "mount type \"" + type + "\" is unknown: use bind, volume or tmpfs");
  }
  for (const auto& field : fields) {
    std::size_t equals = field.find('=');
    std::string key = field.substr(0, equals);
    bool flag = key == "readonly" || key == "ro" || key == "volume-nocopy" || key == "bind-nonrecursive" ||
                key == "bind-create-src";
    if (equals == std::string::npos && !flag)
      return fail(ErrorCode::invalid_argument, "invalid argument \"" + text +
                                                   "\" for \"--mount\" flag: invalid field '" + field +
                                                   "' must be a key=value pair");
    TRY(apply_mount_key(mount, key, equals == std::string::npos ? "" : field.substr(equals + 1)));
  }
  TRY(check_destination(mount));
  if (mount.kind == VolumeMount::Kind::bind) {
    if (mount.source.empty()) return invalid_config(mount, "field Source must not be empty");
    mount.source = absolute(mount.source);
  } else if (mount.kind == VolumeMount::Kind::tmpfs) {
    if (!mount.source.empty()) return invalid_config(mount, "field Source must not be specified");
  } else if (!mount.source.empty()) {
    TRY(check_volume_name(mount.source));
  }
  return mount;
}

}  // namespace dray::engine
