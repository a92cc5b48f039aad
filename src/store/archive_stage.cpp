// SPDX-License-Identifier: Apache-2.0
// An archive comes through a pipe and its table of contents (manifest.json, index.json) may be anywhere in
// it, so all its files are put aside first. They lie in the ingest directory, on the file system of the
// blobs: those that turn out to be blobs of an image are renamed, not copied.
#include "archive_stage.hpp"

#include <fcntl.h>

#include <dray/core/rooted_path.hpp>
#include <dray/image/image.hpp>
#include <dray/image/layout.hpp>

namespace dray::store {
namespace {

constexpr std::size_t kMaxFiles = 100'000;
constexpr int kMaxLinks = 16;
constexpr std::size_t kBufferSize = 256 * 1024;

std::string key_of(const std::string& name) { return clean_path("/" + name).substr(1); }

/// "blobs/sha256/<hex>" promises a digest.
std::optional<Digest> promised_digest(const std::string& name) {
  if (!name.starts_with("blobs/")) return std::nullopt;
  auto slash = name.find('/', 6);
  if (slash == std::string::npos) return std::nullopt;
  auto digest = Digest::parse(name.substr(6, slash - 6) + ":" + name.substr(slash + 1));
  if (!digest) return std::nullopt;
  return *digest;
}

/// A file that will be synced.
class BlobSink : public ByteSink {
 public:
  explicit BlobSink(FdRef file) : file_(file), sink_(make_fd_sink(file)) {}
  Result<void> write(std::span<const std::byte> bytes) override {
    TRY(sink_->write(bytes));
    write_behind_.wrote(file_, bytes.size());
    return {};
  }

 private:
  FdRef file_;
  std::unique_ptr<ByteSink> sink_;
  WriteBehind write_behind_;
};

/// What is read goes to a sink, too.
class CopyingSource : public ByteSource {
 public:
  CopyingSource(ByteSource& inner, ByteSink& copy) : inner_(inner), copy_(copy) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    const std::size_t count = TRY(inner_.read(buffer));
    TRY(copy_.write(buffer.first(count)));
    return count;
  }

 private:
  ByteSource& inner_;
  ByteSink& copy_;
};

}  // namespace

Result<ArchiveStage> ArchiveStage::create(const std::string& parent, Snapshotter& snapshots) {
  return ArchiveStage(TRY(TempDir::create(parent, "load-")), snapshots);
}

Result<void> ArchiveStage::read(ByteSource& archive, const CancelToken& cancel) {
  CancellableSource cancellable(archive, cancel);
  auto uncompressed = make_decompressing_source(cancellable);
  tar::Reader reader(*uncompressed);
  for (;;) {
    auto entry = reader.next();
    if (!entry) {
      if (files_.empty() && entry.error().code() == ErrorCode::corrupt)
        return fail(ErrorCode::corrupt, "not an image archive: " + entry.error().message());
      return Failure(std::move(entry).error());
    }
    if (!*entry) break;
    const tar::Entry& member = **entry;
    if (count_ + links_.size() > kMaxFiles)
      return fail(ErrorCode::corrupt, "the archive has too many files for an image archive");
    const std::string name = key_of(member.path);
    if (member.type == tar::EntryType::symlink) {
      links_[name] = key_of(join_path("/" + split_path(name).first, member.link_target));
    } else if (member.type == tar::EntryType::hardlink) {
      links_[name] = key_of(member.link_target);
    } else if (member.type == tar::EntryType::regular) {
      TRY_CTX(stage(name, reader), "\"" + name + "\" of the archive");
    }
  }
  TRY(drain(cancellable));
  return {};
}

Result<void> ArchiveStage::stage(const std::string& name, tar::Reader& reader) {
  std::vector<std::byte> first(kBufferSize);
  std::size_t used = 0;
  while (used < first.size()) {
    std::size_t count = TRY(reader.read(std::span(first).subspan(used)));
    if (count == 0) break;
    used += count;
  }
  first.resize(used);
  StagedFile staged;
  staged.compression = detect_compression(first);
  staged.file = directory_.path() + "/" + std::to_string(count_++);
  FileDescriptor file = TRY(open_file(staged.file, O_WRONLY | O_CREAT | O_EXCL, 0600));
  BlobSink sink(file);
  PrependedSource source(std::move(first), reader);
  auto promised = promised_digest(name);
  bool keep = promised || staged.compression == Compression::gzip || staged.compression == Compression::zstd ||
              !name.ends_with(".tar");
  if (keep) {
    HashingSource hashed(source, promised ? promised->algorithm() : "sha256");
    staged.size = TRY(copy(hashed, sink));
    staged.digest = hashed.finish();
    if (promised && staged.digest != *promised)
      return fail(ErrorCode::corrupt, "content has digest " + staged.digest.to_string());
  } else {
    TRY(stage_layer(source, sink, staged));
  }
  TRY(file.close_checked());
  links_.erase(name);
  // The last one of a name wins.
  if (const auto former = files_.find(name); former != files_.end()) (void)::unlink(former->second.file.c_str());
  files_.insert_or_assign(name, std::move(staged));
  return {};
}

/// A layer of the old format, as it is (or in a compression that registries do not take): one pass over its bytes
/// hashes them, compresses them for the blob and extracts the files.
Result<void> ArchiveStage::stage_layer(ByteSource& source, ByteSink& file, StagedFile& staged) {
  auto plain = make_decompressing_source(source);
  HashingSource uncompressed(*plain);
  HashingSink compressed(file);
  auto gzip = make_gzip_sink(compressed);
  PipelinedSink packing(*gzip);
  CopyingSource tar(uncompressed, packing);
  // No layer, or a damaged one: whoever wants it as a layer learns that when it is unpacked.
  if (auto extracted = SnapshotterAccess::extract(*snapshots_, tar))
    staged.extracted = std::make_shared<std::optional<ExtractedLayer>>(*std::move(extracted));
  TRY(drain(tar));
  TRY(packing.finish());
  staged.size = compressed.size();
  staged.digest = compressed.digest();
  staged.diff_id = DiffId{uncompressed.finish()};
  staged.compression = Compression::gzip;
  return {};
}

const StagedFile* ArchiveStage::find(const std::string& name) const {
  std::string key = key_of(name);
  for (int links = 0; links < kMaxLinks; ++links) {
    if (auto file = files_.find(key); file != files_.end()) return &file->second;
    auto link = links_.find(key);
    if (link == links_.end()) return nullptr;
    key = link->second;
  }
  return nullptr;
}

const StagedFile* ArchiveStage::find_blob(const Digest& digest) const { return find(image::blob_path(digest)); }

Result<std::string> ArchiveStage::read_document(const std::string& name) const {
  const StagedFile* file = find(name);
  if (file == nullptr) return fail(ErrorCode::not_found, "the archive has no \"" + name + "\"");
  return TRY_CTX(read_file(file->file, image::kMaxManifestSize), "\"" + name + "\" of the archive");
}

}  // namespace dray::store
