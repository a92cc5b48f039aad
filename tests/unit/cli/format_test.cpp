// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "command.hpp"
#include "table.hpp"
#include "terminal.hpp"

using namespace dray;
using namespace dray::cli;

TEST_CASE("templates print as Go's do", "[cli]") {
  const std::string document =
      R"({"Name":"/x","State":{"Running":true,"Pid":7},"List":["a","b"],"Map":{"k.1":"v"},"Null":null,"Ports":{"80/tcp":[{"HostPort":"8080"}]}})";
  struct Case {
    const char *format, *expected;
  };
  for (Case test :
       {Case{"{{.Name}}", "/x"}, Case{"{{ .State.Pid }}!", "7!"}, Case{"{{.State.Running}}", "true"},
        Case{"{{json .List}}", R"(["a","b"])"}, Case{"{{.List}}", "[a b]"}, Case{"{{index .Map \"k.1\"}}", "v"},
        Case{"{{range .List}}<{{.}}>{{end}}", "<a><b>"},
        Case{"{{range $i, $v := .List}}{{$i}}={{$v}};{{end}}", "0=a;1=b;"},
        Case{"{{if .State.Running}}up{{else}}down{{end}}", "up"},
        Case{"{{if not .State.Running}}a{{else if eq .Name \"/x\"}}b{{else}}c{{end}}", "b"}, Case{"{{len .List}}", "2"},
        Case{"{{join .List \", \"}}", "a, b"}, Case{"{{.Name | upper}}", "/X"},
        Case{"{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"}, Case{"{{with .State}}{{.Pid}}{{end}}", "7"},
        Case{"{{range $k, $v := .Map}}{{$k}}:{{$v}}{{end}}", "k.1:v"}, Case{"a {{- .Name -}} b", "a/xb"}}) {
    CAPTURE(test.format);
    auto text = render_template(test.format, document);
    REQUIRE_OK(text);
    CHECK(*text == test.expected);
  }
}

TEST_CASE("wrong templates are errors", "[cli]") {
  for (const char* format : {"{{.Nope}}", "{{", "{{if .Name}}", "{{nosuch .Name}}", "{{end}}", "{{index .List 9}}",
                             "{{.Name.x}}", "{{\"a}}"}) {
    CAPTURE(format);
    CHECK_FALSE(render_template(format, R"({"Name":"x","List":[]})").has_value());
  }
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "{{if 1}}";
  CHECK_FALSE(render_template(deep, "{}").has_value());
}

TEST_CASE("tables align, and escape what a terminal would obey", "[cli]") {
  std::vector<TableColumn> columns = {{"ID", "ID"}, {"Name", "NAME"}};
  std::vector<TableRow> rows = {{{{"ID", "1"}, {"Name", "evil\x1b]52;c"}}}, {{{"ID", "22…"}, {"Name", "b"}}}};
  CHECK(*render_table(columns, rows, "") == "ID    NAME\n1     evil\\x1b]52;c\n22…   b\n");
  CHECK(render_table(columns, rows, "{{.Name}}")->substr(0, 4) == "evil");
  CHECK(*render_table(columns, {rows[1]}, "table {{.Name}}\\t{{.ID}}") == "NAME   ID\nb      22…\n");
  CHECK(*render_table(columns, {rows[1]}, "json") == "{\"ID\":\"22…\",\"Name\":\"b\"}\n");
}

TEST_CASE("sizes are read and written", "[cli]") {
  CHECK(*parse_size("512m") == 512ll << 20);
  CHECK(*parse_size("1.5g") == 3ll << 29);
  CHECK(*parse_size("10") == 10);
  CHECK(*parse_size("1KiB") == 1024);
  for (const char* bad : {"", "m", "-1", "1x", "1e40", "nan", "1 m"}) CHECK_FALSE(parse_size(bad).has_value());
  CHECK(human_size(999) == "999B");
  CHECK(human_size(1234567) == "1.23MB");
  CHECK(human_duration(3) == "3 seconds");
  CHECK(human_duration(90) == "About a minute");
}

TEST_CASE("detach keys are found across reads, and given back when they are not", "[cli]") {
  auto keys = DetachKeys::parse("ctrl-p,ctrl-q");
  REQUIRE_OK(keys);
  CHECK(keys->feed("a\x10").pass == "a");
  CHECK(keys->feed("b").pass ==
        "\x10"
        "b");
  CHECK(keys->feed("\x10").pass.empty());
  CHECK(keys->feed("\x11").detached);
  CHECK_FALSE(DetachKeys::parse("ctrl-").has_value());
  CHECK_FALSE(DetachKeys::parse("abc").has_value());
}
