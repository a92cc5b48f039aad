// SPDX-License-Identifier: Apache-2.0
// Functions of points in time, written as RFC 3339 does.
#include <cmath>
#include <cstdio>
#include <ctime>

#include "functions.hpp"

namespace dray::cli::hcl {
namespace {

constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                   "July",    "August",   "September", "October", "November", "December"};
constexpr const char* kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr Number kLatest = 253402300799;  // the end of the year 9999

struct Moment {
  Number seconds = 0;  ///< since 1970
  int offset = 0;      ///< of the zone, in seconds
};

std::tm fields_of(const Moment& moment) {
  std::tm fields{};
  const auto seconds = static_cast<std::time_t>(std::floor(moment.seconds)) + moment.offset;
  ::gmtime_r(&seconds, &fields);
  return fields;
}

std::string zone_text(const Moment& moment, const char* separator) {
  char text[32];
  const int minutes = std::abs(moment.offset) / 60;
  std::snprintf(text, sizeof text, "%c%02d%s%02d", moment.offset < 0 ? '-' : '+', minutes / 60, separator,
                minutes % 60);
  return text;
}

std::string rfc3339(const Moment& moment) {
  const std::tm fields = fields_of(moment);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d", fields.tm_year + 1900, fields.tm_mon + 1,
                fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec);
  return text + (moment.offset == 0 ? "Z" : zone_text(moment, ":"));
}

Result<Moment> parse_moment(const std::string& text) {
  std::tm fields{};
  int used = 0, hours = 0, minutes = 0;
  char sign = 0;
  const int found = std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &fields.tm_year, &fields.tm_mon,
                                &fields.tm_mday, &fields.tm_hour, &fields.tm_min, &fields.tm_sec, &used);
  bool good = found == 6 && used == 19 && fields.tm_mon >= 1 && fields.tm_mon <= 12 && fields.tm_mday >= 1 &&
              fields.tm_mday <= 31 && fields.tm_hour < 24 && fields.tm_min < 60 && fields.tm_sec < 61;
  auto at = static_cast<std::size_t>(used);
  if (good && text[at] == '.') at = std::min(text.find_first_not_of("0123456789", at + 1), text.size());
  Moment moment;
  if (good && text.substr(at) != "Z") {
    int end = 0;
    good = std::sscanf(text.c_str() + at, "%c%2d:%2d%n", &sign, &hours, &minutes, &end) == 3 && end == 6 &&
           (sign == '+' || sign == '-') && hours < 24 && minutes < 60 && at + 6 == text.size();
    moment.offset = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
  }
  if (!good) return wrong("\"" + text.substr(0, 60) + "\" is no RFC 3339 time, such as 2025-09-16T12:00:00Z");
  fields.tm_year -= 1900;
  fields.tm_mon -= 1;
  moment.seconds = static_cast<Number>(::timegm(&fields)) - moment.offset;
  return moment;
}

Result<Moment> moment_of_seconds(Number seconds) {
  if (std::fabs(seconds) > kLatest) return wrong("the time is too far away");
  return Moment{.seconds = seconds};
}

Result<std::string> field_text(std::string_view word, const Moment& moment) {
  const std::tm f = fields_of(moment);
  const auto number = [](int value, int digits) {
    char text[16];
    std::snprintf(text, sizeof text, "%0*d", digits, value);
    return std::string(text);
  };
  const int hour12 = f.tm_hour % 12 == 0 ? 12 : f.tm_hour % 12;
  const bool utc = moment.offset == 0;
  if (word == "YYYY") return number(f.tm_year + 1900, 4);
  if (word == "YY") return number((f.tm_year + 1900) % 100, 2);
  if (word == "MMMM") return std::string(kMonths[f.tm_mon]);
  if (word == "MMM") return std::string(kMonths[f.tm_mon]).substr(0, 3);
  if (word == "MM" || word == "M") return number(f.tm_mon + 1, static_cast<int>(word.size()));
  if (word == "DD" || word == "D") return number(f.tm_mday, static_cast<int>(word.size()));
  if (word == "EEEE") return std::string(kDays[f.tm_wday]);
  if (word == "EEE") return std::string(kDays[f.tm_wday]).substr(0, 3);
  if (word == "hh" || word == "h") return number(f.tm_hour, static_cast<int>(word.size()));
  if (word == "HH" || word == "H") return number(hour12, static_cast<int>(word.size()));
  if (word == "AA") return std::string(f.tm_hour < 12 ? "AM" : "PM");
  if (word == "aa") return std::string(f.tm_hour < 12 ? "am" : "pm");
  if (word == "mm" || word == "m") return number(f.tm_min, static_cast<int>(word.size()));
  if (word == "ss" || word == "s") return number(f.tm_sec, static_cast<int>(word.size()));
  if (word == "ZZZZZ") return zone_text(moment, ":");
  if (word == "ZZZZ") return zone_text(moment, "");
  if (word == "ZZZ") return utc ? "UTC" : zone_text(moment, "");
  if (word == "Z") return utc ? "Z" : zone_text(moment, ":");
  return wrong("there is no field \"" + std::string(word.substr(0, 20)) +
               "\" of a date (letters as text stand in '…')");
}

Result<std::string> formatted(const std::string& pattern, const Moment& moment) {
  if (pattern.size() > 10'000) return wrong("the format is too long");
  std::string result;
  for (std::size_t at = 0; at < pattern.size();) {
    const char c = pattern[at];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c == '\'') {
      for (++at;; ++at) {
        if (at == pattern.size()) return wrong("a \"'\" in the format is not closed");
        if (pattern[at] != '\'')
          result.push_back(pattern[at]);
        else if (at + 1 < pattern.size() && pattern[at + 1] == '\'')
          result.push_back(pattern[++at]);
        else
          break;
      }
      ++at;
    } else if (letter) {
      const std::size_t end = std::min(pattern.find_first_not_of(c, at), pattern.size());
      result += TRY(field_text(std::string_view(pattern).substr(at, end - at), moment));
      at = end;
    } else {
      result.push_back(c);
      ++at;
    }
  }
  return result;
}

Result<Value> formatdate(Arguments a) {
  const std::string pattern = TRY(to_text(a[0]));
  return Value(TRY(formatted(pattern, TRY(parse_moment(TRY(to_text(a[1])))))));
}

Result<Value> formattimestamp(Arguments a) {
  const std::string pattern = TRY(to_text(a[0]));
  const bool seconds = a[1].kind() == Value::Kind::number || (a[1].is_string() && parse_number(a[1].text()));
  const Moment moment = TRY(seconds ? moment_of_seconds(TRY(to_number(a[1]))) : parse_moment(TRY(to_text(a[1]))));
  if (pattern == "X") return Value(number_text(moment.seconds));
  return Value(TRY(formatted(pattern, moment)));
}

Result<Value> timestamp(Arguments) { return Value(rfc3339({.seconds = static_cast<Number>(std::time(nullptr))})); }

Result<Value> timeadd(Arguments a) {
  Moment moment = TRY(parse_moment(TRY(to_text(a[0]))));
  const std::string given = TRY(to_text(a[1]));
  std::string_view rest = given;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  Number seconds = 0;
  bool good = !rest.empty();
  while (good && !rest.empty() && rest != "0") {
    const std::size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
    const auto number = parse_number(rest.substr(0, digits));
    rest.remove_prefix(digits);
    static constexpr std::pair<std::string_view, Number> kUnits[] = {
        {"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
    good = false;
    for (const auto& [unit, factor] : kUnits) {
      if (!number || !rest.starts_with(unit)) continue;
      seconds += *number * factor;
      rest.remove_prefix(unit.size());
      good = true;
      break;
    }
  }
  if (!good) return wrong("\"" + given.substr(0, 60) + "\" is no duration, such as 1h30m");
  moment.seconds += negative ? -seconds : seconds;
  if (std::fabs(moment.seconds) > kLatest) return wrong("the time is too far away");
  return Value(rfc3339(moment));
}

Result<Value> unixtimestampparse(Arguments a) {
  const Moment moment = TRY(moment_of_seconds(TRY(to_number(a[0]))));
  const std::tm f = fields_of(moment);
  const auto number = [](int value) { return Value(static_cast<Number>(value)); };
  char iso_year[16], iso_week[16];
  std::strftime(iso_year, sizeof iso_year, "%G", &f);
  std::strftime(iso_week, sizeof iso_week, "%V", &f);
  return Value(Object{{"year", number(f.tm_year + 1900)},
                      {"year_day", number(f.tm_yday + 1)},
                      {"day", number(f.tm_mday)},
                      {"month", number(f.tm_mon + 1)},
                      {"month_name", kMonths[f.tm_mon]},
                      {"weekday", number(f.tm_wday)},
                      {"weekday_name", kDays[f.tm_wday]},
                      {"hour", number(f.tm_hour)},
                      {"minute", number(f.tm_min)},
                      {"second", number(f.tm_sec)},
                      {"rfc3339", rfc3339(moment)},
                      {"iso_year", Value(parse_number(iso_year).value_or(0))},
                      {"iso_week", Value(parse_number(iso_week).value_or(0))}});
}

}  // namespace

const std::vector<Function>& time_functions() {
  static const std::vector<Function> functions = {{"formatdate", 2, 2, formatdate},
                                                  {"formattimestamp", 2, 2, formattimestamp},
                                                  {"timestamp", 0, 0, timestamp},
                                                  {"timeadd", 2, 2, timeadd},
                                                  {"unixtimestampparse", 1, 1, unixtimestampparse}};
  return functions;
}

}  // namespace dray::cli::hcl
