// SPDX-License-Identifier: Apache-2.0
// Compiled seccomp filters in <directory>/seccomp-<hash of profile>.bpf. Each file holds the whole profile it was made
// from, and that is what is compared: the hash only names the file, so a cheap one will do (no crypto library in the
// start of a container).

#include "seccomp_cache.hpp"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <dray/core/fd.hpp>
#include <dray/runtime/launch.hpp>

namespace dray::runtime {
namespace {

// Another number when the same profile is compiled to another filter.
constexpr std::string_view kMagic = "dray-seccomp-2\n";
constexpr std::size_t kMaxFile = 4u << 20;

std::string& cache_directory() {
  static std::string directory;
  return directory;
}

std::string file_path(std::string_view key) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::string hex(16, '0');
  for (std::size_t i = 0; i < 16; ++i) hex[15 - i] = "0123456789abcdef"[(hash >> (4 * i)) & 15];
  return cache_directory() + "/seccomp-" + hex + ".bpf";
}

void put(std::string& out, std::uint64_t number) { out.append(reinterpret_cast<const char*>(&number), sizeof(number)); }
void put(std::string& out, std::string_view text) {
  put(out, text.size());
  out += text;
}
void put(std::string& out, const std::vector<std::string>& list) {
  put(out, list.size());
  for (const std::string& text : list) put(out, text);
}

/// magic, size of key, key, count of instructions
std::string header(std::string_view key, std::size_t count) {
  std::string out(kMagic);
  put(out, key);
  put(out, count);
  return out;
}

// Profiles that change from container to container must not fill the disk, which may be memory.
constexpr std::size_t kMostFiles = 64;

void remove_oldest() {
  std::vector<std::pair<std::int64_t, std::string>> files;
  for (const std::string& name : list_directory(cache_directory()).value_or(std::vector<std::string>())) {
    const std::string path = cache_directory() + "/" + name;
    struct stat status;
    if (!name.starts_with("seccomp-") || ::lstat(path.c_str(), &status) != 0) continue;
    files.emplace_back(status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec, path);
  }
  std::sort(files.begin(), files.end());
  for (std::size_t i = 0; i + kMostFiles < files.size(); ++i) (void)::unlink(files[i].second.c_str());
}

}  // namespace

void set_seccomp_cache_directory(std::string directory) { cache_directory() = std::move(directory); }

std::string seccomp_cache_key(const Seccomp& profile) {
  std::string key;
  if (cache_directory().empty()) return key;
  key.reserve(16 * 1024);
  const scmp_version* version = seccomp_version();
  put(key, version == nullptr ? 0 : version->major * 1'000'000ull + version->minor * 1000ull + version->micro);
  put(key, seccomp_arch_native());
  put(key, profile.default_action);
  put(key, profile.default_errno_ret ? *profile.default_errno_ret + 1ull : 0);
  put(key, profile.architectures);
  put(key, profile.syscalls.size());
  for (const SeccompSyscall& rule : profile.syscalls) {
    put(key, rule.names);
    put(key, rule.action);
    put(key, rule.errno_ret ? *rule.errno_ret + 1ull : 0);
    put(key, rule.args.size());
    for (const SeccompArg& arg : rule.args) {
      put(key, arg.index);
      put(key, arg.value);
      put(key, arg.value_two);
      put(key, arg.op);
    }
  }
  return key;
}

std::optional<std::vector<sock_filter>> read_seccomp_cache(const std::string& key) {
  if (key.empty()) return std::nullopt;
  FileDescriptor fd(open(file_path(key).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return std::nullopt;
  struct stat status = {};
  if (fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
      (status.st_mode & 077) != 0)
    return std::nullopt;
  const std::string empty_header = header(key, 0);
  auto size = static_cast<std::size_t>(status.st_size);
  if (size <= empty_header.size() || size > kMaxFile) return std::nullopt;
  std::size_t bytes = size - empty_header.size();
  if (bytes % sizeof(sock_filter) != 0 || bytes / sizeof(sock_filter) > BPF_MAXINSNS) return std::nullopt;
  std::string content(size, '\0');
  if (pread(fd.get(), content.data(), size, 0) != status.st_size) return std::nullopt;
  std::vector<sock_filter> program(bytes / sizeof(sock_filter));
  if (!content.starts_with(header(key, program.size()))) return std::nullopt;
  std::memcpy(program.data(), content.data() + empty_header.size(), bytes);
  return program;
}

void write_seccomp_cache(const std::string& key, const std::vector<sock_filter>& program) {
  if (key.empty()) return;
  std::string content = header(key, program.size());
  content.append(reinterpret_cast<const char*>(program.data()), program.size() * sizeof(sock_filter));
  (void)write_file_atomically(file_path(key), content, 0600, Durability::none);
  remove_oldest();
}

}  // namespace dray::runtime
