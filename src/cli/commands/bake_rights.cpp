// SPDX-License-Identifier: Apache-2.0
#include "bake_rights.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace dray::cli {
namespace {

constexpr int kMaxLinks = 40;
constexpr const char* kHint =
    "rights are network.host, security.insecure, device, device=NAME, ssh, fs=PATH, fs.read=PATH, fs.write=PATH";

bool covers(const BakeRight& granted, const BakeRight& wanted) {
  if (granted.kind != wanted.kind) return false;
  if (granted.kind == "device") return granted.what.empty() || granted.what == wanted.what;
  if (!granted.kind.starts_with("fs.")) return true;
  return granted.what == "*" || granted.what == "/" || granted.what == wanted.what ||
         wanted.what.starts_with(granted.what + "/");
}

bool covers(const std::set<BakeRight>& granted, const BakeRight& wanted) {
  return std::ranges::any_of(granted, [&](const BakeRight& right) { return covers(right, wanted); });
}

BakeRight entitlement(const std::string& text) {
  const std::size_t equals = text.find('=');
  return {text.substr(0, equals), equals == std::string::npos ? "" : text.substr(equals + 1)};
}

/// --allow's value, as a shell takes it.
std::string flag_of(const BakeRight& right) {
  const std::string value = right.kind + (right.what.empty() ? "" : "=" + right.what);
  const bool plain = std::ranges::all_of(value, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-+=:,@").contains(c);
  });
  if (plain) return "--allow " + value;
  std::string quoted = "--allow '";
  for (const char c : value) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string description(const BakeRight& right) {
  if (right.kind == "network.host") return "the host's network";
  if (right.kind == "security.insecure") return "privileged RUN steps";
  if (right.kind == "device") return right.what.empty() ? "the host's devices" : "the device " + right.what;
  if (right.kind == "ssh") return "the SSH agent";
  return (right.kind == "fs.read"    ? "reading "
          : right.kind == "fs.write" ? "writing "
                                     : "reading and writing ") +
         right.what;
}

}  // namespace

Result<std::string> resolve_path(const std::string& path) {
  std::string rest = path, resolved;
  if (!path.starts_with('/')) {
    char here[4096];
    if (::getcwd(here, sizeof here) == nullptr) return fail_errno("reading the working directory");
    resolved = std::string_view(here) == "/" ? "" : here;
  }
  for (int links = 0; !rest.empty();) {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    const std::string part = rest.substr(0, slash);
    rest.erase(0, slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      resolved.erase(std::min(resolved.rfind('/'), resolved.size()));
      continue;
    }
    const std::string next = resolved + "/" + part;
    char target[4096];
    const ssize_t length = ::readlink(next.c_str(), target, sizeof target);
    if (length < 0) {
      if (errno != EINVAL && errno != ENOENT && errno != ENOTDIR) return fail_errno("reading \"" + next + "\"");
      resolved = next;
      continue;
    }
    if (++links > kMaxLinks) return fail(ErrorCode::invalid_argument, "too many symbolic links in \"" + path + "\"");
    const std::string link(target, static_cast<std::size_t>(length));
    rest = link + "/" + rest;
    if (link.starts_with('/')) resolved.clear();
  }
  return resolved.empty() ? "/" : resolved;
}

Result<std::set<BakeRight>> rights_of(const builder::BuildRequest& request) {
  std::set<BakeRight> rights;
  const auto path = [&rights](const char* kind, const std::string& name) -> Result<void> {
    if (!name.empty() && name != "-") rights.insert({kind, TRY(resolve_path(name))});
    return {};
  };
  if (request.network == "host") rights.insert({"network.host", ""});
  for (const std::string& name : request.allowed) rights.insert(entitlement(name));
  TRY(path("fs.read", request.context_directory));
  if (request.context_url.empty() || request.dockerfile.starts_with('/')) TRY(path("fs.read", request.dockerfile));
  for (const auto& [name, value] : request.named_contexts) {
    // All others may be directories; what is a repository by its look only, is no path that leads out of here.
    const bool elsewhere =
        std::ranges::any_of(std::initializer_list<std::string_view>{"docker-image://", "target:", "http://", "https://",
                                                                    "git://", "ssh://"},
                            [&value](std::string_view scheme) { return value.starts_with(scheme); });
    if (!elsewhere) TRY(path("fs.read", value));
  }
  for (const builder::SecretSource& secret : request.secrets) {
    TRY(path("fs.read", secret.env.empty() ? secret.file : ""));
    // Without src and env, the variable of that name, or else the file.
    if (secret.env.empty() && secret.file.empty() && std::getenv(secret.id.c_str()) == nullptr)
      TRY(path("fs.read", secret.id));
  }
  for (const builder::SshSource& ssh : request.ssh) {
    if (ssh.paths.empty()) rights.insert({"ssh", ""});
    for (const std::string& name : ssh.paths) TRY(path("fs.read", name));
  }
  const auto attribute = [&path](const std::vector<builder::TypedOptions>& options, const char* key,
                                 const char* kind) -> Result<void> {
    for (const builder::TypedOptions& option : options)
      if (const auto found = option.attributes.find(key); found != option.attributes.end())
        TRY(path(kind, found->second));
    return {};
  };
  TRY(attribute(request.outputs, "dest", "fs.write"));
  TRY(attribute(request.cache_to, "dest", "fs.write"));
  TRY(attribute(request.cache_from, "src", "fs.read"));
  return rights;
}

Result<BakeRights> BakeRights::parse(const std::vector<std::string>& allowed, bool check_paths) {
  BakeRights rights;
  const std::string here = TRY(resolve_path("."));
  for (const char* kind : {"fs.read", "fs.write"}) rights.granted_.insert({kind, check_paths ? here : "*"});
  for (const std::string& text : allowed) {
    const BakeRight right = entitlement(text);
    const bool is_path = right.kind == "fs" || right.kind == "fs.read" || right.kind == "fs.write";
    if (is_path && !right.what.empty()) {
      const std::string path = right.what == "*" ? "*" : TRY(resolve_path(right.what));
      if (right.kind != "fs.write") rights.granted_.insert({"fs.read", path});
      if (right.kind != "fs.read") rights.granted_.insert({"fs.write", path});
    } else if (text == "network.host" || text == "security.insecure" || text == "ssh" || text == "device" ||
               (right.kind == "device" && !right.what.empty())) {
      rights.granted_.insert(right);
    } else {
      return Failure(Error(ErrorCode::invalid_argument, "invalid --allow \"" + text + "\"").with_hint(kHint));
    }
  }
  return rights;
}

void BakeRights::want(const std::string& target, const std::set<BakeRight>& wanted, const std::set<BakeRight>& own) {
  for (const BakeRight& right : wanted)
    if (!covers(granted_, right) && !covers(own, right)) missing_[right].push_back(target);
}

Result<void> BakeRights::check() const {
  if (missing_.empty()) return {};
  std::string message = "the bake file asks for more than the working directory:", flags;
  for (const auto& [right, targets] : missing_) {
    BakeRight shown = right;
    const bool both = missing_.contains({"fs.read", right.what}) && missing_.contains({"fs.write", right.what});
    if (both && right.kind == "fs.read") continue;
    if (both) shown.kind = "fs";
    message += "\n  " + description(shown) + " (target " + targets[0] +
               (targets.size() > 1 ? " and " + std::to_string(targets.size() - 1) + " more)" : ")");
    flags += (flags.empty() ? "" : " ") + flag_of(shown);
  }
  return Failure(Error(ErrorCode::permission_denied, std::move(message)).with_hint("to grant it, add " + flags));
}

}  // namespace dray::cli
