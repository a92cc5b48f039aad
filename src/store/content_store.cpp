// SPDX-License-Identifier: Apache-2.0
// Blobs by digest. The directory is the state: a file under blobs/ is complete and was verified, because it
// got there by a rename after hashing and fsync. That a name itself is on the disk is made sure once an image
// (sync_blob_names), not once a blob: until the image's record exists nobody misses a blob.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dray/image/image.hpp>
#include <dray/store/content_store.hpp>

#include "content_paths.hpp"

namespace dray::store {
namespace {

constexpr std::size_t kWriteBuffer = 256 * 1024;
constexpr std::string_view kAlgorithms[] = {"sha256", "sha512"};

Result<void> rename_into_place(const std::string& directory, const std::string& from, const Digest& digest) {
  std::string target = blob_path(directory, digest);
  if (::rename(from.c_str(), target.c_str()) == 0) return {};
  if (errno != ENOENT) return fail_errno("renaming to \"" + target + "\"");
  TRY(make_directories(directory + "/blobs/" + digest.algorithm(), 0700));
  if (::rename(from.c_str(), target.c_str()) != 0) return fail_errno("renaming to \"" + target + "\"");
  return {};
}

Result<Digest> hash_file(const std::string& path, const std::string& algorithm) {
  auto source = make_fd_source(TRY(open_file(path, O_RDONLY)));
  HashingSource hashed(*source, algorithm);
  TRY(drain(hashed));
  return hashed.finish();
}

Failure mismatch(const Digest& expected, const Digest& actual) {
  return fail(ErrorCode::corrupt, "content has digest " + actual.to_string() + ", expected " + expected.to_string());
}

}  // namespace

struct BlobWriter::State {
  std::string directory;  ///< of the content store
  std::string path;
  FileDescriptor file;
  std::string algorithm;
  Hasher hasher;
  std::string buffer;
  std::uint64_t size = 0;
  WriteBehind write_behind;

  explicit State(std::string_view hash) : algorithm(hash), hasher(hash) {}
  ~State() {
    if (!path.empty()) ::unlink(path.c_str());
  }
  Result<void> flush() {
    TRY_CTX(write_all(file, buffer), "writing a blob");
    write_behind.wrote(file, buffer.size());
    buffer.clear();
    return {};
  }
  Result<void> place(const Digest& digest) {
    if (::access(blob_path(directory, digest).c_str(), F_OK) == 0) return {};  // the destructor discards ours
    if (::fsync(file.get()) != 0) return fail_errno("syncing blob " + digest.to_string());
    TRY(file.close_checked());
    TRY(rename_into_place(directory, path, digest));
    path.clear();
    return {};
  }
};

BlobWriter::BlobWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlobWriter::BlobWriter(BlobWriter&&) noexcept = default;
BlobWriter::~BlobWriter() = default;
std::uint64_t BlobWriter::size() const { return state_->size; }

Result<void> BlobWriter::write(std::span<const std::byte> bytes) {
  State& state = *state_;
  state.hasher.update(bytes);
  state.size += bytes.size();
  if (state.buffer.size() + bytes.size() > kWriteBuffer) TRY(state.flush());
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() < kWriteBuffer) {
    state.buffer += text;
    return {};
  }
  TRY_CTX(write_all(state.file, text), "writing a blob");
  return {};
}

Result<void> BlobWriter::commit(const Digest& expected, std::uint64_t expected_size) {
  State& state = *state_;
  if (expected_size != 0 && expected_size != state.size)
    return fail(ErrorCode::corrupt, "blob " + expected.to_string() + " has " + std::to_string(state.size) +
                                        " bytes, expected " + std::to_string(expected_size));
  TRY(state.flush());
  Digest actual = state.hasher.finish();
  if (expected.algorithm() != state.algorithm) actual = TRY(hash_file(state.path, expected.algorithm()));
  if (actual != expected) return mismatch(expected, actual);
  return state.place(expected);
}

Result<Digest> BlobWriter::commit() {
  TRY(state_->flush());
  Digest digest = state_->hasher.finish();
  TRY(state_->place(digest));
  return digest;
}

Result<ContentStore> ContentStore::open(const std::string& directory) {
  ContentStore store;
  store.directory_ = directory;
  // oci-layout is written last: where it is, the rest is.
  if (::access((directory + "/oci-layout").c_str(), F_OK) == 0) return store;
  TRY(make_directories(directory + "/blobs/sha256", 0700));
  TRY(make_directories(ingest_path(directory), 0700));
  if (::access((directory + "/index.json").c_str(), F_OK) != 0) {
    image::Index empty;
    empty.media_type = image::kOciIndex;
    TRY(write_file_atomically(directory + "/index.json", image::serialize(empty), 0644, Durability::none));
  }
  TRY(write_file_atomically(directory + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644, Durability::none));
  return store;
}

bool ContentStore::contains(const Digest& digest) const {
  return !digest.empty() && ::access(blob_path(directory_, digest).c_str(), F_OK) == 0;
}

Result<std::uint64_t> ContentStore::size(const Digest& digest) const {
  struct stat status;
  if (digest.empty() || ::stat(blob_path(directory_, digest).c_str(), &status) != 0) {
    if (digest.empty() || errno == ENOENT)
      return fail(ErrorCode::not_found, "blob " + digest.to_string() + " is not in the store");
    return fail_errno("reading the size of blob " + digest.to_string());
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<FileDescriptor> ContentStore::open_blob(const Digest& digest) const {
  if (digest.empty()) return fail(ErrorCode::not_found, "blob without a digest");
  auto fd = open_file(blob_path(directory_, digest), O_RDONLY);
  if (!fd && fd.error().error_number() == ENOENT)
    return fail(ErrorCode::not_found, "blob " + digest.to_string() + " is not in the store");
  return fd;
}

Result<std::string> ContentStore::read_blob(const Digest& digest) const {
  FileDescriptor fd = TRY(open_blob(digest));
  std::string bytes = TRY_CTX(read_all(fd, image::kMaxManifestSize), "blob " + digest.to_string());
  Hasher hasher(digest.algorithm());
  hasher.update(bytes);
  Digest actual = hasher.finish();
  if (actual != digest)
    return Failure(mismatch(digest, actual)
                       .error()
                       .with_context("blob in the store is damaged")
                       .with_hint("remove the image and pull it again"));
  return bytes;
}

Result<BlobWriter> ContentStore::begin_write(std::string_view algorithm) const {
  auto state = std::make_unique<BlobWriter::State>(algorithm);
  state->directory = directory_;
  std::string path = ingest_path(directory_) + "/blob-" + random_hex(12);
  state->file = TRY(open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  state->path = std::move(path);
  return BlobWriter(std::move(state));
}

Result<Digest> ContentStore::write_blob(std::string_view bytes) const {
  Digest digest = Digest::of(bytes);
  if (contains(digest)) return digest;
  BlobWriter writer = TRY(begin_write());
  TRY(writer.write(std::as_bytes(std::span(bytes))));
  return writer.commit();
}

Result<void> ContentStore::write_blob(std::string_view bytes, const Digest& expected) const {
  if (contains(expected)) return {};
  BlobWriter writer = TRY(begin_write(expected.algorithm()));
  TRY(writer.write(std::as_bytes(std::span(bytes))));
  return writer.commit(expected, bytes.size());
}

Result<void> ContentStore::remove(const Digest& digest) const {
  if (digest.empty()) return {};
  if (::unlink(blob_path(directory_, digest).c_str()) != 0 && errno != ENOENT)
    return fail_errno("removing blob " + digest.to_string());
  return {};
}

Result<std::vector<Digest>> ContentStore::list() const {
  std::vector<Digest> digests;
  for (std::string_view algorithm : kAlgorithms) {
    const auto names = list_directory(directory_ + "/blobs/" + std::string(algorithm));
    if (!names && names.error().error_number() == ENOENT) continue;
    if (!names) return Failure(names.error());
    for (const auto& name : *names) {
      auto digest = Digest::parse(std::string(algorithm) + ":" + name);
      if (digest) digests.push_back(*digest);
    }
  }
  return digests;
}

Result<void> adopt_blob(const std::string& content_directory, const std::string& file, const Digest& digest) {
  FileDescriptor fd = TRY(open_file(file, O_RDONLY));
  if (::fsync(fd.get()) != 0) return fail_errno("syncing blob " + digest.to_string());
  return rename_into_place(content_directory, file, digest);
}

Result<void> sync_blob_names(const std::string& content_directory) {
  for (std::string_view algorithm : kAlgorithms) {
    std::string path = content_directory + "/blobs/" + std::string(algorithm);
    auto directory = open_file(path, O_RDONLY | O_DIRECTORY);
    if (!directory && directory.error().error_number() == ENOENT) continue;
    if (!directory) return Failure(std::move(directory).error());
    if (::fsync(directory->get()) != 0) return fail_errno("syncing \"" + path + "\"");
  }
  return {};
}

Result<std::uint64_t> remove_ingest_leftovers(const std::string& content_directory) {
  std::uint64_t count = 0;
  FileDescriptor directory = TRY(open_file(ingest_path(content_directory), O_RDONLY | O_DIRECTORY));
  for (const auto& name : TRY(list_directory(ingest_path(content_directory)))) {
    TRY(remove_tree(directory, name));
    ++count;
  }
  return count;
}

}  // namespace dray::store
