// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dray/core/process.hpp>
#include <dray/core/progress.hpp>
#include <dray/image/image.hpp>
#include <dray/store/store.hpp>

// Dockerfile to image in four stages, each with its own type: text -> AST (dockerfile/) -> typed instructions -> graph
// (plan/) -> solver (solve/, ops/). The builder knows neither runtime nor registry: it gets the two services below from
// the engine.

namespace dray::builder {

/// A mount of a RUN step.
struct StepMount {
  std::string target;            ///< absolute, clean
  FileDescriptor tree;           ///< a detached mount, its attributes set; none: a new tmpfs
  std::uint64_t tmpfs_size = 0;  ///< bytes; 0 = no limit
};

/// A RUN step's process.
struct RunRequest {
  store::MountRecipe rootfs;      ///< writable; the executor attaches it in a new mount namespace
  std::vector<std::string> args;  ///< full argv
  std::vector<std::string> env;
  std::string working_dir = "/";
  std::string user;                  ///< USER text, resolved in the rootfs
  std::string network = "default";   ///< default | none | host
  std::vector<StepMount> mounts;     ///< in the order they are attached; consumed
  bool insecure = false;             ///< all capabilities and devices, no seccomp profile, writable /proc and /sys
  std::vector<std::string> devices;  ///< CDI names
  std::vector<std::string> required_devices;                     ///< those that must exist
  std::vector<std::pair<std::string, std::string>> extra_hosts;  ///< name, address
  std::vector<std::string> ulimits;                              ///< "nofile=1024:2048"
  std::uint64_t shm_size = 0;                                    ///< bytes; 0 = 64 MiB
  std::string cgroup_parent;
  /// A shell for a person: its input and output are the user's terminal, not `output`.
  bool is_interactive = false;
};

/// Runs a process in a rootfs, isolated like a container. Output is delivered as it comes, from the calling thread.
/// Cancel kills it. Returns how it ended; an Error only when it could not be started. Thread-safe.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual Result<ExitStatus> run(const RunRequest& request,
                                 const std::function<void(std::string_view bytes, bool is_stderr)>& output,
                                 const CancelToken& cancel) = 0;
};

/// One file by http or https.
struct HttpRequest {
  std::string url;
  std::string authorization;        ///< header value for the URL's own host; "" = none
  std::string etag, last_modified;  ///< of the copy that is here already
  std::string file;                 ///< where to write it: a path that does not exist yet
};
struct HttpAnswer {
  bool not_modified = false;  ///< the copy is still good; the file is empty
  std::string etag, last_modified;
  Digest digest;
  std::uint64_t size = 0;
};

/// What comes from outside: base images, from the store or a registry (into the store), and files by http.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  /// The image, present in the store with its layers unpacked. `always_pull`: ask the registry even if it is here.
  virtual Result<store::LoadedImage> resolve(const Reference& reference, const image::Platform& platform,
                                             bool always_pull, ProgressSink& progress, const CancelToken& cancel) = 0;
  virtual Result<HttpAnswer> download(const HttpRequest& request, ProgressSink& progress, const CancelToken& cancel);
};

/// What a registry is asked to do with, beside a name.
struct RegistryTrust {
  bool insecure = false;  ///< registry.insecure=true: plain http is good enough
};

/// Pushes what a build made; fetches what a build cache holds there. Thread-safe.
class Registry {
 public:
  virtual ~Registry() = default;
  /// Sends a manifest or index of the content store, after all it refers to, under the reference's tag or digest.
  virtual Result<void> push(const image::Descriptor& document, const Reference& reference, RegistryTrust trust,
                            ProgressSink& progress, const CancelToken& cancel) = 0;
  /// The manifest or index that the reference names and, for a manifest, its config: both into the content store.
  virtual Result<image::Descriptor> fetch_document(const Reference& reference, RegistryTrust trust,
                                                   ProgressSink& progress, const CancelToken& cancel) = 0;
  /// A layer into the content store, unpacked: its digest and diffID are verified.
  virtual Result<void> fetch_layer(const image::Descriptor& layer, const DiffId& diff_id, const Reference& reference,
                                   RegistryTrust trust, ProgressSink& progress, const CancelToken& cancel) = 0;
};

/// --secret id=ID[,src=FILE | ,env=NAME]: read when a step asks for it, never stored.
struct SecretSource {
  std::string id, file, env;
};

/// --ssh ID[=SOCKET]: an agent's socket; or private keys, which an agent of ours holds in memory.
struct SshSource {
  std::string id = "default";
  std::vector<std::string> paths;  ///< empty: $SSH_AUTH_SOCK
};

/// --output, --cache-to, --cache-from: "type=…,key=value,…".
struct TypedOptions {
  std::string type;
  std::map<std::string, std::string> attributes;
};

/// "type=…,key=value,…" (quoted as in CSV), or a directory, or "-": a tar to standard output.
Result<TypedOptions> parse_output(const std::string& text);
/// --cache-to, --cache-from: the same; a bare reference is type=registry.
Result<TypedOptions> parse_cache_option(const std::string& text);
/// --attest: "type=provenance,mode=max". For --provenance and --sbom, `type` is given and the text is "true", "false"
/// or attributes; nullopt: "false".
Result<std::optional<TypedOptions>> parse_attestation(const std::string& text, const std::string& type = "");
/// --annotation: "[LEVEL[,LEVEL…]:]KEY=VALUE" as an entry of BuildRequest::annotations. LEVEL: manifest, index,
/// manifest-descriptor, index-descriptor, each with a platform in brackets if it is for that one only.
Result<std::pair<std::string, std::string>> parse_annotation(const std::string& text);

struct BuildRequest {
  std::string context_directory;  ///< "" when the context is `context_tar` or `context_url` or none
  std::string context_url;        ///< a git repository or a tar (or Dockerfile) by http
  FdRef context_tar;              ///< a tar (any compression) or a bare Dockerfile, read from "-"
  std::string dockerfile;         ///< -f: path relative to the working directory; "" = <context>/Dockerfile
  std::optional<std::string> dockerfile_text;  ///< read from -f - already
  std::vector<std::string> tags;
  std::vector<std::pair<std::string, std::string>> build_args;
  std::map<std::string, std::string> labels;
  std::string target;
  bool no_cache = false;
  bool always_pull = false;
  std::string network = "default";
  std::vector<image::Platform> platforms;  ///< empty: this host's
  /// --build-context NAME=VALUE: a directory, docker-image://, oci-layout://, a git or http URL, target:STAGE
  std::vector<std::pair<std::string, std::string>> named_contexts;
  std::vector<SecretSource> secrets;
  std::vector<SshSource> ssh;
  std::vector<std::pair<std::string, std::string>> extra_hosts;  ///< name, address
  std::vector<std::string> ulimits;                              ///< "nofile=1024:2048"
  std::uint64_t shm_size = 0;                                    ///< bytes; 0 = 64 MiB
  std::string cgroup_parent;
  std::vector<std::string> allowed;  ///< entitlements: security.insecure, network.host, device
  bool squash = false;               ///< the build's own layers become one; the base's stay
  std::vector<std::string> unset;    ///< what the base's config shall not hand down: "env=NAME", "label=KEY", "cmd", …
  std::map<std::string, std::string> annotations;  ///< "[LEVEL,…:]KEY" to value, as of parse_annotation
  std::vector<TypedOptions> outputs;               ///< empty: the image store
  std::vector<TypedOptions> cache_from, cache_to;
  std::vector<TypedOptions> attestations;    ///< type provenance or sbom
  std::vector<std::string> no_cache_filter;  ///< stages whose cache is not used
  bool shell_on_failure = false;             ///< where a RUN fails, a shell in its file system
  int shell_at = 0;                          ///< instead of the RUN that begins at this line, a shell; 0: nowhere
  bool verify_reproducible = false;          ///< built a second time, without cache: an error unless the same comes out
};

/// What a step has come to.
struct BuiltStep {
  std::string title, location, digest;    ///< the digest: of its layer, or of all it stands on; of the final config
  std::optional<image::Descriptor> blob;  ///< the layer it made
};

struct BuildResult {
  Digest image_id;                  ///< of the (first) platform's config
  Digest manifest;                  ///< of the manifest, or of the index: "containerimage.digest"
  std::vector<std::string> tagged;  ///< canonical references
  /// Of what was exported as an image; nullopt where every output is files or nothing.
  std::optional<image::Descriptor> descriptor;
  std::vector<std::pair<std::string, std::string>> provenance;  ///< platform, the predicate's JSON; where asked for
  std::vector<BuiltStep> steps;                                 ///< in the plan's order, then the configs
};

/// Builds. Progress: one step per vertex in BuildKit's words ("[internal] load build definition from Dockerfile",
/// "[1/4] FROM docker.io/library/debian:bookworm", "[2/4] RUN …", "exporting to image"). Errors carry
/// "Dockerfile:LINE". A failed or cancelled build leaves no image, mount or active snapshot; finished steps stay in the
/// cache.
Result<BuildResult> build(store::Store& store, Executor& executor, ImageSource& images, const BuildRequest& request,
                          ProgressSink& progress, const CancelToken& cancel, Registry* registry = nullptr);

}  // namespace dray::builder
