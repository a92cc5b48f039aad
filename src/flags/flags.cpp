// SPDX-License-Identifier: Apache-2.0
// The one file that compiles CLI11 (12 s at -O2). Its messages are put into Docker's words.
#include <dray/flags/flags.hpp>

#include <CLI/CLI.hpp>

namespace dray {
namespace {

/// CLI11's own help lists "OPTIONS"; ours follows docker's layout.
class DockerFormatter : public CLI::Formatter {
 public:
  explicit DockerFormatter(std::string usage) : usage_(std::move(usage)) { column_width(34); }
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode) const override {
    std::string text = "\nUsage:  " + name + " " + usage_ + "\n\n" + app->get_description() + "\n\nOptions:\n";
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional() || !option->nonpositional()) continue;
      std::string left = "  ";
      auto shorts = option->get_snames();
      auto longs = option->get_lnames();
      left += shorts.empty() ? "    " : "-" + shorts.front() + (longs.empty() ? "" : ", ");
      if (!longs.empty()) left += "--" + longs.front();
      std::string type = option->get_type_name();
      if (!type.empty() && type != "BOOLEAN") left += " " + type;
      if (left.size() < 34) left.resize(34, ' ');
      text += left + "  " + option->get_description() + "\n";
    }
    return text;
  }

 private:
  std::string usage_;
};

/// Line by line what urfave/cli prints for runc.
class RuncFormatter : public CLI::Formatter {
 public:
  explicit RuncFormatter(std::string usage) : usage_(std::move(usage)) {}
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode) const override {
    const std::string description = app->get_description();
    const std::size_t line_end = std::min(description.find('\n'), description.size());
    std::string text = "NAME:\n   " + name + " - " + description.substr(0, line_end) + "\n\nUSAGE:\n   " + name + " " +
                       usage_ + "\n" + description.substr(line_end) + "\nOPTIONS:\n";
    std::vector<std::pair<std::string, std::string>> rows;
    std::size_t width = 0;
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional() || !option->nonpositional()) continue;
      const std::string type = option->get_type_name();
      const std::string value = type.empty() || type == "BOOLEAN" ? "" : " value";
      std::string left;
      for (const auto& word : option->get_lnames()) left += (left.empty() ? "--" : ", --") + word + value;
      for (const auto& word : option->get_snames()) left += (left.empty() ? "-" : ", -") + word + value;
      width = std::max(width, left.size());
      rows.emplace_back(std::move(left), option->get_description());
    }
    for (auto& [left, right] : rows) {
      left.resize(width, ' ');
      text += "   " + left + "  " + right + "\n";
    }
    return text;
  }

 private:
  std::string usage_;
};

}  // namespace

struct Flags::State {
  CLI::App app;
  std::string command;
  std::vector<std::string>* operands = nullptr;
  std::size_t least = 0, most = 0;
  bool is_trailing = false;
  std::vector<std::string> collected;
};

Flags::Flags(std::string command, std::string usage, std::string description, HelpStyle style)
    : state_(std::make_unique<State>()) {
  state_->command = std::move(command);
  state_->app.description(std::move(description));
  state_->app.name(state_->command);
  if (style == HelpStyle::docker) {
    state_->app.formatter(std::make_shared<DockerFormatter>(std::move(usage)));
    state_->app.set_help_flag("--help", "Print usage");
  } else {
    state_->app.formatter(std::make_shared<RuncFormatter>(std::move(usage)));
    state_->app.set_help_flag("--help,-h", "show help");
  }
  state_->app.allow_extras();
}
Flags::Flags(Flags&&) noexcept = default;
Flags::~Flags() = default;

void Flags::flag(const std::string& names, bool& target, const std::string& help) {
  state_->app.add_flag(names, target, help)->take_last();
}
void Flags::option(const std::string& names, std::string& target, const std::string& help, const std::string& type) {
  state_->app.add_option(names, target, help)->take_last()->type_name(type);
}
void Flags::option(const std::string& names, std::int64_t& target, const std::string& help) {
  state_->app.add_option(names, target, help)->take_last()->type_name("int");
}
void Flags::option(const std::string& names, std::optional<std::string>& target, const std::string& help,
                   const std::string& type) {
  state_->app.add_option_function<std::string>(
                 names, [&target](const std::string& value) { target = value; }, help)
      ->take_last()
      ->type_name(type);
}
void Flags::option(const std::string& names, std::optional<int>& target, const std::string& help) {
  state_->app.add_option_function<int>(
                 names, [&target](const int& value) { target = value; }, help)
      ->take_last()
      ->type_name("int");
}
void Flags::list(const std::string& names, std::vector<std::string>& target, const std::string& help,
                 const std::string& type) {
  state_->app.add_option(names, target, help)->allow_extra_args(false)->take_all()->type_name(type);
}

void Flags::operands(std::vector<std::string>& target, std::size_t least, std::size_t most) {
  state_->operands = &target;
  state_->least = least;
  state_->most = most;
}

void Flags::trailing(std::vector<std::string>& target, std::size_t least) {
  operands(target, least, kAnyNumber);
  state_->is_trailing = true;
  state_->app.prefix_command();
}

std::string Flags::help() const { return state_->app.help(); }

Result<Flags::Outcome> Flags::parse(const std::vector<std::string>& arguments) {
  State& state = *state_;
  const std::string hint = "See '" + state.command + " --help'.";
  auto refuse = [&](std::string message) {
    return Failure(Error(ErrorCode::invalid_argument, std::move(message)).with_hint(hint));
  };
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    state.app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    const std::string text = help();
    ::fwrite(text.data(), 1, text.size(), stdout);
    return Outcome::help_shown;
  } catch (const CLI::ArgumentMismatch& mismatch) {
    return refuse("flag needs an argument: " + std::string(mismatch.what()));
  } catch (const CLI::Error& error) {
    return refuse(error.what());
  }
  std::vector<std::string> rest = state.app.remaining();
  bool literal = false;
  std::vector<std::string> words;
  for (const std::string& word : rest) {
    if (!literal && word == "--") {
      literal = true;
      if (state.is_trailing && !words.empty()) words.push_back(word);  // belongs to the container's command
      continue;
    }
    bool is_first = words.empty();
    if (!literal && word.size() > 1 && word.front() == '-' && (!state.is_trailing || is_first)) {
      bool is_long = word.starts_with("--");
      return refuse(is_long ? "unknown flag: " + word.substr(0, word.find('='))
                            : "unknown shorthand flag: '" + word.substr(1, 1) + "' in " + word);
    }
    if (state.is_trailing) literal = true;
    words.push_back(word);
  }
  if (words.size() < state.least || words.size() > state.most) {
    std::string count = state.least == state.most    ? "exactly " + std::to_string(state.least)
                        : words.size() < state.least ? "at least " + std::to_string(state.least)
                                                     : "at most " + std::to_string(state.most);
    bool one = state.least == 1 && (state.least == state.most || words.size() < state.least);
    if (state.most == 0) return refuse("\"" + state.command + "\" accepts no arguments");
    return refuse("\"" + state.command + "\" requires " + count + " argument" + (one ? "" : "s"));
  }
  if (state.operands != nullptr) *state.operands = std::move(words);
  return Outcome::run;
}

}  // namespace dray
