// SPDX-License-Identifier: Apache-2.0
// What the views of a build print, with times made equal.
#include "progress.hpp"

#include <cstdlib>
#include <regex>

#include "catch.hpp"
#include "progress_end.hpp"

using namespace dray;
using namespace dray::cli;

namespace {

using Kind = ProgressEvent::Kind;

struct Shown {
  std::string text;
  ProgressOptions options() {
    ProgressOptions options;
    options.output = [this](std::string_view more) { text += more; };
    options.size = [] { return TerminalSize{10, 60}; };
    options.redraw_every = std::chrono::milliseconds(0);
    return options;
  }
  /// Times as "T".
  std::string even() const { return std::regex_replace(text, std::regex("[0-9]+\\.[0-9]+"), "T"); }
};

ProgressEvent event(Kind kind, int id, std::string name = "", std::string text = "") {
  ProgressEvent event;
  event.kind = kind;
  event.id = id;
  event.name = std::move(name);
  event.text = std::move(text);
  return event;
}

ProgressEvent bytes(int id, std::string name, std::uint64_t current, std::uint64_t total) {
  ProgressEvent status = event(Kind::status, id, std::move(name));
  status.current = current;
  status.total = total;
  return status;
}

}  // namespace

TEST_CASE("plain: one step at a time") {
  Shown shown;
  {
    const auto progress = make_plain_progress(shown.options());
    progress->report(event(Kind::started, 1, "[internal] one"));
    progress->report(event(Kind::status, 1, "", "transferring: 2B"));
    progress->report(event(Kind::started, 2, "[2/3] RUN two"));
    progress->report(event(Kind::output, 2, "", "waits\n"));
    progress->report(event(Kind::completed, 1));
    progress->report(event(Kind::output, 2, "", "partial"));
    progress->report(event(Kind::cached, 3, "[3/3] COPY"));
    progress->report(event(Kind::completed, 2));
  }
  CHECK(shown.even() ==
        "#1 [internal] one\n#1 transferring: 2B\n#1 DONE Ts\n"
        "\n#2 [2/3] RUN two\n#2 T waits\n"
        "#2 ...\n\n#3 [3/3] COPY\n#3 CACHED\n"
        "\n#2 [2/3] RUN two\n#2 T partial\n#2 DONE Ts\n");
}

TEST_CASE("plain: failure, warnings, the excerpt") {
  Shown shown;
  {
    const auto progress = make_plain_progress(shown.options());
    progress->report(event(Kind::started, 1, "RUN x"));
    for (int i = 1; i <= 12; ++i) progress->report(event(Kind::output, 1, "", "line " + std::to_string(i) + "\n"));
    progress->report(event(Kind::failed, 1, "", "exit code: 1"));
    progress->report(event(Kind::warning, 1, "Rule: found (line 3)", "why"));
    progress->report(event(Kind::excerpt, 0, "", "Dockerfile:3\n"));
  }
  const std::string text = shown.even();
  CHECK(text.find("#1 ERROR: exit code: 1\n") != std::string::npos);
  CHECK(text.find("#1 WARN: Rule: found (line 3)\n") != std::string::npos);
  const std::string end = text.substr(text.find("------"));
  CHECK(end.starts_with("------\n > RUN x:\nT line 3\n"));
  CHECK(
      end.ends_with("T line 12\n------\n\n 1 warning found (use --debug to expand):\n - Rule: found (line 3)\n"
                    "Dockerfile:3\n"));
}

TEST_CASE("plain: bytes are shown at the beginning and the end, carriage returns as a terminal would") {
  Shown shown;
  {
    const auto progress = make_plain_progress(shown.options());
    progress->report(event(Kind::started, 1, "pull"));
    for (std::uint64_t i = 1; i <= 10; ++i) progress->report(bytes(1, "sha256:a", i * 1'000'000, 10'000'000));
    progress->report(event(Kind::output, 1, "", "10%\r20%\r\nx\x1b[31mred\x1b[0m\n"));
    progress->report(event(Kind::completed, 1));
  }
  CHECK(shown.even() ==
        "#1 pull\n#1 sha256:a TMB / TMB\n#1 sha256:a TMB / TMB done\n#1 T 20%\n#1 T xred\n#1 DONE Ts\n");
}

TEST_CASE("tty: rows, states, tails, and what does not fit") {
  ::unsetenv("BUILDKIT_COLORS");
  ::setenv("NO_COLOR", "1", 1);
  Shown shown;
  {
    const auto progress = make_tty_progress(shown.options());
    progress->report(event(Kind::started, 1, "[1/2] FROM x"));
    progress->report(bytes(1, "sha256:a", 5, 10));
    progress->report(event(Kind::completed, 1));
    progress->report(event(Kind::cached, 2, "[2/2] COPY \xC3\xA4 " + std::string(100, 'x')));
    progress->report(event(Kind::started, 3, "RUN y"));
    progress->report(event(Kind::output, 3, "", "out\n"));
    progress->report(event(Kind::failed, 3, "", "bad"));
  }
  const std::string text = shown.even();
  CHECK(text.find("[+] Building Ts (3/3) FINISHED\n") != std::string::npos);
  CHECK(text.find(" => [1/2] FROM x ") != std::string::npos);
  CHECK(text.find(" => => sha256:a 5B / 10B ") != std::string::npos);
  CHECK(text.find(" => CACHED [2/2] COPY \xC3\xA4 xxx") != std::string::npos);
  CHECK(text.find(" => ERROR RUN y ") != std::string::npos);
  CHECK(text.ends_with("------\n > RUN y:\nT out\n------\n"));
  CHECK(text.find('\x1b') == std::string::npos);
  ::unsetenv("NO_COLOR");
}

TEST_CASE("colours of the environment") {
  ::unsetenv("NO_COLOR");
  ::setenv("BUILDKIT_COLORS", "run=green:error=255,0,1:cancel=nonsense", 1);
  const ProgressColours colours = ProgressColours::from_environment();
  CHECK(colours.run == "\x1b[32m");
  CHECK(colours.error == "\x1b[38;2;255;0;1m");
  CHECK(colours.cancel == "\x1b[33m");
  ::setenv("NO_COLOR", "1", 1);
  CHECK(ProgressColours::from_environment().run.empty());
  ::unsetenv("NO_COLOR");
  ::unsetenv("BUILDKIT_COLORS");
}

TEST_CASE("rawjson: BuildKit's objects") {
  Shown shown;
  {
    const auto progress = make_rawjson_progress(shown.options());
    progress->report(event(Kind::started, 1, "RUN x"));
    ProgressEvent output = event(Kind::output, 1, "", "hi\n");
    output.is_stderr = true;
    progress->report(output);
    progress->report(bytes(1, "part", 1, 2));
    progress->report(event(Kind::failed, 1, "", "bad"));
    progress->report(event(Kind::warning, 1, "W", "why"));
  }
  const std::string text =
      std::regex_replace(std::regex_replace(shown.text, std::regex("\"[0-9-]+T[0-9:.]+Z\""), "\"TIME\""),
                         std::regex("sha256:[0-9a-f]+"), "D");
  CHECK(text == R"({"vertexes":[{"digest":"D","name":"RUN x","started":"TIME"}]})"
                "\n"
                R"({"logs":[{"vertex":"D","stream":2,"data":"aGkK","timestamp":"TIME"}]})"
                "\n"
                R"({"statuses":[{"id":"part","vertex":"D","total":2,"current":1,"timestamp":"TIME","started":"TIME"}]})"
                "\n"
                R"({"vertexes":[{"digest":"D","name":"RUN x","started":"TIME","completed":"TIME","error":"bad"}]})"
                "\n"
                R"({"warnings":[{"vertex":"D","level":1,"short":"Vw==","detail":["d2h5"]}]})"
                "\n");
}

TEST_CASE("the tail of a log is what a terminal shows") {
  LogTail tail(2);
  tail.feed("one\ntwo\nthr");
  tail.feed("ee\rTH\n");
  CHECK(tail.lines() == std::vector<std::string>{"two", "THree"});
  tail.feed("\x1b]0;title\a\x1b[1;31mred\x1b[0m\tx\b\by\n");
  CHECK(tail.lines().back() == "redyx");
  tail.feed("name:\tvalue\n");
  CHECK(tail.lines().back() == "name:\tvalue");
}
