// SPDX-License-Identifier: Apache-2.0
// What a build made, as files. Several platforms get a directory each ("linux_arm64"); attestations are files beside
// the root's, with BuildKit's names.
#include "export/files.hpp"

#include <fcntl.h>

#include "export/archive.hpp"
#include "export/tree.hpp"

namespace dray::builder {
namespace {

using Put = std::function<Result<void>(const tar::Entry& entry, FdRef file, const std::string* text)>;

std::string platform_directory(const image::Platform& platform) {
  std::string name = platform.os + "_" + platform.architecture;
  if (!platform.variant.empty()) name += "_" + platform.variant;
  return name;
}

Result<void> put_image(const ExportRequest& request, const OutputOptions& output, const BuiltImage& image,
                       const std::string& prefix, const Put& put, std::map<std::string, std::string>& owners,
                       const CancelToken& cancel) {
  const bool merged = prefix.empty() && request.images.size() > 1;
  const auto put_entry = [&](tar::Entry& entry, FdRef file, const std::string* text) -> Result<void> {
    if (merged && entry.type != tar::EntryType::directory) {
      const auto [other, is_new] = owners.emplace(entry.path, image.platform.to_string());
      if (!is_new)
        return fail(ErrorCode::already_exists, "\"/" + entry.path + "\" is in the results for " + other->second +
                                                   " and " + other->first + ": leave platform-split=false out");
    }
    if (request.epoch) {
      entry.mtime_seconds = *request.epoch;
      entry.mtime_nanoseconds = 0;
    }
    entry.path = prefix + entry.path;
    if (entry.path.ends_with('/')) entry.path.pop_back();  // the platform's directory itself
    if (entry.type == tar::EntryType::hardlink) entry.link_target = prefix + entry.link_target;
    return put(entry, file, text);
  };
  if (!prefix.empty()) {
    tar::Entry top;
    top.type = tar::EntryType::directory;
    top.mode = 0755;
    TRY(put_entry(top, FdRef(), nullptr));
  }
  if (const std::vector<DiffId> layers = image.rootfs(); !layers.empty()) {
    const store::MountRecipe recipe = TRY(request.store.snapshots().view(layers));
    const FileDescriptor root = TRY(store::open_mount(recipe));
    TRY(walk_tree(root, [&](tar::Entry& entry, FdRef file) { return put_entry(entry, file, nullptr); }, cancel));
  }
  for (const Attestation& attestation : image.attestations) {
    const std::string statement = attestation.predicate;
    tar::Entry entry;
    entry.path = output.attestation_prefix + attestation.file_name;
    entry.mode = 0644;
    entry.size = statement.size();
    TRY(put_entry(entry, FdRef(), &statement));
  }
  return {};
}

Result<void> put_images(const ExportRequest& request, const OutputOptions& output, const Put& put,
                        const CancelToken& cancel) {
  const bool split = output.platform_split.value_or(request.images.size() > 1);
  std::map<std::string, std::string> owners;
  for (const BuiltImage& image : request.images) {
    std::string prefix = split ? platform_directory(image.platform) + "/" : "";
    TRY(put_image(request, output, image, prefix, put, owners, cancel));
  }
  return {};
}

}  // namespace

Result<void> export_directory(const ExportRequest& request, const OutputOptions& output, ProgressSink& progress,
                              const CancelToken& cancel) {
  TRY(make_directories(output.dest));
  const FileDescriptor dest = TRY(open_file(output.dest, O_RDONLY | O_DIRECTORY));
  TreeWriter writer(dest);
  const Put put = [&](const tar::Entry& entry, FdRef file, const std::string* text) -> Result<void> {
    if (text == nullptr) return writer.place(entry, file, cancel);
    TempDir directory = TRY(TempDir::create(request.store.root() + "/tmp", "output-"));
    TRY(write_file_atomically(directory.path() + "/file", *text, 0600, Durability::none));
    const FileDescriptor written = TRY(open_file(directory.path() + "/file", O_RDONLY));
    return writer.place(entry, written, cancel);
  };
  TRY(put_images(request, output, put, cancel));
  if (const auto& skipped = writer.skipped(); !skipped.empty())
    progress.report({.kind = ProgressEvent::Kind::message,
                     .text = "WARN: devices are not written to a directory: " + std::to_string(skipped.size()) +
                             " left out (\"/" + *skipped.begin() + "\"" + (skipped.size() > 1 ? ", ..." : "") +
                             "); type=tar holds them"});
  if (output.delete_others) TRY(writer.remove_others());
  return writer.finish();
}

Result<void> export_tar(const ExportRequest& request, const OutputOptions& output, const CancelToken& cancel) {
  OutputFile file = TRY(create_output(output.dest));
  tar::Writer writer(file.sink());
  const Put put = [&](const tar::Entry& entry, FdRef content, const std::string* text) -> Result<void> {
    auto source = text != nullptr ? make_memory_source(*text) : content.valid() ? make_fd_source(content) : nullptr;
    return writer.add(entry, source.get());
  };
  TRY(put_images(request, output, put, cancel));
  TRY(writer.finish());
  return file.commit();
}

}  // namespace dray::builder
