// SPDX-License-Identifier: Apache-2.0
// Platform names in Go's words (GOOS/GOARCH), normalised the way containerd does for the common spellings.
#include <sys/utsname.h>

#include <algorithm>
#include <span>

#include <dray/core/text.hpp>
#include <dray/image/image.hpp>

namespace dray::image {
namespace {

constexpr std::string_view kSystems[] = {"aix",     "android", "darwin",  "dragonfly", "freebsd", "hurd",
                                         "illumos", "ios",     "js",      "linux",     "nacl",    "netbsd",
                                         "openbsd", "plan9",   "solaris", "windows",   "zos"};
constexpr std::string_view kArchitectures[] = {"386",     "amd64",    "amd64p32",  "arm",         "armbe",   "arm64",
                                               "arm64be", "ppc64",    "ppc64le",   "loong64",     "mips",    "mipsle",
                                               "mips64",  "mips64le", "mips64p32", "mips64p32le", "ppc",     "riscv",
                                               "riscv64", "s390",     "s390x",     "sparc",       "sparc64", "wasm"};

bool is_one_of(std::span<const std::string_view> words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

void lower(std::string& text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
}

void normalize(Platform& platform) {
  std::string& arch = platform.architecture;
  for (std::string* part : {&platform.os, &arch, &platform.variant}) lower(*part);
  if (platform.os == "macos") platform.os = "darwin";
  if (arch == "x86_64" || arch == "x86-64") arch = "amd64";
  if (arch == "aarch64") arch = "arm64";
  if (arch == "i386" || arch == "i486" || arch == "i586" || arch == "i686") arch = "386";
  if (arch == "armhf") arch = "arm", platform.variant = "v7";
  if (arch == "armel") arch = "arm", platform.variant = "v6";
  if (arch.starts_with("armv") && arch.size() >= 5) platform.variant = arch.substr(3, 2), arch = "arm";
  if (arch == "arm64" && platform.variant == "v8") platform.variant.clear();
  if (arch == "arm" && platform.variant.empty()) platform.variant = "v7";
  if (arch == "amd64" && platform.variant == "v1") platform.variant.clear();
}

}  // namespace

std::string Platform::to_string() const {
  std::string text = os + "/" + architecture;
  if (!variant.empty()) text += "/" + variant;
  return text;
}

Result<Platform> Platform::parse(std::string_view text) {
  Platform platform = host();
  const std::vector<std::string> parts = split(text, '/');
  // The words are containerd's: users search for them.
  const std::string quoted = "\"" + std::string(text.substr(0, 100)) + "\"";
  const auto bad = [](std::string message) {
    return Failure(Error(ErrorCode::invalid_argument, std::move(message) + ": invalid argument")
                       .with_hint("expected os[/architecture[/variant]], such as linux/arm64"));
  };
  const auto made_of = [](const std::string& part, const std::string& more) {
    const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-" + more;
    return !part.empty() && part.find_first_not_of(letters) == std::string::npos;
  };
  for (std::size_t i = 1; i < parts.size(); ++i)
    if (!made_of(parts[i], "."))
      return bad("\"" + parts[i].substr(0, 100) + "\" is an invalid component of " + quoted +
                 ": platform specifier component must match \"^[A-Za-z0-9_.-]+$\"");
  if (!made_of(parts[0], "") && (parts.size() > 1 || !made_of(parts[0], ".")))
    return bad("\"" + parts[0].substr(0, 100) + "\" is an invalid OS component of " + quoted +
               ": it must match \"^[A-Za-z0-9_-]+$\"");
  if (parts.size() > 3) return bad(quoted + ": cannot parse platform specifier");
  if (parts.size() == 1) {
    // One word is a system or an architecture; which one, only a known word tells.
    Platform named{.os = parts[0], .architecture = parts[0], .variant = ""};
    normalize(named);
    if (is_one_of(kSystems, named.os)) {
      platform.os = named.os;
    } else if (is_one_of(kArchitectures, named.architecture)) {
      platform.architecture = named.architecture;
      platform.variant = named.variant;
    } else {
      return bad(quoted + ": unknown operating system or architecture");
    }
  } else {
    platform.os = parts[0];
    platform.architecture = parts[1];
    platform.variant = parts.size() == 3 ? parts[2] : "";
  }
  normalize(platform);
  return platform;
}

Platform Platform::host() {
  struct utsname names{};
  Platform platform;
  platform.architecture = ::uname(&names) == 0 ? names.machine : "amd64";
  normalize(platform);
  return platform;
}

bool Platform::matches(const Platform& wanted) const {
  Platform mine = *this, other = wanted;
  normalize(mine);
  normalize(other);
  return mine.os == other.os && mine.architecture == other.architecture &&
         (other.variant.empty() || mine.variant == other.variant);
}

Result<Descriptor> select_platform(const Index& index, const Platform& platform) {
  std::string available;
  for (const Descriptor& entry : index.manifests) {
    // buildkit's attestation manifests say unknown/unknown; they are no images.
    if (!entry.platform || entry.platform->os == "unknown") continue;
    if (entry.platform->matches(platform)) return entry;
    available += (available.empty() ? "" : ", ") + entry.platform->to_string();
  }
  // An index without any platform (a single-image layout) has only one meaning.
  if (available.empty() && index.manifests.size() == 1) return index.manifests.front();
  return fail(ErrorCode::not_found, "no image for platform " + platform.to_string() +
                                        " in the index (it has: " + (available.empty() ? "none" : available) + ")");
}

const Descriptor& host_or_first(const std::vector<Descriptor>& entries) {
  const Platform host = Platform::host();
  for (const Descriptor& entry : entries)
    if (entry.platform && entry.platform->matches(host)) return entry;
  return entries.front();
}

}  // namespace dray::image
