// SPDX-License-Identifier: Apache-2.0
// Go templates over JSON: the subset people write after --format. A template is parsed into nodes, then run against a
// document. A pipeline is a list of commands whose last argument is the previous one's result.
#include <nlohmann/json.hpp>

#include "table.hpp"

namespace dray::cli {
namespace {

using json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;

std::string dump(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// As Go prints a value with %v.
std::string to_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "<no value>";
  if (value.is_array()) {
    std::string text = "[";
    for (std::size_t i = 0; i < value.size(); ++i) text += (i > 0 ? " " : "") + to_text(value[i]);
    return text + "]";
  }
  if (value.is_object()) {
    std::vector<std::string> parts;
    for (const auto& [key, item] : value.items()) parts.push_back(key + ":" + to_text(item));
    std::sort(parts.begin(), parts.end());
    std::string text = "map[";
    for (std::size_t i = 0; i < parts.size(); ++i) text += (i > 0 ? " " : "") + parts[i];
    return text + "]";
  }
  return dump(value);
}

bool truthy(const json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != 0;
  return !value.empty() && value != "";
}

Failure bad(const std::string& why) { return fail(ErrorCode::invalid_argument, "template parsing error: " + why); }

struct Node {
  enum class Kind { text, output, condition, range, with } kind = Kind::text;
  std::string text;  ///< literal text, or the pipeline
  std::vector<Node> body, otherwise;
};

/// Splits "{{…}}" actions; handles trim markers.
class Parser {
 public:
  explicit Parser(const std::string& source) : source_(source) {}

  Result<std::vector<Node>> parse() {
    std::string terminator;
    auto nodes = TRY(parse_list(terminator, 0));
    if (!terminator.empty()) return bad("unexpected {{" + terminator + "}}");
    return nodes;
  }

 private:
  Result<std::vector<Node>> parse_list(std::string& terminator, int depth) {
    if (depth > kMaxDepth) return bad("nested too deeply");
    std::vector<Node> nodes;
    while (position_ < source_.size()) {
      std::size_t open = source_.find("{{", position_);
      std::string literal = source_.substr(position_, open == std::string::npos ? std::string::npos : open - position_);
      if (trim_next_) literal.erase(0, std::min(literal.find_first_not_of(" \t\r\n"), literal.size()));
      trim_next_ = false;
      if (open == std::string::npos) {
        position_ = source_.size();
        nodes.push_back({Node::Kind::text, literal, {}, {}});
        break;
      }
      std::size_t close = source_.find("}}", open);
      if (close == std::string::npos) return bad("unclosed action");
      std::string action = source_.substr(open + 2, close - open - 2);
      position_ = close + 2;
      if (action.starts_with("- ")) {
        action.erase(0, 2);
        literal.erase(literal.find_last_not_of(" \t\r\n") + 1);
      }
      if (action.ends_with(" -")) {
        action.erase(action.size() - 2);
        trim_next_ = true;
      }
      if (!literal.empty()) nodes.push_back({Node::Kind::text, literal, {}, {}});
      std::size_t start = action.find_first_not_of(" \t\n");
      action = start == std::string::npos ? "" : action.substr(start, action.find_last_not_of(" \t\n") - start + 1);
      if (action.starts_with("/*")) continue;
      std::string word = action.substr(0, action.find(' '));
      if (word == "end" || word == "else") {
        terminator = action;
        return nodes;
      }
      if (word == "if" || word == "range" || word == "with") {
        Node node{word == "if"      ? Node::Kind::condition
                  : word == "range" ? Node::Kind::range
                                    : Node::Kind::with,
                  action.substr(word.size()),
                  {},
                  {}};
        std::string ended;
        node.body = TRY(parse_list(ended, depth + 1));
        if (ended.starts_with("else if")) {
          // {{else if X}} is an if nested in the else branch, closed by the same {{end}}.
          Node inner{Node::Kind::condition, ended.substr(7), {}, {}};
          std::string inner_end;
          inner.body = TRY(parse_list(inner_end, depth + 1));
          if (inner_end == "else") inner.otherwise = TRY(parse_list(inner_end, depth + 1));
          if (inner_end != "end") return bad("unexpected EOF");
          node.otherwise.push_back(std::move(inner));
          ended = "end";
        } else if (ended == "else") {
          ended.clear();
          node.otherwise = TRY(parse_list(ended, depth + 1));
        }
        if (ended != "end") return bad("unexpected EOF");
        nodes.push_back(std::move(node));
        continue;
      }
      nodes.push_back({Node::Kind::output, action, {}, {}});
    }
    return nodes;
  }

  const std::string& source_;
  std::size_t position_ = 0;
  bool trim_next_ = false;
};

class Runner {
 public:
  explicit Runner(const json& root) : root_(root) { variables_["$"] = root; }

  Result<std::string> run(const std::vector<Node>& nodes, const json& dot) {
    std::string text;
    for (const Node& node : nodes) {
      switch (node.kind) {
        case Node::Kind::text:
          text += node.text;
          break;
        case Node::Kind::output: {
          auto assigned = TRY(assign(node.text, dot));
          if (!assigned) text += to_text(TRY(pipeline(node.text, dot)));
          break;
        }
        case Node::Kind::condition: {
          json value = TRY(pipeline(node.text, dot));
          text += TRY(run(truthy(value) ? node.body : node.otherwise, dot));
          break;
        }
        case Node::Kind::with: {
          json value = TRY(pipeline(node.text, dot));
          text += truthy(value) ? TRY(run(node.body, value)) : TRY(run(node.otherwise, dot));
          break;
        }
        case Node::Kind::range:
          text += TRY(range(node, dot));
          break;
      }
    }
    return text;
  }

 private:
  Result<bool> assign(const std::string& action, const json& dot) {
    if (!action.starts_with("$")) return false;
    std::size_t operation = action.find(":=");
    if (operation == std::string::npos) return false;
    std::string name = action.substr(0, action.find_first_of(" :"));
    variables_[name] = TRY(pipeline(action.substr(operation + 2), dot));
    return true;
  }

  Result<std::string> range(const Node& node, const json& dot) {
    std::string source = node.text, key_name, value_name;
    if (std::size_t operation = source.find(":="); operation != std::string::npos) {
      std::string names = source.substr(0, operation);
      source.erase(0, operation + 2);
      std::erase(names, ' ');
      std::size_t comma = names.find(',');
      value_name = comma == std::string::npos ? names : names.substr(comma + 1);
      if (comma != std::string::npos) key_name = names.substr(0, comma);
    }
    json list = TRY(pipeline(source, dot));
    if (list.is_null() || list.empty()) return TRY(run(node.otherwise, dot));
    if (!list.is_array() && !list.is_object()) return bad("range can't iterate over " + to_text(list));
    std::vector<std::pair<json, json>> items;
    if (list.is_array()) {
      for (std::size_t i = 0; i < list.size(); ++i) items.emplace_back(i, list[i]);
    } else {
      for (const auto& [key, item] : list.items()) items.emplace_back(key, item);
      std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    std::string text;
    for (const auto& [key, item] : items) {
      if (!key_name.empty()) variables_[key_name] = key;
      if (!value_name.empty()) variables_[value_name] = item;
      text += TRY(run(node.body, item));
    }
    return text;
  }

  /// Words of a command: quoted strings, parenthesised pipelines (kept whole) and bare words.
  static Result<std::vector<std::vector<std::string>>> split(const std::string& text) {
    std::vector<std::vector<std::string>> commands(1);
    for (std::size_t i = 0; i < text.size();) {
      char c = text[i];
      if (c == ' ' || c == '\t' || c == '\n') {
        ++i;
      } else if (c == '|') {
        commands.emplace_back();
        ++i;
      } else if (c == '"' || c == '`') {
        std::size_t end = i + 1;
        while (end < text.size() && text[end] != c) end += (c == '"' && text[end] == '\\') ? 2 : 1;
        if (end >= text.size()) return bad("unterminated quoted string");
        commands.back().push_back(text.substr(i, end - i + 1));
        i = end + 1;
      } else if (c == '(') {
        int depth = 0;
        std::size_t end = i;
        for (; end < text.size(); ++end) {
          depth += text[end] == '(' ? 1 : text[end] == ')' ? -1 : 0;
          if (depth == 0) break;
        }
        if (end >= text.size()) return bad("unclosed left paren");
        std::size_t tail = std::min(text.find_first_of(" \t|", end + 1), text.size());
        commands.back().push_back(text.substr(i, tail - i));
        i = tail;
      } else {
        std::size_t end = std::min(text.find_first_of(" \t\n|", i), text.size());
        commands.back().push_back(text.substr(i, end - i));
        i = end;
      }
    }
    return commands;
  }

  Result<json> pipeline(const std::string& text, const json& dot) {
    if (++depth_ > kMaxDepth) return bad("nested too deeply");
    auto commands = TRY(split(text));
    json value;
    bool piped = false;
    for (const auto& words : commands) {
      if (words.empty()) return bad("missing value for command");
      std::vector<json> arguments;
      bool is_function =
          words[0][0] >= 'a' && words[0][0] <= 'z' && words[0] != "true" && words[0] != "false" && words[0] != "nil";
      for (std::size_t i = is_function ? 1 : 0; i < words.size(); ++i) arguments.push_back(TRY(operand(words[i], dot)));
      if (piped) arguments.push_back(value);
      if (is_function) {
        value = TRY(call(words[0], arguments));
      } else if (arguments.size() == 1) {
        value = arguments[0];
      } else {
        return bad("can't give argument to non-function " + words[0]);
      }
      piped = true;
    }
    --depth_;
    return value;
  }

  Result<json> operand(const std::string& word, const json& dot) {
    if (word.front() == '"') {
      json parsed = json::parse(word, nullptr, false);
      if (parsed.is_discarded()) return bad("bad string " + word);
      return parsed;
    }
    if (word.front() == '`') return json(word.substr(1, word.size() - 2));
    if (word == "true") return json(true);
    if (word == "false") return json(false);
    if (word == "nil") return json(nullptr);
    if (word.front() == '(') {
      std::size_t close = word.rfind(')');
      json value = TRY(pipeline(word.substr(1, close - 1), dot));
      return fields(value, word.substr(close + 1), word);
    }
    if (word.front() == '$') {
      std::size_t end = std::min(word.find('.'), word.size());
      auto found = variables_.find(word.substr(0, end));
      if (found == variables_.end()) return bad("undefined variable \"" + word.substr(0, end) + "\"");
      return fields(found->second, word.substr(end), word);
    }
    if (word.front() == '.') return fields(dot, word, word);
    if (word.find_first_not_of("-0123456789.") == std::string::npos) {
      json parsed = json::parse(word, nullptr, false);
      if (!parsed.is_discarded()) return parsed;
    }
    return bad("function \"" + word + "\" not defined");
  }

  Result<json> fields(json value, const std::string& path, const std::string& whole) {
    for (std::size_t start = 0; start < path.size();) {
      if (path[start] != '.') return bad("unexpected \"" + path + "\" in operand");
      std::size_t end = std::min(path.find('.', start + 1), path.size());
      std::string name = path.substr(start + 1, end - start - 1);
      start = end;
      if (name.empty()) continue;
      if (value.is_null()) return json(nullptr);
      auto found = value.is_object() ? value.find(name) : value.end();
      if (!value.is_object() || found == value.end()) {
        // In docker a wrong field is an error, an absent key of a map prints "<no value>"; JSON cannot tell the two
        // apart, and a typo must not pass for an empty value.
        return fail(ErrorCode::invalid_argument,
                    "template: executing at <" + whole + ">: can't evaluate field " + name);
      }
      json next = *found;
      value = std::move(next);
    }
    return value;
  }

  Result<json> call(const std::string& name, std::vector<json>& arguments) {
    auto need = [&](std::size_t count) { return arguments.size() >= count; };
    if (name == "json" && need(1)) return json(dump(arguments[0]));
    if (name == "len" && need(1))
      return json(arguments[0].is_string() ? arguments[0].get<std::string>().size() : arguments[0].size());
    if ((name == "lower" || name == "upper" || name == "title") && need(1)) {
      std::string text = to_text(arguments[0]);
      if (name == "title") {
        if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
      } else {
        for (char& c : text)
          c = static_cast<char>(name == "lower" ? std::tolower(static_cast<unsigned char>(c))
                                                : std::toupper(static_cast<unsigned char>(c)));
      }
      return json(text);
    }
    if (name == "join" && need(2)) {
      std::string text;
      bool first = true;
      for (const json& item : arguments[0]) {
        text += (first ? "" : to_text(arguments[1])) + to_text(item);
        first = false;
      }
      return json(text);
    }
    if (name == "split" && need(2)) {
      std::string text = to_text(arguments[0]), separator = to_text(arguments[1]);
      json list = json::array();
      if (separator.empty()) return json::array({text});
      for (std::size_t start = 0; start <= text.size();) {
        std::size_t end = std::min(text.find(separator, start), text.size());
        list.push_back(text.substr(start, end - start));
        start = end + separator.size();
        if (end == text.size()) break;
      }
      return list;
    }
    if (name == "index" && need(2)) {
      json value = arguments[0];
      for (std::size_t i = 1; i < arguments.size(); ++i) {
        json next;
        if (value.is_array() && arguments[i].is_number_integer()) {
          auto at = arguments[i].get<std::int64_t>();
          if (at < 0 || static_cast<std::size_t>(at) >= value.size())
            return bad("error calling index: index out of range: " + std::to_string(at));
          next = value[static_cast<std::size_t>(at)];
        } else if (value.is_object()) {
          auto found = value.find(to_text(arguments[i]));
          if (found != value.end()) next = *found;
        } else if (!value.is_null()) {
          return bad("error calling index: can't index item of this type");
        }
        value = std::move(next);
      }
      return value;
    }
    if ((name == "println" || name == "print") && need(0)) {
      std::string text;
      for (std::size_t i = 0; i < arguments.size(); ++i) text += (i > 0 ? " " : "") + to_text(arguments[i]);
      return json(text + (name == "println" ? "\n" : ""));
    }
    if (name == "eq" && need(2)) {
      for (std::size_t i = 1; i < arguments.size(); ++i)
        if (arguments[0] == arguments[i]) return json(true);
      return json(false);
    }
    if (name == "ne" && need(2)) return json(arguments[0] != arguments[1]);
    if (name == "lt" && need(2)) return json(arguments[0] < arguments[1]);
    if (name == "gt" && need(2)) return json(arguments[0] > arguments[1]);
    if (name == "not" && need(1)) return json(!truthy(arguments[0]));
    if (name == "and" && need(1)) {
      for (const json& item : arguments)
        if (!truthy(item)) return item;
      return arguments.back();
    }
    if (name == "or" && need(1)) {
      for (const json& item : arguments)
        if (truthy(item)) return item;
      return arguments.back();
    }
    return bad("function \"" + name + "\" not defined, or called with too few arguments");
  }

  const json& root_;
  std::map<std::string, json> variables_;
  int depth_ = 0;
};

}  // namespace

Result<std::string> render_template(const std::string& format, const std::string& json_document) {
  json document = json::parse(json_document, nullptr, false);
  if (document.is_discarded()) return fail(ErrorCode::internal, "the document to format is not JSON");
  if (format == "json") return dump(document);
  Parser parser(format);
  auto nodes = TRY(parser.parse());
  return Runner(document).run(nodes, document);
}

std::string json_object(const std::vector<std::pair<std::string, std::string>>& fields) {
  json object = json::object();
  for (const auto& [name, value] : fields) object[name] = value;
  return dump(object);
}

std::string indented_array(const std::vector<std::string>& json_documents) {
  json list = json::array();
  for (const auto& document : json_documents) list.push_back(json::parse(document, nullptr, false));
  return dump(list, 4);
}

}  // namespace dray::cli
