// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/process.hpp>
#include <dray/core/tar.hpp>
#include <dray/store/store.hpp>

#include <functional>

#include "catch.hpp"

namespace dray::store::test {

/// Unpacking sets owners and trusted.* attributes; mounting needs more. False (with a word) without root.
inline bool is_root() {
  if (::geteuid() == 0) return true;
  WARN("skipped: needs root");
  return false;
}

inline std::string temp_parent() {
  const char* given = ::getenv("TMPDIR");
  return given != nullptr ? given : "/var/tmp";
}

/// A store in a directory of its own.
struct TestStore {
  explicit TestStore(std::optional<StorageDriver> driver = {})
      : directory(*TempDir::create(temp_parent(), "dray-store-test-")),
        store(*Store::open(directory.path() + "/root", driver)) {}
  TempDir directory;
  std::shared_ptr<Store> store;
  Store* operator->() const { return store.get(); }
  Store& operator*() const { return *store; }
};

class StringSink : public ByteSink {
 public:
  Result<void> write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  std::string text;
};

/// A layer in words: TarBuilder().file("a/b", "text").directory("d").text().
class TarBuilder {
 public:
  TarBuilder& entry(tar::Entry entry, const std::string& content = "") {
    entry.size = entry.type == tar::EntryType::regular ? content.size() : 0;
    auto source = make_memory_source(content);
    REQUIRE_OK(writer_.add(entry, source.get()));
    return *this;
  }
  TarBuilder& file(const std::string& path, const std::string& content, unsigned mode = 0644) {
    return add(path, tar::EntryType::regular, "", mode, content);
  }
  TarBuilder& directory(const std::string& path, unsigned mode = 0755) {
    return add(path, tar::EntryType::directory, "", mode);
  }
  TarBuilder& symlink(const std::string& path, const std::string& target) {
    return add(path, tar::EntryType::symlink, target, 0777);
  }
  TarBuilder& hardlink(const std::string& path, const std::string& target) {
    return add(path, tar::EntryType::hardlink, target, 0644);
  }
  std::string text() {
    if (!finished_) REQUIRE_OK(writer_.finish());
    finished_ = true;
    return sink_.text;
  }

 private:
  TarBuilder& add(const std::string& path, tar::EntryType type, const std::string& target, unsigned mode,
                  const std::string& content = "") {
    tar::Entry made;
    made.path = path;
    made.type = type;
    made.link_target = target;
    made.mode = mode;
    made.mtime_seconds = 1'000'000;
    return entry(made, content);
  }
  StringSink sink_;
  tar::Writer writer_{sink_};
  bool finished_ = false;
};

inline DiffId diff_id_of(const std::string& tar) { return DiffId{Digest::of(tar)}; }

inline Result<UnpackedLayer> unpack(Store& store, const std::string& tar) {
  auto source = make_memory_source(tar);
  return store.snapshots().unpack(*source, diff_id_of(tar));
}

/// What a name is in a mounted tree: "file:content", "dir", "link:target", "char", "absent"…
inline std::string look(FdRef root, const std::string& path) {
  struct stat status;
  if (::fstatat(root.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return "absent";
  if (S_ISDIR(status.st_mode)) return "dir";
  if (S_ISCHR(status.st_mode)) return "char";
  if (S_ISFIFO(status.st_mode)) return "fifo";
  if (S_ISLNK(status.st_mode)) {
    char target[4096];
    auto length = ::readlinkat(root.get(), path.c_str(), target, sizeof target);
    return "link:" + std::string(target, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  }
  auto fd = open_file_at(root, path, O_RDONLY);
  return fd ? "file:" + read_all(*fd, 1 << 20).value_or("?") : "unreadable";
}

inline std::size_t count_entries(const std::string& directory) {
  auto names = 0u;
  auto fd = open_file(directory, O_RDONLY | O_DIRECTORY);
  if (!fd) return 0;
  alignas(8) char buffer[32768];
  for (ssize_t size; (size = ::getdents64(fd->get(), buffer, sizeof buffer)) > 0;) {
    for (ssize_t at = 0; at < size;) {
      auto* entry = reinterpret_cast<struct dirent64*>(buffer + at);
      std::string_view name = entry->d_name;
      if (name != "." && name != "..") ++names;
      at += entry->d_reclen;
    }
  }
  return names;
}

/// What `work` returns in a child process that sees a new tmpfs at `at`; 77 where none can be mounted.
inline int on_tmpfs(const std::string& at, const char* options, const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", at.c_str(), "tmpfs", 0, options) != 0)
      ::_exit(77);
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// A file's content as a container writes it: through the mounted snapshot.
inline void write_file(FdRef root, const std::string& path, const std::string& text) {
  auto fd = open_file_at(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  REQUIRE_OK(fd);
  REQUIRE_OK(write_all(*fd, text));
}

/// Puts an image of these layers (plain tars) into the store; the record as put.
inline ImageRecord put_test_image(Store& store, const std::string& reference, const std::vector<std::string>& tars) {
  image::Manifest manifest;
  image::ImageConfig config;
  config.platform = image::Platform::host();
  config.config.cmd = {"/bin/sh"};
  for (const auto& tar : tars) {
    REQUIRE_OK(unpack(store, tar));
    image::Descriptor layer;
    layer.media_type = image::kOciLayer;
    layer.digest = *store.content().write_blob(tar);
    layer.size = tar.size();
    manifest.layers.push_back(layer);
    config.diff_ids.push_back(diff_id_of(tar));
  }
  std::string bytes = image::serialize(config);
  manifest.media_type = image::kOciManifest;
  manifest.config.media_type = image::kOciConfig;
  manifest.config.digest = *store.content().write_blob(bytes);
  manifest.config.size = bytes.size();
  ImageRecord record;
  record.reference = reference;
  record.media_type = image::kOciManifest;
  record.manifest = *store.content().write_blob(image::serialize(manifest));
  record.image_id = manifest.config.digest;
  record.created_at = format_time_now();
  REQUIRE_OK(store.put_image(record));
  return record;
}

}  // namespace dray::store::test
