// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "dockerfile/run_flags.hpp"

// The typed instructions of a Dockerfile: grammar checked, variables not expanded.

namespace dray::builder {

struct Heredoc {
  std::string name;
  std::string content;
  bool expand = true;  ///< the delimiter was not quoted
  bool chomp = false;  ///< <<-EOF: leading tabs are dropped
  int fd = 0;
};

struct KeyValue {
  std::string key, value;
  bool has_value = true;  ///< ARG without "="
  bool legacy = false;    ///< ENV and LABEL: "key value"
  bool operator==(const KeyValue&) const = default;
};

/// The arguments of RUN, CMD, ENTRYPOINT.
struct CommandLine {
  std::vector<std::string> args;  ///< exec form: argv; shell form: one text
  bool shell_form = false;
};

struct FromInstruction {
  std::string image, alias, platform;
  std::string description;  ///< the comment above it that begins with the alias
};
struct ArgInstruction {
  std::vector<KeyValue> args;
};
struct EnvInstruction {
  std::vector<KeyValue> variables;
};
struct LabelInstruction {
  std::vector<KeyValue> labels;
};
struct MaintainerInstruction {
  std::string name;
};
struct RunInstruction {
  CommandLine command;
  std::vector<Heredoc> heredocs;
  std::string network;  ///< "", default, none, host
  /// --mount: expanded and checked (run_flags.hpp) when the stage is planned; `mount_sources`: their from=, which has
  /// no variables.
  std::vector<std::string> mounts, mount_sources;
  std::string security;  ///< "", sandbox, insecure
  std::vector<DeviceFlag> devices;
};
/// COPY and ADD.
struct CopyInstruction {
  bool is_add = false;
  std::vector<std::string> sources;
  std::vector<Heredoc> heredocs;  ///< sources that are heredocs
  std::string destination;
  std::string from, chown, chmod;
  std::vector<std::string> exclude;
  bool link = false;
  bool parents = false;
  bool if_exists = false;  ///< --if-exists (syntax=dray)
  std::optional<bool> unpack, keep_git_dir;
  std::string checksum;
};
struct WorkdirInstruction {
  std::string path;
  std::string chown;  ///< --chown (syntax=dray)
};
struct UserInstruction {
  std::string user;
};
struct ExposeInstruction {
  std::vector<std::string> ports;
};
struct CmdInstruction {
  CommandLine command;
};
struct EntrypointInstruction {
  CommandLine command;
};
struct VolumeInstruction {
  std::vector<std::string> paths;
};
struct ShellInstruction {
  std::vector<std::string> shell;
};
struct StopsignalInstruction {
  std::string signal;
};
struct HealthcheckInstruction {
  std::vector<std::string> test;  ///< {"NONE"}, {"CMD", …}, {"CMD-SHELL", text}
  long long interval_ns = 0, timeout_ns = 0, start_period_ns = 0, start_interval_ns = 0;
  int retries = 0;
};
struct OnbuildInstruction {
  std::string expression;
};

using InstructionBody =
    std::variant<ArgInstruction, EnvInstruction, LabelInstruction, MaintainerInstruction, RunInstruction,
                 CopyInstruction, WorkdirInstruction, UserInstruction, ExposeInstruction, CmdInstruction,
                 EntrypointInstruction, VolumeInstruction, ShellInstruction, StopsignalInstruction,
                 HealthcheckInstruction, OnbuildInstruction>;

struct Instruction {
  InstructionBody body;
  std::string name;                   ///< as written: "COPY", "copy"
  std::vector<std::string> comments;  ///< directly above it, without "#"
  int line = 0, end_line = 0;
  std::string original;  ///< the logical line as written, continuations joined
};

}  // namespace dray::builder
