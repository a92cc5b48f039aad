// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/result.hpp>

namespace dray {

/// Whose layout `--help` has. runc's also listens to -h.
enum class HelpStyle { docker, runc };

/// The command line of one command: declared, then parsed. CLI11 is behind it and is compiled once (flags.cpp).
/// Names are CLI11's: "-t,--tag". Targets must outlive parse(). A flag not declared is refused; one given twice counts
/// last.
class Flags {
 public:
  /// `usage` is what follows the command's name: "[OPTIONS] IMAGE [COMMAND] [ARG...]".
  Flags(std::string command, std::string usage, std::string description, HelpStyle style = HelpStyle::docker);
  Flags(Flags&&) noexcept;
  ~Flags();

  void flag(const std::string& names, bool& target, const std::string& help);
  void option(const std::string& names, std::string& target, const std::string& help,
              const std::string& type = "string");
  void option(const std::string& names, std::int64_t& target, const std::string& help);
  void option(const std::string& names, std::optional<std::string>& target, const std::string& help,
              const std::string& type = "string");
  void option(const std::string& names, std::optional<int>& target, const std::string& help);
  void list(const std::string& names, std::vector<std::string>& target, const std::string& help,
            const std::string& type = "list");

  /// Operands anywhere between the flags.
  void operands(std::vector<std::string>& target, std::size_t least, std::size_t most);
  /// Operands begin at the first word that is no flag and take all that follows, as in `run IMAGE COMMAND -x`.
  void trailing(std::vector<std::string>& target, std::size_t least);

  enum class Outcome { run, help_shown };
  /// What --help prints.
  std::string help() const;
  /// invalid_argument: "unknown flag: --x" and the like, with the hint "See 'dray run --help'".
  Result<Outcome> parse(const std::vector<std::string>& arguments);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

inline constexpr std::size_t kAnyNumber = static_cast<std::size_t>(-1);

}  // namespace dray
