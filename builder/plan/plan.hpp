// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <dray/core/reference.hpp>
#include <dray/image/image.hpp>

#include "plan/shared_list.hpp"

// The build graph: what has to be done, with every variable expanded and every path absolute. No Dockerfile
// text is needed to run it.

namespace dray::builder {

struct SourceLocation {
  std::string file = "Dockerfile";
  int line = 0;
  std::string to_string() const { return file + ":" + std::to_string(line); }
};

/// A base image's root filesystem, or the empty one. Makes no layer of its own.
struct SourceOp {
  std::optional<Reference> reference;  ///< nullopt: scratch
  image::Platform platform;
  bool operator==(const SourceOp&) const = default;
};

/// A directory of the user's: the build context ("context") or a named one (--build-context NAME=DIRECTORY).
struct LocalOp {
  std::string name = "context";
  /// What the build may read of it, relative, sorted, with wildcards; empty: anything.
  std::vector<std::string> paths;
  bool operator==(const LocalOp&) const = default;
};

/// One file from http or https. Its root filesystem is that file: "/<filename>", mode 0600 unless ADD says otherwise.
struct HttpOp {
  std::string url;
  std::string checksum;  ///< "sha256:…"; "" = any content
  std::string filename;  ///< from the URL's path; "__unnamed__" where it has none
  bool operator==(const HttpOp&) const = default;
};

/// A git repository's tree at one commit, as a root filesystem.
struct GitOp {
  std::string remote;  ///< without fragment and query
  std::string ref;     ///< branch, tag, commit; "" = the remote's HEAD
  std::string subdirectory;
  std::string checksum;  ///< the commit, or the beginning of its name; "" = any
  bool keep_git_dir = false;
  bool skip_submodules = false;
  bool fetch_by_commit = false;  ///< the checksum is what is asked for, not the ref
  bool operator==(const GitOp&) const = default;
};

/// RUN --mount.
struct RunMount {
  enum class Type { bind, cache, tmpfs, secret, ssh } type = Type::bind;
  enum class Sharing { shared, private_copy, locked } sharing = Sharing::shared;
  std::string target;          ///< absolute, clean; "" only for a secret that is only in the environment
  std::string written_target;  ///< the same as it was written ("/root/.cache/"), for `dray builder plan`
  int input = -1;              ///< bind, cache with from=: index into Vertex::inputs; -1: empty (cache, tmpfs)
  std::string source;          ///< bind, cache: absolute path in that input; "/" = all of it
  std::string id;              ///< cache, secret, ssh
  std::string env;             ///< secret: name of the variable that holds it; "" = none
  bool read_only = false;
  bool required = false;    ///< secret, ssh: an error where the build was given none of that id
  bool default_id = false;  ///< ssh: no id was written; cache: it is the target's
  /// cache 0755, secret 0400, ssh 0600 where not given. Set where any of mode, uid and gid is given.
  std::optional<std::uint32_t> mode;
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t size = 0;  ///< tmpfs: bytes; 0 = no limit
  bool operator==(const RunMount&) const = default;
};

/// RUN. inputs[0] is its root filesystem; more inputs are what its mounts show.
struct RunOp {
  std::vector<std::string> args;  ///< full argv: SHELL is already put before the shell form
  /// "K=V": the image's ENV, then the build arguments in scope. Part of the cache key.
  SharedList env;
  /// "K=V": predefined proxy arguments (HTTP_PROXY …) that were given but not declared. For the process, not
  /// for the cache key.
  std::vector<std::string> proxy_env;
  std::string working_dir = "/";
  std::string user;
  std::string network = "default";  ///< default | none | host
  std::vector<RunMount> mounts;
  bool insecure = false;                      ///< --security=insecure
  std::vector<std::string> devices;           ///< --device: CDI names, ",required" taken off
  std::vector<std::string> required_devices;  ///< those of `devices` that must exist
  image::Platform platform;                   ///< of its root filesystem
  /// A heredoc with "#!": the file (mode 0755) the process finds at the path that is its last argument
  /// ("/dev/pipes/EOF"). Part of the cache key.
  std::string script;
  bool operator==(const RunOp&) const = default;
};

/// A file whose content stands in the Dockerfile (COPY <<EOF /path).
struct InlineFile {
  std::string name;
  std::string content;
  bool operator==(const InlineFile&) const = default;
};

/// COPY and ADD. The source is inputs[1]: a LocalOp, HttpOp, GitOp or any root filesystem; none for heredocs alone.
struct CopyOp {
  /// Clean absolute paths below the source's root ("/src", "/" for everything), with wildcards as in
  /// filepath.Match. With --parents: the pivot "/./" is still in it, and below it "**" is any path.
  std::vector<std::string> paths;
  /// An ADD of several kinds of sources: which of Vertex::inputs each of `paths` is in. Empty: all in inputs[1].
  std::vector<int> path_inputs;
  std::vector<InlineFile> files;     ///< heredocs, written after `paths`
  std::string destination;           ///< absolute; a trailing "/" means: a directory
  bool destination_dot = false;      ///< it was written with "/." at its end
  std::string chown;                 ///< "user", "user:group", numbers or names of the target's rootfs; "" = 0:0
  std::string chmod;                 ///< octal or symbolic ("u+rwX,go-w"), checked; "" = as in the source
  std::vector<std::string> exclude;  ///< --exclude, as .dockerignore lines (IgnorePatterns)
  bool is_add = false;               ///< ADD (without --unpack=false): local tar archives are unpacked
  bool unpack = false;               ///< ADD --unpack: archives from http are unpacked too
  bool if_exists = false;            ///< COPY --if-exists: a path that names nothing is no error
  bool parents = false;              ///< --parents: the source's directories are made at the destination
  /// --link: the layer is made on an empty root and put on whatever is below: it depends on its sources alone.
  bool link = false;
  bool operator==(const CopyOp&) const = default;
};

/// WORKDIR: creates the directory with its parents (0755) where it is missing.
struct WorkdirOp {
  std::string path;   ///< absolute, clean, not "/"
  std::string owner;  ///< WORKDIR --chown, or USER at that point; "" = 0:0
  bool operator==(const WorkdirOp&) const = default;
};

using Op = std::variant<SourceOp, LocalOp, HttpOp, GitOp, RunOp, CopyOp, WorkdirOp>;

struct Vertex {
  int id = 0;  ///< its index in Plan::vertices
  Op op;
  /// The rootfs it stands on first (none for sources: SourceOp, LocalOp, HttpOp, GitOp), then what it reads: a CopyOp's
  /// source, a RunOp's mounts.
  std::vector<int> inputs;
  std::string stage;  ///< its name, for --no-cache-filter
  std::string title;  ///< "[stage-1 2/4] RUN pip install", for progress
  SourceLocation location;
  std::string history_created_by;  ///< "RUN /bin/sh -c make # buildkit"
};

/// The vertices the target needs, inputs before users. Every vertex on the chain of inputs[0] from `result`
/// down, except the SourceOp, makes exactly one layer, in the order of the non-empty entries of
/// config.history that follow the base image's own.
struct Plan {
  std::vector<Vertex> vertices;
  int result = 0;
  /// The final config: the base's with all instructions applied, its history continued. diff_ids are the
  /// base's: the solver appends those of the new layers. `created` of the config and of the new history
  /// entries is PlanOptions::created.
  image::ImageConfig config;
  std::vector<std::string> warnings;              ///< "Dockerfile:3: …"
  std::optional<std::int64_t> source_date_epoch;  ///< SOURCE_DATE_EPOCH, seconds
};

}  // namespace dray::builder
