// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/digest.hpp>
#include <dray/core/result.hpp>

// OCI image-spec v1.1 types, with Docker's schema-2 media types accepted on reading. Raw bytes are the truth: manifests
// and configs are kept and hashed as received; these structs are parsed beside them and never re-serialised in their
// place. Plain values; parse_x accept any bytes (size limits are the reader's) and return corrupt with the field's
// name.

namespace dray::image {

inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kOciLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kOciLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view kOciLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Manifests, indexes and configs larger than this are refused (the registries' own limit is 4 MiB).
inline constexpr std::size_t kMaxManifestSize = 8u << 20;

struct Platform {
  std::string os = "linux", architecture, variant, os_version;
  std::string to_string() const;  ///< "linux/arm64/v8"
  static Result<Platform> parse(std::string_view text);
  static Platform host();
  bool operator==(const Platform&) const = default;
  bool matches(const Platform& wanted) const;  ///< os and architecture equal; variant equal where `wanted` names one
};

struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;
  std::optional<Platform> platform;
  std::map<std::string, std::string> annotations;
  std::vector<std::string> urls;
};

struct Manifest {
  std::string media_type;  ///< as given, or guessed from the content where absent
  Descriptor config;
  std::vector<Descriptor> layers;
  std::map<std::string, std::string> annotations;
};

struct Index {
  std::string media_type;
  std::vector<Descriptor> manifests;
};

struct Healthcheck {
  std::vector<std::string> test;
  std::int64_t interval_ns = 0, timeout_ns = 0, start_period_ns = 0, start_interval_ns = 0;
  int retries = 0;
};

/// The "config" object of an image config (config.md §properties), Docker's extensions included.
struct ContainerConfig {
  std::string user;
  std::vector<std::string> exposed_ports;  ///< "5000/tcp", sorted
  std::vector<std::string> env;            ///< "K=V" in order
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> volumes;  ///< sorted
  std::string working_dir;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  std::vector<std::string> shell;
  std::vector<std::string> on_build;
  std::optional<Healthcheck> healthcheck;
  bool args_escaped = false;
};

struct History {
  std::string created, created_by, author, comment;
  bool empty_layer = false;
};

/// An image config (config.md). Image ID = digest of its raw bytes.
struct ImageConfig {
  std::string created, author;
  Platform platform;
  ContainerConfig config;
  std::vector<DiffId> diff_ids;
  std::vector<History> history;
};

Result<Manifest> parse_manifest(std::string_view bytes);
Result<Index> parse_index(std::string_view bytes);
Result<ImageConfig> parse_config(std::string_view bytes);
/// Which of the two a document is, by mediaType or, where that is absent, by its fields.
bool is_index(std::string_view bytes, std::string_view media_type);

/// Canonical form of ours: sorted keys, no spaces; equal structs give equal bytes.
std::string serialize(const Manifest& manifest);
std::string serialize(const Index& index);
std::string serialize(const ImageConfig& config);

/// An index of ours, and what names it.
struct MadeIndex {
  Descriptor descriptor;
  std::string bytes;
};
MadeIndex make_index(std::vector<Descriptor> entries);

/// The index entry for the platform; exact variant first. not_found lists what there is.
Result<Descriptor> select_platform(const Index& index, const Platform& platform);
/// The entry for this host, else the first. `entries` is not empty.
const Descriptor& host_or_first(const std::vector<Descriptor>& entries);

}  // namespace dray::image
