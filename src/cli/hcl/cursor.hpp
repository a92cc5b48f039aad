// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "syntax.hpp"

namespace dray::cli::hcl {

/// Where reading is, in a text of HCL, and the limits of what is read.
class Cursor {
 public:
  Cursor(std::string_view text, const Place& begin) : text_(text), place_(begin) {}

  bool at_end() const { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool sees(std::string_view word) const { return text_.substr(at_).starts_with(word); }
  char take();
  bool take(std::string_view word);
  std::string_view rest() const { return text_.substr(at_); }
  void skip(std::size_t count) {
    while (count-- > 0) take();
  }
  const Place& place() const { return place_; }
  Failure error(std::string message) const { return error_at(place_, std::move(message)); }

  /// White space and comments; ends of lines only with `newlines`.
  Result<void> skip_space(bool newlines);
  /// The name at hand, "" if there is none.
  std::string_view peek_name() const;
  std::string take_name();
  /// A name as a word of its own: "for", but not the beginning of "format".
  bool take_keyword(std::string_view word);

 private:
  std::string_view text_;
  std::size_t at_ = 0;
  Place place_;
};

bool begins_name(char c);

/// Expressions from a cursor.
class ExpressionParser {
 public:
  explicit ExpressionParser(Cursor& cursor) : cursor_(cursor) {}

  /// Within brackets, ends of lines are white space.
  Result<ExpressionRef> expression(bool newlines);
  /// What follows an opening quote, up to the closing one.
  Result<ExpressionRef> quoted();
  /// A template's text, with escapes already resolved, to its end.
  Result<ExpressionRef> template_to_end(bool outdents = false);

 private:
  Result<ExpressionRef> binary(int level);
  Result<ExpressionRef> unary();
  Result<ExpressionRef> postfix();
  Result<ExpressionRef> accesses(ExpressionRef base, bool attributes_only);
  Result<ExpressionRef> splat(ExpressionRef base, bool attributes_only, const Place& place);
  Result<ExpressionRef> term();
  Result<ExpressionRef> number();
  Result<ExpressionRef> name_or_call();
  Result<ExpressionRef> tuple();
  Result<ExpressionRef> object();
  Result<ExpressionRef> for_expression(bool object);
  Result<ExpressionRef> heredoc();
  Result<std::vector<std::string>> loop_names();
  Result<void> space() { return cursor_.skip_space(newlines_); }
  Result<void> expect(std::string_view word, const char* why);

  struct Part;
  Result<std::vector<Part>> parts(bool quoted);
  Result<Part> directive();
  static void outdent(std::vector<Part>& parts);
  Result<ExpressionRef> finish(std::vector<Part> parts, bool outdents);
  Result<ExpressionRef> assemble(std::vector<Part>& parts, std::size_t& at, int depth);

  Result<ExpressionRef> make(Expression expression);

  Cursor& cursor_;
  bool newlines_ = false;
  int depth_ = 0;
  std::size_t made_ = 0;
};

}  // namespace dray::cli::hcl
