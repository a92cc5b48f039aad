// SPDX-License-Identifier: Apache-2.0
// An archive that is both: an OCI image layout (oci-layout, index.json, blobs/) and `docker save`
// (manifest.json, whose paths point into blobs/). Entries in a fixed order and without times: one set of
// images gives one archive.
#include <dray/core/tar.hpp>
#include <dray/image/layout.hpp>
#include <dray/store/store.hpp>

#include "archive_json.hpp"

namespace dray::store {
namespace {

struct Name {
  Reference reference;
  std::optional<image::Descriptor> index;  ///< what it means where that is more than one manifest
  std::optional<image::MadeIndex> made;    ///< `index`, where the store does not have it
  std::vector<image::Descriptor> entries;  ///< of `made`
};
struct Selected {
  LoadedImage image;
  std::vector<Name> names;
};

Result<void> add_directory(tar::Writer& writer, const std::string& path) {
  tar::Entry entry;
  entry.path = path;
  entry.type = tar::EntryType::directory;
  entry.mode = 0755;
  return writer.add(entry, nullptr);
}

Result<void> add_text(tar::Writer& writer, const std::string& path, const std::string& text) {
  tar::Entry entry;
  entry.path = path;
  entry.mode = 0644;
  entry.size = text.size();
  auto source = make_memory_source(text);
  return writer.add(entry, source.get());
}

/// Verified while copied: a damaged store must not spread.
Result<void> add_blob(tar::Writer& writer, Store& store, const Digest& digest, const CancelToken& cancel) {
  tar::Entry entry;
  entry.path = image::blob_path(digest);
  entry.mode = 0644;
  entry.size = TRY(store.content().size(digest));
  auto file = make_fd_source(TRY(store.content().open_blob(digest)));
  CancellableSource cancellable(*file, cancel);
  HashingSource source(cancellable, digest.algorithm());
  TRY_CTX(writer.add(entry, &source), "blob " + digest.to_string());
  Digest actual = source.finish();
  if (actual != digest)
    return fail(ErrorCode::corrupt, "blob " + digest.to_string() + " in the store is damaged (its bytes have digest " +
                                        actual.to_string() + "); remove the image and pull it again");
  return {};
}

/// The images of `platforms` among what the record's name means.
Result<std::vector<image::Descriptor>> platform_entries(Store& store, const ImageRecord& record,
                                                        const std::optional<image::Descriptor>& whole,
                                                        const std::vector<image::Platform>& platforms) {
  image::Index index;
  if (whole) {
    index = TRY(image::parse_index(TRY(store.content().read_blob(whole->digest))));
  } else {
    image::Descriptor only;
    only.digest = record.manifest;
    only.media_type = record.media_type;
    only.size = TRY(store.content().size(record.manifest));
    only.platform = TRY(store.load_image(record)).config.platform;
    index.manifests.push_back(std::move(only));
  }
  std::vector<image::Descriptor> entries;
  for (const image::Platform& platform : platforms) {
    const image::Descriptor entry = TRY(image::select_platform(index, platform));
    if (std::ranges::find(entries, entry.digest, &image::Descriptor::digest) == entries.end()) entries.push_back(entry);
  }
  return entries;
}

/// What `name` means, narrowed to `platforms`: one manifest, or an index of just those.
Result<void> narrow(Store& store, ImageRecord& record, Name& name, const std::vector<image::Platform>& platforms) {
  std::vector<image::Descriptor> entries = TRY(platform_entries(store, record, name.index, platforms));
  const image::Descriptor& first = image::host_or_first(entries);
  record.manifest = first.digest;
  record.media_type = first.media_type;
  name.index.reset();
  if (entries.size() == 1) return {};
  name.made = image::make_index(entries);
  name.index = name.made->descriptor;
  name.entries = std::move(entries);
  return {};
}

Result<std::vector<Selected>> select_images(Store& store, const std::vector<std::string>& names,
                                            const std::vector<image::Platform>& platforms) {
  std::vector<Selected> selected;
  for (const auto& name : names) {
    ImageRecord record = TRY(store.resolve_image(name));
    Name meaning;
    if (!record.reference.empty()) meaning.index = TRY(store.find_image_index(record.reference));
    if (!platforms.empty()) TRY_CTX(narrow(store, record, meaning, platforms), name);
    auto known = std::find_if(selected.begin(), selected.end(),
                              [&](const Selected& s) { return s.image.record.manifest == record.manifest; });
    if (known == selected.end()) {
      Selected next;
      next.image = TRY_CTX(store.load_image(record), name);
      selected.push_back(std::move(next));
      known = std::prev(selected.end());
    }
    // The name is kept if the image was asked for by it; an ID gives an image without one, as Docker does.
    auto asked = Reference::parse(name);
    if (asked && !asked->digest() && asked->canonical() == record.reference &&
        std::ranges::find(known->names, *asked, &Name::reference) == known->names.end()) {
      meaning.reference = *asked;
      known->names.push_back(std::move(meaning));
    }
  }
  return selected;
}

image::Index index_of(const std::vector<Selected>& selected) {
  image::Index index;
  index.media_type = image::kOciIndex;
  for (const Selected& item : selected) {
    image::Descriptor descriptor;
    descriptor.media_type = item.image.manifest.media_type;
    descriptor.digest = item.image.record.manifest;
    descriptor.platform = item.image.config.platform;
    for (const Name& name : item.names) {
      image::Descriptor named = name.index.value_or(descriptor);
      named.annotations["io.containerd.image.name"] = name.reference.canonical();
      named.annotations["org.opencontainers.image.ref.name"] = name.reference.tag();
      index.manifests.push_back(std::move(named));
    }
    if (item.names.empty()) index.manifests.push_back(descriptor);
  }
  return index;
}

}  // namespace

Result<void> save_archive(Store& store, const std::vector<std::string>& names,
                          const std::vector<image::Platform>& platforms, ByteSink& sink, const CancelToken& cancel) {
  auto lease = TRY(store.lease());
  auto selected = TRY(select_images(store, names, platforms));
  if (selected.empty()) return fail(ErrorCode::invalid_argument, "no image to save");
  std::set<Digest> blobs;
  std::map<Digest, std::string> made;  ///< documents that the store does not have
  std::vector<SavedImage> saved;
  for (const Selected& item : selected) {
    SavedImage entry;
    const Digest config = item.image.manifest.config.digest;
    entry.config = image::blob_path(config);
    blobs.insert({item.image.record.manifest, config});
    for (const Name& name : item.names) {
      entry.repo_tags.push_back(name.reference.familiar());
      if (!name.index) continue;
      std::vector<image::Descriptor> documents = name.entries;
      if (name.made) {
        blobs.insert(name.index->digest);
        made.emplace(name.index->digest, name.made->bytes);
      } else {
        documents.push_back(*name.index);
      }
      for (const image::Descriptor& document : documents) {
        const std::vector<Digest> named = TRY(store.referenced_blobs(document));
        blobs.insert(named.begin(), named.end());
      }
    }
    for (const auto& layer : item.image.manifest.layers) {
      const auto there = store.content().size(layer.digest);
      if (!there && there.error().code() == ErrorCode::not_found)
        return fail(ErrorCode::not_found, "layer blob " + layer.digest.to_string() + " of " +
                                              item.image.record.image_id.short_hex() +
                                              " is not in the store; pull the image again");
      if (!there) return Failure(there.error());
      blobs.insert(layer.digest);
      entry.layers.push_back(image::blob_path(layer.digest));
    }
    saved.push_back(std::move(entry));
  }
  image::Index index = index_of(selected);
  for (auto& descriptor : index.manifests)
    if (!made.contains(descriptor.digest)) descriptor.size = TRY(store.content().size(descriptor.digest));

  tar::Writer writer(sink);
  TRY(add_directory(writer, "blobs"));
  std::string algorithm;
  for (const Digest& blob : blobs) {
    if (blob.algorithm() != algorithm) {
      algorithm = blob.algorithm();
      TRY(add_directory(writer, "blobs/" + algorithm));
    }
    if (const auto document = made.find(blob); document != made.end()) {
      TRY(add_text(writer, image::blob_path(blob), document->second));
    } else {
      TRY(add_blob(writer, store, blob, cancel));
    }
  }
  TRY(add_text(writer, "index.json", image::serialize(index)));
  TRY(add_text(writer, "manifest.json", serialize(saved)));
  TRY(add_text(writer, "oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
  return writer.finish();
}

}  // namespace dray::store
