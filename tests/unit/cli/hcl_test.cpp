// SPDX-License-Identifier: Apache-2.0
// HCL expressions: each with what buildx makes of it, as JSON.
#include <dray/core/fd.hpp>

#include "catch.hpp"
#include "hcl/evaluate.hpp"
#include "hcl/functions.hpp"
#include "hcl/pattern.hpp"

using namespace dray;
using namespace dray::cli::hcl;

namespace {

class NoGlobals : public Globals {
 public:
  Result<std::optional<Value>> variable(const std::string&, const Place&) override { return std::optional<Value>(); }
  Result<std::optional<Value>> attribute_of_block(const std::string&, const std::string&, const std::string&,
                                                  const Place&) override {
    return std::optional<Value>();
  }
  const UserFunction* function(const std::string&) override { return nullptr; }
  std::vector<std::string> names() const override { return {"known"}; }
};

std::string evaluated(const std::string& text) {
  const auto expression = parse_expression(text, {"f", 1});
  if (!expression) return "error: " + expression.error().to_string();
  NoGlobals globals;
  const auto value = Evaluator(globals).evaluate(**expression);
  if (!value) return "error: " + value.error().to_string();
  return to_json(*value).value_or("too large");
}

struct Case {
  const char *expression, *json;
};

const Case kCases[] = {
    {R"(absolute(-42))", R"(42)"},
    {R"(add(123, 1))", R"(124)"},
    {R"(and(true, false))", R"(false)"},
    {R"(base64decode("SGVsbG8="))", R"("Hello")"},
    {R"(base64encode("Hello"))", R"("SGVsbG8=")"},
    {R"(basename("/usr/local/bin/docker"))", R"("docker")"},
    {R"(basename("/usr/local/bin/"))", R"("bin")"},
    {R"(basename(""))", R"(".")"},
    {R"(dirname("a"))", R"(".")"},
    {R"(dirname("/a"))", R"("/")"},
    {R"(dirname("/a/b/"))", R"("/a/b")"},
    {R"(can(parseint("123", 10)))", R"(true)"},
    {R"(can(parseint("zz", 10)))", R"(false)"},
    {R"(ceil(3.14))", R"(4)"},
    {R"(chomp("Hello\n\n"))", R"("Hello")"},
    {R"(chunklist([1,2,3,4,5], 2))", R"([[1,2],[3,4],[5]])"},
    {R"(coalesce(null, "", "docker"))", R"("")"},
    {R"(coalesce(null, 1))", R"(1)"},
    {R"(coalescelist([], [1,2], [3]))", R"([1,2])"},
    {R"(compact(["a", "", "b", ""]))", R"(["a","b"])"},
    {R"(concat([1,2],[3,4]))", R"([1,2,3,4])"},
    {R"(concat(["a"],[3,4]))", R"(["a",3,4])"},
    {R"(contains([1,2,3], 2))", R"(true)"},
    {R"(contains(["1"], 1))", R"(false)"},
    {R"(convert("42", number))", R"(42)"},
    {R"(convert(["1","1"], set(number)))", R"([1])"},
    {R"(convert({a=1}, map(string)))", R"({"a":"1"})"},
    {R"(csvdecode("name,age\nAlice,30\nBob,40"))", R"([{"age":"30","name":"Alice"},{"age":"40","name":"Bob"}])"},
    {R"(distinct([1,2,2,3,3,3]))", R"([1,2,3])"},
    {R"(divide(10, 2))", R"(5)"},
    {R"(divide(1, 3))", R"(0.3333333333333333)"},
    {R"(element(["a","b","c"], 1))", R"("b")"},
    {R"(element(["a","b","c"], 4))", R"("b")"},
    {R"(element(["a","b","c"], -1))", R"("c")"},
    {R"(equal(2, 2))", R"(true)"},
    {R"(equal(2, "2"))", R"(false)"},
    {R"(flatten([[1,2],[3,[4]],[5]]))", R"([1,2,3,4,5])"},
    {R"(flatten([1,[2]]))", R"([1,2])"},
    {R"(floor(3.99))", R"(3)"},
    {R"(floor(-3.5))", R"(-4)"},
    {R"(format("Hello, %s!", "World"))", R"("Hello, World!")"},
    {R"(format("%5d|%-5d|%05d|%x|%X|%o|%b", 42, 42, 42, 255, 255, 8, 5))", R"("   42|42   |00042|ff|FF|10|101")"},
    {R"(format("%[2]s %[1]s", "a", "b"))", R"("b a")"},
    {R"(format("%s", 12))", R"("12")"},
    {R"(format("%d", "12"))", R"("12")"},
    {R"(format("%v %v", "x", null))", R"("x null")"},
    {R"(format("%#v", "x"))", R"("\"x\"")"},
    {R"(format("%%"))", R"("%")"},
    {R"(format("%5s|%-5s|%.2s", "ab", "ab", "abcdef"))", R"("   ab|ab   |ab")"},
    {R"(formatdate("YYYY-MM-DD", "2025-09-16T12:00:00Z"))", R"("2025-09-16")"},
    {R"(formatdate("DD MMM YYYY hh:mm:ss ZZZ", "2018-01-02T23:12:01Z"))", R"("02 Jan 2018 23:12:01 UTC")"},
    {R"(formatdate("EEEE, DD-MMM-YY HH:mm:ss aa Z ZZZZ ZZZZZ", "2018-01-02T23:12:01-08:30"))",
     R"("Tuesday, 02-Jan-18 11:12:01 pm -08:30 -0830 -08:30")"},
    {R"(formatdate("h'o''clock'", "2018-01-02T23:12:01Z"))", R"("23o'clock")"},
    {R"(formatlist("Hi %s", ["Alice", "Bob"]))", R"(["Hi Alice","Hi Bob"])"},
    {R"(formatlist("%s-%d", ["Alice", "Bob"], [1,2]))", R"(["Alice-1","Bob-2"])"},
    {R"(formatlist("%s-%d", ["Alice", "Bob"], 1))", R"(["Alice-1","Bob-1"])"},
    {R"(greaterthan(2, 5))", R"(false)"},
    {R"(greaterthanorequalto(5, 5))", R"(true)"},
    {R"(hasindex([10, 20, 30], 1))", R"(true)"},
    {R"(hasindex([10, 20, 30], 5))", R"(false)"},
    {R"(indent(4, "Hello\nWorld"))", R"("Hello\n    World")"},
    {R"(index([1,2], 1))", R"(2)"},
    {R"(indexof(["a","b","c"], "b"))", R"(1)"},
    {R"(int(3.75))", R"(3)"},
    {R"(int(-3.75))", R"(-3)"},
    {R"(join(",", ["a","b","c"]))", R"("a,b,c")"},
    {R"(join("-", ["a"], ["b", "c"]))", R"("a-b-c")"},
    {R"(jsondecode("{\"name\":\"Docker\",\"stars\":5}"))", R"({"name":"Docker","stars":5})"},
    {R"(jsonencode({name="Docker", stars=5}))", R"("{\"name\":\"Docker\",\"stars\":5}")"},
    {R"(jsonencode([null, true, 1.5, "a\"<>&\u00e9"]))", R"("[null,true,1.5,\"a\\\"\\u003c\\u003e\\u0026é\"]")"},
    {R"(keys({foo = 1, bar = 2, baz = 3}))", R"(["bar","baz","foo"])"},
    {R"(length([1,2,3,4]))", R"(4)"},
    {R"(lessthan(10, 3))", R"(false)"},
    {R"(lessthanorequalto(5, 7))", R"(true)"},
    {R"(log(100, 10))", R"(2)"},
    {R"(lookup({a="apple", b="banana"}, "a", "none"))", R"("apple")"},
    {R"(lookup({a="apple", b="banana"}, "c", "none"))", R"("none")"},
    {R"(lower("HELLO"))", R"("hello")"},
    {R"(max(3, 9, 7))", R"(9)"},
    {R"(min(3, 9, 7))", R"(3)"},
    {R"(max([3, 9, 7]...))", R"(9)"},
    {R"(md5("docker"))", R"("05b6053c41a2130afd6fc3b158bda4e6")"},
    {R"(merge({a=1, b=2}, {b=3, c=4}))", R"({"a":1,"b":3,"c":4})"},
    {R"(merge({a=1}, null))", R"({"a":1})"},
    {R"(modulo(10, 3))", R"(1)"},
    {R"(modulo(-10, 3))", R"(-1)"},
    {R"(multiply(6, 7))", R"(42)"},
    {R"(negate(7))", R"(-7)"},
    {R"(not(true))", R"(false)"},
    {R"(notequal(4, 5))", R"(true)"},
    {R"(or(true, false))", R"(true)"},
    {R"(parseint("ff", 16))", R"(255)"},
    {R"(parseint("-12", 10))", R"(-12)"},
    {R"(pow(3, 2))", R"(9)"},
    {R"(pow(2, 0.5))", R"(1.4142135623730951)"},
    {R"(range(0, 5))", R"([0,1,2,3,4])"},
    {R"(range(5))", R"([0,1,2,3,4])"},
    {R"(range(5, 0))", R"([5,4,3,2,1])"},
    {R"(range(1, 10, 3))", R"([1,4,7])"},
    {R"(regex("h.llo", "hello"))", R"("hello")"},
    {R"(regex("(h)(.)llo", "hello"))", R"(["h","e"])"},
    {R"(regex("(?P<a>h)(?P<b>.)llo", "hello"))", R"({"a":"h","b":"e"})"},
    {R"(regex("^v?([0-9]+)\\.([0-9]+)(?:\\.([0-9]+))?$", "v1.2"))", R"(["1","2",null])"},
    {R"(regex_replace("abc123xyz", "[0-9]+", "NUM"))", R"("abcNUMxyz")"},
    {R"_(regex_replace("abc123xyz", "([a-z]+)([0-9]+)", "$2-$${1}"))_", R"("123-abcxyz")"},
    {R"(regex_replace("aaa", "a*?", "x"))", R"("xaxaxax")"},
    {R"(regex_replace("Hello World", "(?i)[A-Z]", "_"))", R"("_____ _____")"},
    {R"(regex_replace("a.b/c", "[^a-z0-9]", "-"))", R"("a-b-c")"},
    {R"(regexall("[a-z]+", "abc123xyz"))", R"(["abc","xyz"])"},
    {R"(regexall("(a)(b)?", "abaab"))", R"([["a","b"],["a",null],["a","b"]])"},
    {R"(regexall("", "abc"))", R"(["","","",""])"},
    {R"(regexall("\\bfoo\\b|\\d{2,3}", "foo 1 22 3333 food"))", R"(["foo","22","333"])"},
    {R"(regex("[[:alpha:]]+", "12ab"))", R"("ab")"},
    {R"(regex("a|ab", "ab"))", R"("a")"},
    {R"_(regex("(a|ab)(c|bcd)(d*)", "abcd"))_", R"(["a","bcd",""])"},
    {R"(replace("banana", "na", "--"))", R"("ba----")"},
    {R"(replace("banana", "/n./", "x"))", R"("banana")"},
    {R"(replace("ab", "", "-"))", R"("-a-b-")"},
    {R"(reverse("stressed"))", R"("desserts")"},
    {R"(reverse("añb"))", R"("bña")"},
    {R"(reverselist([1,2,3]))", R"([3,2,1])"},
    {R"(sanitize("My App! v1.0"))", R"("My_App__v1_0")"},
    {R"(sanitize("é-a_b"))", R"("_-a_b")"},
    {R"(sethaselement([1,2,3], 2))", R"(true)"},
    {R"(setintersection(["a","b","c"], ["b","c","d"]))", R"(["b","c"])"},
    {R"(setproduct(["x","y"], [1,2]))", R"([["x",1],["x",2],["y",1],["y",2]])"},
    {R"(setsubtract([1,2,3], [2]))", R"([1,3])"},
    {R"(setsymmetricdifference([1,2,3], [3,4]))", R"([1,2,4])"},
    {R"(setunion(["a","b"], ["b","c"]))", R"(["a","b","c"])"},
    {R"(setunion([3,1],[2,10]))", R"([1,2,3,10])"},
    {R"(sha1("hello"))", R"("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d")"},
    {R"(sha256("hello"))", R"("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")"},
    {R"(signum(-12))", R"(-1)"},
    {R"(slice(["a","b","c","d"], 1, 3))", R"(["b","c"])"},
    {R"(sort(["b","c","a"]))", R"(["a","b","c"])"},
    {R"(sort([3,1,10]))", R"(["1","10","3"])"},
    {R"(split(",", "a,b,c"))", R"(["a","b","c"])"},
    {R"(split("", "abc"))", R"(["a","b","c"])"},
    {R"(split(",", ""))", R"([""])"},
    {R"(strlen("Docker"))", R"(6)"},
    {R"(strlen("añb"))", R"(3)"},
    {R"(substr("abcdef", 2, 3))", R"("cde")"},
    {R"(substr("abcdef", -2, 3))", R"("ef")"},
    {R"(substr("abcdef", 2, -1))", R"("cdef")"},
    {R"(substr("abcdef", 2, 0))", R"("")"},
    {R"(substr("abcdef", 9, 2))", R"("")"},
    {R"(subtract(10, 3))", R"(7)"},
    {R"(timeadd("2025-09-24T12:00:00Z", "1h30m"))", R"("2025-09-24T13:30:00Z")"},
    {R"(timeadd("2025-09-24T12:00:00+02:00", "-90s"))", R"("2025-09-24T11:58:30+02:00")"},
    {R"(title("hello world-from_docker"))", R"("Hello World-From_docker")"},
    {R"(title("hELLO 1a"))", R"("HELLO 1a")"},
    {R"(trim("--hello--", "-"))", R"("hello")"},
    {R"(trimprefix("docker-build", "docker-"))", R"("build")"},
    {R"(trimspace("   hello\n   "))", R"("hello")"},
    {R"(trimsuffix("filename.txt", ".txt"))", R"("filename")"},
    {R"(try(parseint("zz", 16), parseint("ff", 16)))", R"(255)"},
    {R"(try(index({a="apple"}, "b"), "fallback"))", R"("fallback")"},
    {R"(try(nope.x, "d"))", R"("d")"},
    {R"(try({a=1}.b, "d"))", R"("d")"},
    {R"(urlencode("a b=c&d/é~*"))", R"("a+b%3Dc%26d%2F%C3%A9~%2A")"},
    {R"(uuidv5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "example.com"))", R"("cfbff0d1-9375-5685-968c-48ce8b15ae17")"},
    {R"(values({a=1, c=3, b=2}))", R"([1,2,3])"},
    {R"(zipmap(["name","stars"], ["Docker", 5]))", R"({"name":"Docker","stars":5})"},
    {R"(1 + 2 * 3)", R"(7)"},
    {R"((1 + 2) * 3)", R"(9)"},
    {R"(-1 + 2)", R"(1)"},
    {R"(10 % 4)", R"(2)"},
    {R"(7 / 2)", R"(3.5)"},
    {R"(1 / 3)", R"(0.3333333333333333)"},
    {R"(1e3)", R"(1000)"},
    {R"(1.50)", R"(1.5)"},
    {R"("a" == "a")", R"(true)"},
    {R"(1 == "1")", R"(false)"},
    {R"(true == "true")", R"(false)"},
    {R"(null == null)", R"(true)"},
    {R"([1,2] == [1,2])", R"(true)"},
    {R"({a=1} == {a=1})", R"(true)"},
    {R"(1 < 2 && 2 >= 2)", R"(true)"},
    {R"(!true || false)", R"(false)"},
    {R"(true ? "a" : "b")", R"("a")"},
    {R"(false ? 1 : "b")", R"("b")"},
    {R"("${1}")", R"(1)"},
    {R"("${true}")", R"(true)"},
    {R"("a${1}b${true}c")", R"("a1btruec")"},
    {R"("$${x} %%{y} $x %y")", R"("${x} %{y} $x %y")"},
    {R"("%{ if true }yes%{ else }no%{ endif }")", R"("yes")"},
    {R"("%{ if false }yes%{ endif }")", R"("")"},
    {R"("%{ for x in [1,2,3] }${x},%{ endfor }")", R"("1,2,3,")"},
    {R"("%{ for k, v in {a=1,b=2} }${k}=${v};%{ endfor }")", R"("a=1;b=2;")"},
    {R"("a ${~ 1 ~} b")", R"("a1b")"},
    {R"("a %{~ if true ~} x %{~ endif ~} b")", R"("axb")"},
    {R"("\u00e9\t\"\\")", R"("é\t\"\\")"},
    {R"([for x in [1,2,3] : x * 2])", R"([2,4,6])"},
    {R"([for x in [1,2,3] : x if x != 2])", R"([1,3])"},
    {R"([for i, x in ["a","b"] : "${i}${x}"])", R"(["0a","1b"])"},
    {R"([for k, v in {b=1, a=2} : "${k}${v}"])", R"(["a2","b1"])"},
    {R"({for x in ["a","b"] : x => upper(x)})", R"({"a":"A","b":"B"})"},
    {R"({for x in ["a","b","a"] : x => x...})", R"({"a":["a","a"],"b":["b"]})"},
    {R"({for k, v in {a=1, b=2} : v => k if v > 1})", R"({"2":"b"})"},
    {R"([{n=1},{n=2}][*].n)", R"([1,2])"},
    {R"([{n=1},{n=2}].*.n)", R"([1,2])"},
    {R"([[1,2],[3]][*][0])", R"([1,3])"},
    {R"(null[*])", R"([])"},
    {R"("x"[*])", R"(["x"])"},
    {R"({a={b=[1,2]}}.a.b[1])", R"(2)"},
    {R"({a={b=[1,2]}}.a.b.1)", R"(2)"},
    {R"({a={b=[1,2]}}["a"]["b"][0])", R"(1)"},
    {R"([1,2,])", R"([1,2])"},
    {R"({a=1, b=2,})", R"({"a":1,"b":2})"},
    {R"({"a b"=1, (upper("c"))=2, d:3})", R"({"C":2,"a b":1,"d":3})"},
    {R"(concat([[1],[2]]...))", R"([1,2])"},
    {R"("${upper("${lower("A")}b")}")", R"("AB")"},
    {R"(!"true")", R"(false)"},
    {R"("5" + 1)", R"(6)"},
    {R"(5 > "3")", R"(true)"},
    {R"("true" ? 1 : 2)", R"(1)"},
    {R"(1 == 1 ? 2 == 2 ? "a" : "b" : "c")", R"("a")"},
    {R"(9007199254740993)", R"(9007199254740993)"},
    {R"(12345678901234567890)", R"(12345678901234567890)"},
    {R"(0.1 + 0.2)", R"(0.3)"},
    {R"(123456789.123)", R"(123456789.123)"},
    {R"(jsonencode("<é>"))", R"("\"\\u003cé\\u003e\"")"},
};

// What buildx refuses, too.
const char* const kRefused[] = {
    R"(divide(1, 0))",
    R"(format("%s"))",
    R"(format("a", "b"))",
    R"(format("%z", 1))",
    R"(index([1,2], 7))",
    R"(length("abc"))",
    R"(lookup({a="apple"}, "c"))",
    R"(max(3, 9, 7...))",
    R"(max())",
    R"(parseint("zz", 16))",
    R"(range(0, 10, -1))",
    R"(regex("x", "hello"))",
    R"(regex("(", "a"))",
    R"(slice([1], 0, 2))",
    R"("x" < "y")",
    R"("a${null}")",
    R"("a${[1]}")",
    R"("\q")",
    R"({for x in ["a","b","a"] : x => x})",
    R"([1,2][5])",
    R"({a=1}.b)",
    R"({a=1}["b"])",
    R"({a=1 b=2})",
    R"(upper(null))",
    R"(nosuch(1))",
    R"(uper("a"))",
    R"(X)",
    R"(X.y)",
    R"(upper("a"...))",
    R"(1 +)",
    R"([1)",
    R"("abc)",
    R"(!5)",
    R"(-"a")",
    R"("a" + 1)",
    R"("" ? 1 : 2)",
    R"([for x in "abc" : x])",
    R"({for x in [1] : x})",
    R"(a b)",
    R"(convert("x", number))",
    R"(convert([1], string))",
};

}  // namespace

TEST_CASE("hcl: expressions and functions") {
  for (const auto& [expression, json] : kCases) {
    INFO(expression);
    CHECK(evaluated(expression) == json);
  }
}

TEST_CASE("hcl: what is refused") {
  for (const char* expression : kRefused) {
    INFO(expression);
    CHECK(evaluated(expression).starts_with("error: f:1: "));
  }
  CHECK(evaluated("uper(1)") == "error: f:1: there is no function \"uper\"\ndid you mean upper?");
  CHECK(evaluated("knwn") == "error: f:1: there is no variable \"knwn\"\ndid you mean known?");
  CHECK(evaluated("bcrypt(\"a\")") == "error: f:1: bcrypt(): this function is not supported");
  CHECK(evaluated("[\n1,\nno\n]") == "error: f:3: there is no variable \"no\"");
}

TEST_CASE("hcl: what buildx has since 0.32") {
  CHECK(evaluated("formattimestamp(\"X\", \"2015-10-21T00:00:00Z\")") == "\"1445385600\"");
  CHECK(evaluated("formattimestamp(\"YYYY-MM-DD'T'hh:mm:ssZ\", 1445385600)") == "\"2015-10-21T00:00:00Z\"");
  CHECK(evaluated("unixtimestampparse(1690328596).month_name") == "\"July\"");
}

TEST_CASE("hcl: hostile expressions end with an error, soon") {
  const auto repeated = [](const char* text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += text;
    return all;
  };
  for (const char* opening : {"(", "[", "{a=", "\"${", "-", "!", "upper(", "true ? ", "[for x in ", "x["})
    CHECK(evaluated(repeated(opening, 100'000)).starts_with("error: "));
  CHECK(evaluated("1" + repeated(" + 1", 100'000)).contains("nested too deeply"));
  CHECK(evaluated("x" + repeated(".a", 100'000)).contains("nested too deeply"));
  CHECK(evaluated("[" + repeated("1,", 300'000) + "]").starts_with("error: "));
  // Each twice as large as the one within.
  std::string doubled = "range(1000)";
  for (int i = 0; i < 30; ++i) doubled = "[for x in [" + doubled + "] : concat(x, x)][0]";
  CHECK(evaluated(doubled).contains("too much room"));
  CHECK(evaluated("[for a in range(1000) : [for b in range(1000) : [for c in range(1000) : 1]]]")
            .contains("too much room"));
  std::string shared = "1";
  for (int i = 0; i < 40; ++i) shared = "[for x in [" + shared + "] : [x, x, x]]";
  CHECK(evaluated(shared + " == " + shared).contains("too much room"));
  CHECK(evaluated("regex(\"(a*)*(a*)*(a*)*b\", join(\"\", [for x in range(1000) : \"aaaaaaaaaa\"]))")
            .contains("does not match"));
  CHECK(evaluated("regex(\"(a{1000}){1000}\", \"a\")").contains("too long"));
  CHECK_FALSE(Pattern::compile(repeated("(", 10'000)).has_value());
}

TEST_CASE("hcl: functions spend while they build, not afterwards") {
  const auto called = [](const char* name, const List& arguments, std::size_t values, std::size_t steps) {
    Budget budget(values, steps);
    const auto result = find_function(name)->call(Call(arguments, budget));
    return result ? "made" : result.error().message();
  };
  const std::string room = "the file's values take too much room", time = "evaluating the file takes too long";
  List hundred;
  for (int i = 0; i < 100; ++i) hundred.emplace_back(static_cast<Number>(i));
  const Value numbers(hundred), text(std::string(1000, 'a'));
  CHECK(called("formatlist", {"%1000[1]d", numbers}, 10'000, 100'000) == room);
  CHECK(called("formatlist", {"%1000[1]d", numbers}, 200'000, 100'000) == "made");
  CHECK(called("format", {"%.0[1]s%.0[1]s%.0[1]s%.0[1]s", text}, 10'000, 2'000) == time);
  CHECK(called("concat", {numbers, numbers}, 150, 0) == room);
  CHECK(called("setproduct", {numbers, numbers}, 1'000, 0) == room);
  CHECK(called("range", {Value(Number(1000))}, 500, 0) == room);
  CHECK(called("split", {"", text}, 500, 0) == room);
  CHECK(called("distinct", {numbers}, 1'000, 1'000) == time);
  CHECK(called("setsubtract", {numbers, List()}, 1'000, 1'000) == time);
  CHECK(called("csvdecode", {std::string(1000, 'n') + "\nx\nx\nx"}, 2'500, 0) == room);
  CHECK(called("regexall", {"a(?:a*b)?", text}, 10'000, 100'000) == time);  // each match looks at all the rest
  CHECK(called("regexall", {"((((.*))))", text}, 3'000, 100'000) == room);
  CHECK(called("regexall", {"a", text}, 10'000, 100'000) == "made");
  const std::string large(1u << 20, 'a');
  CHECK(called("join", {large, List{"a", "b"}}, 0, 0) == "the result is too long");
  CHECK(called("replace", {large, "a", "bb"}, 0, 0) == "the result is too long");
  CHECK(called("replace", {large, "", "bb"}, 0, 0) == "the result is too long");
  CHECK(called("regex_replace", {large, ".*", "$0$0$0"}, 100, 1u << 30) == "the result is too long");
  std::string lists = "[{}";
  for (int i = 0; i < 100'000; ++i) lists += ",{}";
  CHECK(called("jsondecode", {lists + "]"}, 0, 0) == "made");  // in linear time
  CHECK(called("jsondecode", {std::string(300, '[') + std::string(300, ']')}, 0, 0) == "the text is no JSON");
  CHECK(called("reverse", {large}, 0, 0) == "made");
}

TEST_CASE("hcl: a value's weight counts its text, and its depth is limited") {
  CHECK(Value("abc").weight() == 4);
  CHECK(Value(List{"abc", Value(Number(1))}).weight() == 6);
  CHECK(Value(Object{{"key", "abc"}}).weight() == 8);
  CHECK(Value("a") == Value(std::string("a")));
  CHECK_FALSE(Value("a") == Value("b"));
  CHECK(evaluated("concat([for i in range(1000) : format(\"%1000d\", i)], [for i in range(1000) : 1])")
            .contains("[\"       "));
  CHECK(evaluated("[for j in range(1000) : [for i in range(1000) : format(\"%1000d\", i)]]").contains("too much room"));
  CHECK(evaluated("formatlist(join(\"\", [for i in range(1000) : \"%1000[1]d\"]), range(1024))")
            .contains("too much room"));
  CHECK(evaluated("can(regexall(\"b\", \"a\"))") == "true");
  CHECK(evaluated("[for i in range(1000) : [for j in range(1000) : can(" + std::string(60, 'n') + "())]]")
            .contains("takes too long"));  // a guess for each
  // Deeper than the file is, as one variable may hold another.
  Value deep = List();
  for (int i = 0; i < 1000; ++i) deep = List{deep};
  Expression expression;
  expression.value = deep;
  NoGlobals globals;
  const auto value = Evaluator(globals).evaluate(expression);
  REQUIRE_FALSE(value);
  CHECK(value.error().message() == "lists and objects are nested too deeply");
}
