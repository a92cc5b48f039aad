// SPDX-License-Identifier: Apache-2.0
// Where the host gets its Debian packages from, so that a bootstrapped image uses the same mirror.
#include "apt_sources.hpp"

#include <algorithm>

#include <dray/core/fd.hpp>
#include <dray/core/text.hpp>

namespace dray::engine {
namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (char c : std::string(text) + " ") {
    if (c != ' ' && c != '\t' && c != '\r') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

template <typename Function>
void each_line(std::string_view text, Function&& function) {
  while (!text.empty()) {
    std::size_t end = std::min(text.find('\n'), text.size());
    function(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

struct Stanza {
  std::vector<std::string> types, uris, suites, components;
  bool enabled = true;
};

void add_stanza(Stanza& stanza, std::vector<AptSource>& sources) {
  bool binary = std::find(stanza.types.begin(), stanza.types.end(), "deb") != stanza.types.end();
  if (binary && stanza.enabled && !stanza.components.empty()) {
    for (const auto& uri : stanza.uris) {
      for (const auto& suite : stanza.suites) sources.push_back({uri, suite, join(stanza.components)});
    }
  }
  stanza = {};
}

}  // namespace

std::vector<AptSource> parse_one_line_sources(std::string_view text) {
  std::vector<AptSource> sources;
  each_line(text, [&](std::string_view line) {
    line = line.substr(0, line.find('#'));
    std::size_t open = line.find('['), close = line.find(']');
    std::string plain(line);
    if (open != std::string_view::npos && close != std::string_view::npos && open < close)
      plain = std::string(line.substr(0, open)) + " " + std::string(line.substr(close + 1));
    auto words = words_of(plain);
    if (words.size() < 4 || words[0] != "deb") return;
    sources.push_back({words[1], words[2], join({words.begin() + 3, words.end()})});
  });
  return sources;
}

std::vector<AptSource> parse_deb822_sources(std::string_view text) {
  std::vector<AptSource> sources;
  Stanza stanza;
  std::vector<std::string>* field = nullptr;
  each_line(text, [&](std::string_view line) {
    if (line.starts_with('#')) return;
    auto words = words_of(line);
    if (words.empty()) {
      add_stanza(stanza, sources);
      field = nullptr;
      return;
    }
    if (line[0] == ' ' || line[0] == '\t') {
      if (field != nullptr) field->insert(field->end(), words.begin(), words.end());
      return;
    }
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name = to_lower(std::string(line.substr(0, colon)));
    auto values = words_of(line.substr(colon + 1));
    field = name == "types"        ? &stanza.types
            : name == "uris"       ? &stanza.uris
            : name == "suites"     ? &stanza.suites
            : name == "components" ? &stanza.components
                                   : nullptr;
    if (field != nullptr) *field = values;
    if (name == "enabled" && !values.empty())
      stanza.enabled = to_lower(values[0]) != "no" && to_lower(values[0]) != "false";
  });
  add_stanza(stanza, sources);
  return sources;
}

std::vector<AptSource> read_host_sources() {
  std::vector<AptSource> sources;
  auto add = [&](std::vector<AptSource> more) { sources.insert(sources.end(), more.begin(), more.end()); };
  if (auto text = read_file("/etc/apt/sources.list", 1u << 20)) add(parse_one_line_sources(*text));
  const std::string directory = "/etc/apt/sources.list.d";
  for (const auto& name : list_directory(directory).value_or(std::vector<std::string>())) {
    bool deb822 = name.ends_with(".sources");
    if (!deb822 && !name.ends_with(".list")) continue;
    auto text = read_file(directory + "/" + name, 1u << 20);
    if (text) add(deb822 ? parse_deb822_sources(*text) : parse_one_line_sources(*text));
  }
  return sources;
}

std::vector<std::string> choose_sources(const std::vector<AptSource>& host, const std::string& suite) {
  std::vector<std::string> lines;
  bool main_suite = false;
  for (const auto& source : host) {
    if (source.suite != suite && source.suite != suite + "-updates" && source.suite != suite + "-security") continue;
    main_suite = main_suite || source.suite == suite;
    lines.push_back("deb " + source.uri + " " + source.suite + " main");
  }
  if (main_suite) return lines;
  // Another suite than the host's: its mirror very likely carries it. An archive of security updates does not.
  for (const auto& source : host) {
    bool debian = source.components.starts_with("main") && source.suite.find("-security") == std::string::npos &&
                  source.suite.find('/') == std::string::npos && source.uri.starts_with("http");
    if (debian) return {"deb " + source.uri + " " + suite + " main"};
  }
  return {};
}

}  // namespace dray::engine
