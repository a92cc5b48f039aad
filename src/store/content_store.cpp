// SPDX-License-Identifier: Apache-2.0
// Blobs in an OCI image layout. A blob is written under content/ingest with a random name and gets its own only when digest
// and size are known to be right and the bytes are on disk.
#include <dray/store/content_store.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/image/image.hpp>

namespace dray::store {

struct BlobWriter::State {
  std::string directory, temporary;
  FileDescriptor fd;
  Hasher hasher;
  std::uint64_t size = 0;

  ~State() {
    if (!temporary.empty()) ::unlink(temporary.c_str());
  }

  Result<void> publish(const Digest& digest) {
    std::string target = directory + "/blobs/" + digest.algorithm() + "/" + digest.hex();
    if (digest.algorithm() != "sha256") TRY(make_directories(directory + "/blobs/" + digest.algorithm()));
    if (::fdatasync(fd.get()) != 0) return fail_errno("syncing a blob");
    TRY(fd.close_checked());
    if (::rename(temporary.c_str(), target.c_str()) != 0) return fail_errno("storing blob " + digest.to_string());
    temporary.clear();
    FileDescriptor parent = TRY(open_file(directory + "/blobs/" + digest.algorithm(), O_RDONLY | O_DIRECTORY));
    if (::fsync(parent.get()) != 0) return fail_errno("syncing the blob directory");
    return {};
  }
};

BlobWriter::BlobWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlobWriter::BlobWriter(BlobWriter&&) noexcept = default;
BlobWriter::~BlobWriter() = default;

Result<void> BlobWriter::write(std::span<const std::byte> bytes) {
  state_->hasher.update(bytes);
  state_->size += bytes.size();
  TRY_CTX(write_all(state_->fd, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}), "storing a blob");
  return {};
}

Result<void> BlobWriter::commit(const Digest& expected, std::uint64_t expected_size) {
  Digest actual = state_->hasher.finish();
  if (expected_size != 0 && state_->size != expected_size)
    return fail(ErrorCode::corrupt, "blob " + expected.to_string() + " has " + std::to_string(state_->size) + " bytes, expected " + std::to_string(expected_size));
  if (actual != expected) return fail(ErrorCode::corrupt, "the bytes of blob " + expected.to_string() + " have the digest " + actual.to_string());
  return state_->publish(expected);
}

Result<Digest> BlobWriter::commit() {
  Digest digest = state_->hasher.finish();
  TRY(state_->publish(digest));
  return digest;
}

std::uint64_t BlobWriter::size() const { return state_->size; }

Result<ContentStore> ContentStore::open(const std::string& directory) {
  ContentStore store;
  store.directory_ = directory;
  if (::access((directory + "/oci-layout").c_str(), F_OK) == 0) return store;
  TRY(make_directories(directory + "/blobs/sha256", 0755));
  TRY(make_directories(directory + "/ingest", 0700));
  TRY(write_file_atomically(directory + "/index.json", R"({"schemaVersion":2,"manifests":[]})", 0644, Durability::none));
  // Last: its presence says that the layout is complete.
  TRY(write_file_atomically(directory + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644, Durability::fsync));
  return store;
}

namespace {
std::string blob_path(const std::string& directory, const Digest& digest) {
  return directory + "/blobs/" + digest.algorithm() + "/" + digest.hex();
}
}  // namespace

bool ContentStore::contains(const Digest& digest) const {
  return !digest.empty() && ::access(blob_path(directory_, digest).c_str(), F_OK) == 0;
}

Result<std::uint64_t> ContentStore::size(const Digest& digest) const {
  struct stat status;
  if (::stat(blob_path(directory_, digest).c_str(), &status) != 0) return fail_errno("blob " + digest.to_string());
  return static_cast<std::uint64_t>(status.st_size);
}

Result<FileDescriptor> ContentStore::open_blob(const Digest& digest) const {
  auto fd = open_file(blob_path(directory_, digest), O_RDONLY);
  if (!fd) return Failure(std::move(fd).error().with_context("blob " + digest.to_string()));
  return fd;
}

Result<std::string> ContentStore::read_blob(const Digest& digest) const {
  FileDescriptor fd = TRY(open_blob(digest));
  std::string bytes = TRY_CTX(read_all(fd, image::kMaxManifestSize), "blob " + digest.to_string());
  Hasher hasher(digest.algorithm());
  hasher.update(bytes);
  if (hasher.finish() != digest) return fail(ErrorCode::corrupt, "blob " + digest.to_string() + " is damaged on disk");
  return bytes;
}

Result<BlobWriter> ContentStore::begin_write(std::string_view algorithm) const {
  auto state = std::make_unique<BlobWriter::State>();
  state->directory = directory_;
  std::string temporary = directory_ + "/ingest/" + random_hex(12);
  state->fd = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644));
  state->temporary = std::move(temporary);
  state->hasher = Hasher(algorithm);
  return BlobWriter(std::move(state));
}

Result<Digest> ContentStore::write_blob(std::string_view bytes) const {
  Digest digest = Digest::of(bytes);
  if (contains(digest)) return digest;
  BlobWriter writer = TRY(begin_write());
  TRY(writer.write(std::as_bytes(std::span(bytes))));
  TRY(writer.commit(digest));
  return digest;
}

Result<void> ContentStore::remove(const Digest& digest) const {
  if (::unlink(blob_path(directory_, digest).c_str()) != 0 && errno != ENOENT) return fail_errno("removing blob " + digest.to_string());
  return {};
}

Result<std::vector<Digest>> ContentStore::list() const {
  std::vector<Digest> digests;
  for (std::string algorithm : {"sha256", "sha512"}) {
    DIR* listing = ::opendir((directory_ + "/blobs/" + algorithm).c_str());
    if (listing == nullptr) continue;
    while (dirent* entry = ::readdir(listing)) {
      if (auto digest = Digest::parse(algorithm + ":" + entry->d_name)) digests.push_back(*digest);
    }
    ::closedir(listing);
  }
  return digests;
}

}  // namespace dray::store
