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
};

/// RUN.
struct RunOp {
  std::vector<std::string> args;  ///< full argv: SHELL is already put before the shell form
  /// "K=V": the image's ENV, then the build arguments in scope. Part of the cache key.
  std::vector<std::string> env;
  /// "K=V": predefined proxy arguments (HTTP_PROXY …) that were given but not declared. For the process, not
  /// for the cache key.
  std::vector<std::string> proxy_env;
  std::string working_dir = "/";
  std::string user;
  std::string network = "default";  ///< default | none | host
};

/// A file whose content stands in the Dockerfile (COPY <<EOF /path).
struct InlineFile {
  std::string name;
  std::string content;
};

/// COPY and ADD. The source is the build context, or the root filesystem of inputs[1].
struct CopyOp {
  enum class From { context, vertex };
  From from = From::context;
  /// Clean absolute paths below the source's root ("/src", "/" for everything), with wildcards as in
  /// filepath.Match.
  std::vector<std::string> paths;
  std::vector<InlineFile> files;      ///< heredocs, written after `paths`
  std::string destination;            ///< absolute; a trailing "/" means: a directory
  std::string chown;                  ///< "user", "user:group", numbers or names of the target's rootfs; "" = 0:0
  std::optional<std::uint32_t> mode;  ///< --chmod
  std::vector<std::string> exclude;   ///< --exclude, as .dockerignore lines (IgnorePatterns)
  bool is_add = false;                ///< ADD: local tar archives are unpacked
};

/// WORKDIR: creates the directory with its parents (0755) where it is missing.
struct WorkdirOp {
  std::string path;   ///< absolute, clean, not "/"
  std::string owner;  ///< USER at that point; "" = 0:0
};

using Op = std::variant<SourceOp, RunOp, CopyOp, WorkdirOp>;

struct Vertex {
  int id = 0;  ///< its index in Plan::vertices
  Op op;
  /// The rootfs it stands on first (always there except for a SourceOp), then the rootfs a CopyOp copies
  /// from.
  std::vector<int> inputs;
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
  std::vector<std::string> warnings;  ///< "Dockerfile:3: …"
};

}  // namespace dray::builder
