// SPDX-License-Identifier: Apache-2.0
// Archives name their members in any order, and layers may come before what describes them. So a first pass spools the members into a
// temporary folder under flat names of our own (member names are only ever keys of a map); the second pass verifies and records.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>
#include <dray/core/tar.hpp>
#include <dray/store/store.hpp>

#include "archive_json.hpp"

namespace dray::store {
namespace {

constexpr std::size_t kMaxMembers = 100000;

/// The members of an archive, spooled.
class Members {
 public:
  static Result<Members> spool(ByteSource& source, const std::string& parent, const CancelToken& cancel) {
    TempDir folder = TRY(TempDir::create(parent, "load-"));
    Members members(std::move(folder));
    auto plain = make_decompressing_source(source);
    tar::Reader reader(*plain);
    std::vector<std::byte> buffer(256 * 1024);
    for (;;) {
      if (cancel.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
      std::optional<tar::Entry> entry = TRY_CTX(reader.next(), "reading the archive");
      if (!entry) break;
      if (members.files_.size() > kMaxMembers) return fail(ErrorCode::corrupt, "the archive has too many members");
      std::string name = clean_path(entry->path);
      if (entry->type == tar::EntryType::symlink) {
        // Old docker archives share a layer by a link "../<id>/layer.tar"; it only ever names another member.
        members.links_[name] = clean_path(split_path(name).first + "/" + entry->link_target);
      } else if (entry->type == tar::EntryType::hardlink) {
        members.links_[name] = clean_path(entry->link_target);
      } else if (entry->type == tar::EntryType::regular) {
        std::string path = members.folder_.path() + "/" + std::to_string(members.files_.size());
        FileDescriptor fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
        for (;;) {
          if (cancel.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
          std::size_t count = TRY_CTX(reader.read(buffer), "reading the archive");
          if (count == 0) break;
          TRY(write_all(fd, {reinterpret_cast<const char*>(buffer.data()), count}));
        }
        members.files_[name] = path;
      }
    }
    return members;
  }

  bool contains(const std::string& name) const { return find(name) != nullptr; }

  Result<FileDescriptor> open(const std::string& name) const {
    const std::string* path = find(name);
    if (path == nullptr) return fail(ErrorCode::corrupt, "the archive lacks its member \"" + name.substr(0, 300) + "\"");
    return open_file(*path, O_RDONLY);
  }

  Result<std::string> read(const std::string& name) const {
    FileDescriptor fd = TRY(open(name));
    return TRY_CTX(read_all(fd, image::kMaxManifestSize), "member \"" + name + "\"");
  }

 private:
  explicit Members(TempDir folder) : folder_(std::move(folder)) {}
  const std::string* find(const std::string& name) const {
    std::string key = clean_path(name);
    for (int hops = 0; hops < 8; ++hops) {
      auto file = files_.find(key);
      if (file != files_.end()) return &file->second;
      auto link = links_.find(key);
      if (link == links_.end()) return nullptr;
      key = link->second;
    }
    return nullptr;
  }

  TempDir folder_;
  std::map<std::string, std::string> files_, links_;
};

std::string blob_member(const Digest& digest) { return "blobs/" + digest.algorithm() + "/" + digest.hex(); }

class Loader {
 public:
  Loader(Store& store, const Members& members, ProgressSink& progress, const CancelToken& cancel)
      : store_(store), members_(members), progress_(progress), cancel_(cancel) {}

  Result<std::vector<std::string>> run() {
    // manifest.json first: it has the names as Docker means them. An archive with both says the same in both.
    if (members_.contains("manifest.json")) {
      TRY(docker_form());
    } else if (members_.contains("index.json")) {
      TRY(oci_form(TRY_CTX(image::parse_index(TRY(members_.read("index.json"))), "index.json"), 0, ""));
    } else {
      return fail(ErrorCode::corrupt, "not an image archive: it has neither manifest.json nor index.json");
    }
    if (records_.empty()) return fail(ErrorCode::not_found, "the archive holds no image for " + image::Platform::host().to_string());
    std::vector<std::string> lines;
    for (const ImageRecord& record : records_) {
      TRY(store_.put_image(record));
      lines.push_back(record.reference.empty() ? "Loaded image ID: " + record.image_id.to_string() : "Loaded image: " + TRY(Reference::parse(record.reference)).familiar());
    }
    return lines;
  }

 private:
  Result<void> docker_form() {
    // The OCI side of the archive, if it has one, has the manifest with its original bytes.
    std::map<std::string, image::Descriptor> manifest_of_config;
    if (members_.contains("index.json")) {
      auto index = image::parse_index(TRY(members_.read("index.json")));
      if (index) {
        for (const auto& entry : index->manifests) {
          if (!members_.contains(blob_member(entry.digest))) continue;
          auto manifest = image::parse_manifest(TRY(members_.read(blob_member(entry.digest))));
          if (manifest) manifest_of_config[manifest->config.digest.to_string()] = entry;
        }
      }
    }
    for (const ArchiveImage& entry : TRY(parse_archive_manifest(TRY(members_.read("manifest.json"))))) {
      std::string config_bytes = TRY(members_.read(entry.config));
      auto known = manifest_of_config.find(Digest::of(config_bytes).to_string());
      ImageRecord record;
      if (known != manifest_of_config.end()) {
        record = TRY(load_manifest(known->second));
      } else {
        record = TRY(synthesize(entry, config_bytes));
      }
      if (entry.repo_tags.empty()) records_.push_back(record);
      for (const std::string& tag : entry.repo_tags) {
        record.reference = TRY_CTX(Reference::parse(tag), "manifest.json").canonical();
        records_.push_back(record);
      }
    }
    return {};
  }

  Result<void> oci_form(const image::Index& index, int depth, const std::string& inherited_name) {
    if (depth > 4) return fail(ErrorCode::corrupt, "indexes nested too deeply");
    for (const image::Descriptor& entry : index.manifests) {
      std::string name = inherited_name;
      for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
        auto found = entry.annotations.find(key);
        // ref.name may be a bare tag, which names no image.
        if (name.empty() && found != entry.annotations.end() && (key[0] == 'i' || found->second.find_first_of("/:") != std::string::npos)) name = found->second;
      }
      if (entry.platform && (entry.platform->os == "unknown" || (depth > 0 && !entry.platform->matches(image::Platform::host())))) continue;
      std::string bytes = TRY(members_.read(blob_member(entry.digest)));
      if (Digest::of(bytes) != entry.digest) return fail(ErrorCode::corrupt, "member " + blob_member(entry.digest) + " does not match its digest");
      if (image::is_index(bytes, entry.media_type)) {
        TRY(oci_form(TRY(image::parse_index(bytes)), depth + 1, name));
        continue;
      }
      ImageRecord record = TRY(load_manifest(entry));
      if (!name.empty()) {
        auto reference = Reference::parse(name);
        if (reference) record.reference = reference->canonical();
      }
      records_.push_back(std::move(record));
    }
    return {};
  }

  /// An image whose manifest is in the archive.
  Result<ImageRecord> load_manifest(const image::Descriptor& descriptor) {
    std::string manifest_bytes = TRY(members_.read(blob_member(descriptor.digest)));
    if (Digest::of(manifest_bytes) != descriptor.digest) return fail(ErrorCode::corrupt, "the manifest does not match its digest " + descriptor.digest.to_string());
    image::Manifest manifest = TRY(image::parse_manifest(manifest_bytes));
    std::string config_bytes = TRY(members_.read(blob_member(manifest.config.digest)));
    if (Digest::of(config_bytes) != manifest.config.digest) return fail(ErrorCode::corrupt, "the config does not match its digest " + manifest.config.digest.to_string());
    image::ImageConfig config = TRY(image::parse_config(config_bytes));
    if (config.diff_ids.size() != manifest.layers.size()) return fail(ErrorCode::corrupt, "manifest and config disagree on the number of layers");
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      const image::Descriptor& layer = manifest.layers[i];
      TRY(report_layer(layer.digest));
      if (store_.content().contains(layer.digest) && store_.snapshots().contains(config.diff_ids[i])) continue;
      auto source = make_fd_source(TRY(members_.open(blob_member(layer.digest))));
      BlobWriter writer = TRY(store_.content().begin_write(layer.digest.algorithm()));
      TRY(copy_checked(*source, writer));
      TRY(writer.commit(layer.digest, layer.size));
      auto blob = make_fd_source(TRY(store_.content().open_blob(layer.digest)));
      TRY(store_.snapshots().unpack(*blob, config.diff_ids[i]));
    }
    return record_of(manifest_bytes, manifest.media_type, config_bytes);
  }

  /// An image of docker's old form: layers are plain tars, there is no manifest. The layers are packed, so that the image can be
  /// pushed, and a manifest is made.
  Result<ImageRecord> synthesize(const ArchiveImage& entry, const std::string& config_bytes) {
    image::ImageConfig config = TRY(image::parse_config(config_bytes));
    if (config.diff_ids.size() != entry.layers.size()) return fail(ErrorCode::corrupt, "manifest.json and the config disagree on the number of layers");
    image::Manifest manifest;
    manifest.media_type = image::kOciManifest;
    manifest.config.media_type = image::kOciConfig;
    manifest.config.digest = Digest::of(config_bytes);
    manifest.config.size = config_bytes.size();
    for (std::size_t i = 0; i < entry.layers.size(); ++i) {
      TRY(report_layer(config.diff_ids[i].digest));
      auto raw = make_fd_source(TRY(members_.open(entry.layers[i])));
      auto plain = make_decompressing_source(*raw);
      HashingSource tar(*plain);
      BlobWriter writer = TRY(store_.content().begin_write());
      auto gzip = make_gzip_sink(writer);
      TRY(copy_checked(tar, *gzip));
      TRY(gzip->finish());
      // Checked before the blob gets its name.
      if (Digest actual = tar.finish(); actual != config.diff_ids[i].digest)
        return fail(ErrorCode::corrupt, "layer \"" + entry.layers[i].substr(0, 300) + "\" has the diffID " + actual.to_string() + ", expected " + config.diff_ids[i].digest.to_string());
      image::Descriptor layer;
      layer.media_type = image::kOciLayerGzip;
      layer.size = writer.size();
      layer.digest = TRY(writer.commit());
      auto blob = make_fd_source(TRY(store_.content().open_blob(layer.digest)));
      TRY(store_.snapshots().unpack(*blob, config.diff_ids[i]));
      manifest.layers.push_back(std::move(layer));
    }
    return record_of(image::serialize(manifest), manifest.media_type, config_bytes);
  }

  Result<ImageRecord> record_of(const std::string& manifest_bytes, const std::string& media_type, const std::string& config_bytes) {
    ImageRecord record;
    record.manifest = TRY(store_.content().write_blob(manifest_bytes));
    record.image_id = TRY(store_.content().write_blob(config_bytes));
    record.media_type = media_type;
    return record;
  }

  Result<void> copy_checked(ByteSource& source, ByteSink& sink) {
    std::vector<std::byte> buffer(256 * 1024);
    for (;;) {
      if (cancel_.cancelled()) return fail(ErrorCode::cancelled, "cancelled");
      std::size_t count = TRY(source.read(buffer));
      if (count == 0) return {};
      TRY(sink.write(std::span<const std::byte>(buffer).first(count)));
    }
  }

  Result<void> report_layer(const Digest& digest) {
    ProgressEvent event;
    event.kind = ProgressEvent::Kind::status;
    event.id = ++layer_count_;
    event.name = digest.short_hex();
    event.text = "Loading layer";
    progress_.report(event);
    return {};
  }

  Store& store_;
  const Members& members_;
  ProgressSink& progress_;
  const CancelToken& cancel_;
  std::vector<ImageRecord> records_;
  int layer_count_ = 0;
};

}  // namespace

Result<std::vector<std::string>> load_archive(Store& store, ByteSource& source, ProgressSink& progress, const CancelToken& cancel) {
  Store::Lease lease = TRY(store.lease());
  Members members = TRY(Members::spool(source, store.root() + "/tmp", cancel));
  return Loader(store, members, progress, cancel).run();
}

}  // namespace dray::store
