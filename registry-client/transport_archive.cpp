// SPDX-License-Identifier: Apache-2.0
// oci-archive: and docker-archive: files. Written, both are an OCI layout in a tar; docker-archive has manifest.json
// beside it, as `docker save` has written it since version 25. Read, an archive is put aside into a temporary directory
// first, since tar has no order; its names are keys of a map, never paths. An older docker-archive has no manifest:
// then one is made that is a function of its content.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include <dray/core/tar.hpp>
#include <dray/image/layout.hpp>
#include <dray/store/layer_writer.hpp>

#include "registry_json.hpp"
#include "stoppable_source.hpp"
#include "transport.hpp"
#include "transport_json.hpp"

namespace dray::registry {
namespace {

constexpr std::size_t kMaxFiles = 100000;

class ArchiveSource : public ImageSource {
 public:
  ArchiveSource(TempDir directory, std::string name) : directory_(std::move(directory)), name_(std::move(name)) {}

  Result<void> stage(const std::string& path, const Stop& stop) {
    auto file = make_fd_source(TRY(open_file(path, O_RDONLY)));
    auto plain = make_decompressing_source(*file);
    tar::Reader reader(*plain);
    while (auto entry = TRY(reader.next())) {
      if (entry->path.starts_with("./")) entry->path.erase(0, 2);
      if (files_.size() + links_.size() >= kMaxFiles)
        return fail(ErrorCode::corrupt, "the archive holds too many files");
      if (entry->type == tar::EntryType::symlink || entry->type == tar::EntryType::hardlink) {
        links_[entry->path] = resolve_link(*entry);
        continue;
      }
      if (entry->type != tar::EntryType::regular) continue;
      const std::string target = directory_.path() + "/" + std::to_string(files_.size());
      FileDescriptor out = TRY(open_file(target, O_WRONLY | O_CREAT | O_EXCL, 0600));
      auto sink = make_fd_sink(FdRef(out));
      StoppableSource content(reader, stop);
      HashingSource hashed(content);
      const std::uint64_t size = TRY(dray::copy(hashed, *sink));
      TRY(out.close_checked());
      const Digest digest = hashed.finish();
      files_[entry->path] = {target, digest, size};
      by_digest_[digest] = target;
    }
    return {};
  }

  Result<Document> top() override {
    if (find("index.json") != nullptr) return top_of_layout();
    if (find("manifest.json") != nullptr) return top_of_old_archive();
    return fail(ErrorCode::corrupt, "not an image archive: it has neither manifest.json nor index.json");
  }
  Result<Document> child(HttpClient&, const image::Descriptor& descriptor) override { return read(descriptor); }
  Result<FileDescriptor> open(HttpClient&, const image::Descriptor& blob, const std::string&, StepProgress&) override {
    if (const auto found = by_digest_.find(blob.digest); found != by_digest_.end())
      return open_file(found->second, O_RDONLY);
    if (const File* file = find(image::blob_path(blob.digest))) return open_file(file->path, O_RDONLY);
    return fail(ErrorCode::not_found, "blob " + blob.digest.to_string() + " is missing from the archive");
  }
  Result<std::vector<image::Descriptor>> referrers(HttpClient&, const Digest& subject) override {
    std::vector<image::Descriptor> found;
    if (find("index.json") == nullptr) return found;
    for (const image::Descriptor& entry : TRY(index()).manifests) {
      auto document = read(entry);
      if (document && subject_of(document->bytes) == subject) found.push_back(entry);
    }
    return found;
  }

 private:
  struct File {
    std::string path;
    Digest digest;
    std::uint64_t size = 0;
  };

  /// Old `docker save` used links between layers: "../<id>/layer.tar".
  static std::string resolve_link(const tar::Entry& entry) {
    std::string target = entry.link_target;
    if (entry.type == tar::EntryType::hardlink || !target.starts_with("../")) return target;
    return target.substr(3);
  }
  const File* find(const std::string& name) const {
    std::string key = name;
    for (int hops = 0; hops < 8; ++hops) {
      if (const auto found = files_.find(key); found != files_.end()) return &found->second;
      const auto link = links_.find(key);
      if (link == links_.end()) return nullptr;
      key = link->second;
    }
    return nullptr;
  }
  Result<std::string> bytes_of(const std::string& name) const {
    const File* file = find(name);
    if (file == nullptr) return fail(ErrorCode::not_found, "\"" + name + "\" is missing from the archive");
    return read_file(file->path, image::kMaxManifestSize);
  }
  Result<image::Index> index() const { return image::parse_index(TRY(bytes_of("index.json"))); }
  Result<Document> read(const image::Descriptor& descriptor) {
    if (const auto made = made_.find(descriptor.digest); made != made_.end()) return made->second;
    return verified_document(TRY(bytes_of(image::blob_path(descriptor.digest))), descriptor);
  }

  bool is_asked_for(const std::string& name) const {
    if (name_.empty() || name == name_) return true;
    const auto asked = Reference::parse(name_), has = Reference::parse(name);
    return asked && has && *asked == *has;
  }

  Result<Document> top_of_layout() {
    const image::Index entries = TRY(index());
    std::set<Digest> digests;
    const image::Descriptor* found = nullptr;
    for (const image::Descriptor& entry : entries.manifests) {
      bool named = name_.empty();
      for (const char* key : {"org.opencontainers.image.ref.name", "io.containerd.image.name"})
        if (const auto name = entry.annotations.find(key); name != entry.annotations.end())
          named = named || is_asked_for(name->second);
      if (!named) continue;
      found = &entry;
      digests.insert(entry.digest);
    }
    if (found == nullptr) return fail(ErrorCode::not_found, "the archive holds no image \"" + name_ + "\"");
    if (digests.size() > 1)
      return Failure(Error(ErrorCode::invalid_argument, "the archive holds several images").with_hint("add :NAME"));
    return read(*found);
  }

  Result<Document> top_of_old_archive() {
    const std::vector<ArchivedImage> images = TRY(parse_archived(TRY(bytes_of("manifest.json"))));
    const ArchivedImage* chosen = nullptr;
    for (const ArchivedImage& image : images) {
      if (!name_.empty() && std::ranges::none_of(image.names, [&](const auto& name) { return is_asked_for(name); }))
        continue;
      if (chosen != nullptr)
        return Failure(Error(ErrorCode::invalid_argument, "the archive holds several images").with_hint("add :NAME"));
      chosen = &image;
    }
    if (chosen == nullptr) return fail(ErrorCode::not_found, "the archive holds no image \"" + name_ + "\"");
    image::Manifest manifest;
    manifest.media_type = image::kOciManifest;
    const auto describe = [&](const std::string& name, std::string_view type) -> Result<image::Descriptor> {
      const File* file = find(name);
      if (file == nullptr) return fail(ErrorCode::not_found, "\"" + name + "\" is missing from the archive");
      image::Descriptor descriptor;
      descriptor.media_type = type;
      descriptor.digest = file->digest;
      descriptor.size = file->size;
      if (type == image::kOciLayer) {
        std::array<std::byte, 512> first{};
        const FileDescriptor opened = TRY(open_file(file->path, O_RDONLY));
        const std::size_t got = TRY(read_some(opened, first));
        descriptor.media_type = store::layer_media_type(detect_compression(std::span(first).first(got)));
      }
      return descriptor;
    };
    manifest.config = TRY(describe(chosen->config, image::kOciConfig));
    for (const std::string& layer : chosen->layers) manifest.layers.push_back(TRY(describe(layer, image::kOciLayer)));
    Document document;
    document.bytes = image::serialize(manifest);
    document.digest = Digest::of(document.bytes);
    document.media_type = image::kOciManifest;
    made_[document.digest] = document;
    return document;
  }

  TempDir directory_;
  const std::string name_;
  std::map<std::string, File> files_;
  std::map<std::string, std::string> links_;
  std::map<Digest, std::string> by_digest_;
  std::map<Digest, Document> made_;
};

/// A layout in a temporary directory beside the file, packed at the end.
class ArchiveDestination : public ImageDestination {
 public:
  ArchiveDestination(ArchiveKind kind, std::string file, std::string name, TempDir directory,
                     std::unique_ptr<ImageDestination> layout)
      : kind_(kind),
        file_(std::move(file)),
        name_(std::move(name)),
        directory_(std::move(directory)),
        layout_(std::move(layout)) {}

  std::string scratch() const override { return layout_->scratch(); }
  bool holds_indexes() const override { return kind_ == ArchiveKind::oci; }
  Result<bool> has(HttpClient& client, const image::Descriptor& blob) override { return layout_->has(client, blob); }
  Result<void> put(HttpClient& client, const image::Descriptor& blob, FileDescriptor file,
                   StepProgress& progress) override {
    {
      const std::lock_guard lock(mutex_);
      blobs_.insert(blob.digest);
    }
    return layout_->put(client, blob, std::move(file), progress);
  }
  Result<void> put_document(HttpClient& client, const Document& document, bool name_it) override {
    blobs_.insert(document.digest);
    if (name_it && kind_ == ArchiveKind::docker) {
      const image::Manifest manifest = TRY(image::parse_manifest(document.bytes));
      ArchivedImage image;
      image.config = image::blob_path(manifest.config.digest);
      if (!name_.empty()) image.names = {TRY(Reference::parse(name_)).familiar()};
      for (const image::Descriptor& layer : manifest.layers) image.layers.push_back(image::blob_path(layer.digest));
      TRY(write_file_atomically(directory_.path() + "/manifest.json", serialize(std::vector{image}), 0644,
                                Durability::none));
    }
    return layout_->put_document(client, document, name_it);
  }

  Result<void> finish() override {
    TRY(layout_->finish());
    const std::string temporary = file_ + ".tmp-" + random_hex(4);
    auto packed = pack(temporary);
    if (packed && ::rename(temporary.c_str(), file_.c_str()) != 0) packed = fail_errno("writing \"" + file_ + "\"");
    if (!packed) ::unlink(temporary.c_str());
    return packed;
  }

 private:
  Result<void> pack(const std::string& path) {
    FileDescriptor out = TRY(open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
    auto sink = make_fd_sink(FdRef(out));
    tar::Writer writer(*sink);
    std::vector<std::string> names = {"oci-layout", "index.json"};
    if (kind_ == ArchiveKind::docker) names.push_back("manifest.json");
    for (const Digest& blob : blobs_) names.push_back(image::blob_path(blob));
    for (const std::string& name : names) {
      FileDescriptor file = TRY(open_file(directory_.path() + "/" + name, O_RDONLY));
      tar::Entry entry;
      entry.path = name;
      entry.mode = 0644;
      const off_t size = ::lseek(file.get(), 0, SEEK_END);
      if (size < 0 || ::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno("reading \"" + name + "\"");
      entry.size = static_cast<std::uint64_t>(size);
      auto content = make_fd_source(std::move(file));
      TRY(writer.add(entry, content.get()));
    }
    TRY(writer.finish());
    return out.close_checked();
  }

  const ArchiveKind kind_;
  const std::string file_, name_;
  TempDir directory_;
  std::unique_ptr<ImageDestination> layout_;
  std::mutex mutex_;
  std::set<Digest> blobs_;
};

}  // namespace

Result<std::unique_ptr<ImageSource>> open_archive_source(const CopyContext& context, const std::string& rest) {
  const auto [path, name] = split_path_and_name(rest);
  TempDir directory = TRY(TempDir::create(context.store.content().directory() + "/ingest", "archive-"));
  auto source = std::make_unique<ArchiveSource>(std::move(directory), name);
  TRY(source->stage(path, context.stop));
  return source;
}

Result<std::unique_ptr<ImageDestination>> open_archive_destination(const CopyContext&, ArchiveKind kind,
                                                                   const std::string& rest) {
  const auto [path, name] = split_path_and_name(rest);
  if (::access(path.c_str(), F_OK) == 0)
    return fail(ErrorCode::invalid_argument, "\"" + path + "\" exists; an archive is not added to");
  // In docker-archive the name is a reference, and whole in the layout, too.
  std::string label = name;
  if (kind == ArchiveKind::docker && !name.empty()) label = TRY(Reference::parse(name)).canonical();
  const auto slash = path.rfind('/');
  TempDir directory = TRY(TempDir::create(slash == std::string::npos ? "." : path.substr(0, slash + 1), ".dray-copy-"));
  auto layout = TRY(open_layout_destination(directory.path() + (label.empty() ? "" : ":" + label)));
  return std::make_unique<ArchiveDestination>(kind, path, name, std::move(directory), std::move(layout));
}

}  // namespace dray::registry
