#include "format/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/error.h"
#include "format/mapped_file.h"
#include "format/utf8.h"

namespace foretoken {

/// Recursive descent over the text; the depth limit bounds the recursion.
class JsonParser {
 public:
  JsonParser(std::string_view text, const std::string& file, uint64_t base, const JsonLimits& limits)
      : text_(text), file_(file), base_(base), limits_(limits) {}

  Json document() {
    if (text_.size() > limits_.bytes) {
      refuse("JSON_TOO_LARGE", "more than " + std::to_string(limits_.bytes) + " bytes of JSON");
    }
    Json root = value(0);
    skipSpace();
    if (at_ != text_.size()) refuse("JSON_SYNTAX", "text after the end of the JSON value");
    return root;
  }

 private:
  [[noreturn]] void refuseAt(size_t at, const char* code, const std::string& message) const {
    throw FormatError(code, message, file_, base_ + at);
  }
  [[noreturn]] void refuse(const char* code, const std::string& message) const { refuseAt(at_, code, message); }

  bool ended() const { return at_ >= text_.size(); }
  char peek() const { return ended() ? '\0' : text_[at_]; }

  void skipSpace() {
    while (!ended() && (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t')) ++at_;
  }

  void expect(char wanted) {
    skipSpace();
    if (ended() || peek() != wanted) refuse("JSON_SYNTAX", std::string("expected '") + wanted + "'");
    ++at_;
  }

  /// Skips `separator` when it comes next.
  bool accept(char separator) {
    skipSpace();
    if (ended() || peek() != separator) return false;
    ++at_;
    return true;
  }

  Json value(int depth) {
    skipSpace();
    if (depth > limits_.depth) refuse("JSON_TOO_DEEP", "more than " + std::to_string(limits_.depth) + " levels");
    if (++values_ > limits_.values) refuse("JSON_TOO_LARGE", "more than " + std::to_string(limits_.values) + " values");
    Json result;
    result.offset_ = base_ + at_;
    result.file_ = &file_;
    switch (peek()) {
      case '{': result.value_ = object(depth); break;
      case '[': result.value_ = array(depth); break;
      case '"': result.value_ = string(); break;
      case 't': keyword("true"), result.value_ = true; break;
      case 'f': keyword("false"), result.value_ = false; break;
      case 'n': keyword("null"); break;
      default: number(result);
    }
    return result;
  }

  Json::Object object(int depth) {
    expect('{');
    Json::Object members;
    if (accept('}')) return members;
    do {
      skipSpace();
      if (peek() != '"') refuse("JSON_SYNTAX", "expected a member name in double quotes");
      std::string key = string();
      expect(':');
      members.emplace_back(std::move(key), value(depth + 1));
    } while (accept(','));
    expect('}');
    std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    const auto twin = std::adjacent_find(members.begin(), members.end(),
                                         [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twin != members.end()) {
      throw FormatError("JSON_DUPLICATE_KEY", "the member '" + twin->first + "' is there twice", file_,
                        std::next(twin)->second.offset());
    }
    return members;
  }

  Json::Array array(int depth) {
    expect('[');
    Json::Array elements;
    if (accept(']')) return elements;
    do {
      elements.push_back(value(depth + 1));
    } while (accept(','));
    expect(']');
    return elements;
  }

  void keyword(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) refuse("JSON_SYNTAX", "expected a JSON value");
    at_ += word.size();
  }

  std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      if (ended()) refuse("JSON_SYNTAX", "a string without an end");
      const char c = peek();
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) refuse("JSON_SYNTAX", "a control character within a string");
      if (c == '\\') {
        escape(out);
        continue;
      }
      const int length = utf8SequenceLength(text_.substr(at_, 4));
      if (length == 0) refuse("JSON_BAD_UTF8", "a string is not valid UTF-8");
      out.append(text_, at_, static_cast<size_t>(length));
      at_ += static_cast<size_t>(length);
    }
    ++at_;
    return out;
  }

  void escape(std::string& out) {
    ++at_;
    static constexpr std::string_view kLetters = "\"\\/bfnrt";
    static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (peek() == 'u' && !ended()) return codePoint(out);
    const size_t letter = ended() ? std::string_view::npos : kLetters.find(peek());
    if (letter == std::string_view::npos) refuse("JSON_SYNTAX", "an unknown escape in a string");
    out.push_back(kMeanings[letter]);
    ++at_;
  }

  /// The four hexadecimal digits after "\u"; at_ is on the 'u'.
  uint32_t hexUnit() {
    const std::string_view digits = text_.substr(std::min(at_ + 1, text_.size()), 4);
    uint32_t unit = 0;
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
    if (digits.size() != 4 || problem != std::errc() || end != digits.data() + 4) {
      refuse("JSON_SYNTAX", "\\u needs four hexadecimal digits");
    }
    at_ += 5;
    return unit;
  }

  void codePoint(std::string& out) {
    uint32_t code = hexUnit();
    if (code >= 0xdc00 && code <= 0xdfff) refuse("JSON_BAD_UTF8", "a low surrogate without its high one");
    if (code >= 0xd800 && code <= 0xdbff) {
      if (text_.substr(at_, 2) != "\\u") refuse("JSON_BAD_UTF8", "a high surrogate without its low one");
      ++at_;
      const uint32_t low = hexUnit();
      if (low < 0xdc00 || low > 0xdfff) refuse("JSON_BAD_UTF8", "a high surrogate without its low one");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    appendUtf8(out, code);
  }

  static void appendUtf8(std::string& out, uint32_t code) {
    const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3f))); };
    if (code < 0x80) {
      out.push_back(static_cast<char>(code));
    } else if (code < 0x800) {
      out.push_back(static_cast<char>(0xc0 | (code >> 6)));
      tail(0);
    } else if (code < 0x10000) {
      out.push_back(static_cast<char>(0xe0 | (code >> 12)));
      tail(6), tail(0);
    } else {
      out.push_back(static_cast<char>(0xf0 | (code >> 18)));
      tail(12), tail(6), tail(0);
    }
  }

  bool digits() {
    const size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > start;
  }

  /// The grammar is checked by hand (from_chars takes more than JSON does), the value read by from_chars.
  void number(Json& result) {
    const size_t start = at_;
    if (peek() == '-') ++at_;
    const bool leadingZero = peek() == '0';
    const size_t first = at_;
    if (!digits()) refuseAt(start, "JSON_SYNTAX", "expected a JSON value");
    if (leadingZero && at_ > first + 1) refuseAt(start, "JSON_BAD_NUMBER", "a number with leading zeros");
    bool whole = true;
    if (peek() == '.') {
      whole = false;
      ++at_;
      if (!digits()) refuseAt(start, "JSON_BAD_NUMBER", "a number without digits after its point");
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!digits()) refuseAt(start, "JSON_BAD_NUMBER", "a number without digits in its exponent");
    }
    const char* begin = text_.data() + start;
    const char* end = text_.data() + at_;
    int64_t integer = 0;
    if (whole && std::from_chars(begin, end, integer).ec == std::errc()) {
      result.value_ = integer;
      return;
    }
    double real = 0;
    if (std::from_chars(begin, end, real).ec != std::errc() || !std::isfinite(real)) {
      refuseAt(start, "JSON_BAD_NUMBER", "a number out of the range of a double");
    }
    result.value_ = real;
  }

  std::string_view text_;
  const std::string& file_;
  uint64_t base_;
  JsonLimits limits_;
  size_t at_ = 0;
  uint64_t values_ = 0;
};

void Json::wrongType(std::string_view wanted) const {
  throw FormatError("JSON_WRONG_TYPE", "expected " + std::string(wanted), *file_, offset_);
}

bool Json::boolean() const {
  if (!isBoolean()) wrongType("true or false");
  return std::get<bool>(value_);
}

int64_t Json::integer() const {
  if (!isInteger()) wrongType("an integer of 64 bits");
  return std::get<int64_t>(value_);
}

double Json::number() const {
  if (!isNumber()) wrongType("a number");
  return isInteger() ? static_cast<double>(std::get<int64_t>(value_)) : std::get<double>(value_);
}

const std::string& Json::string() const {
  if (!isString()) wrongType("a string");
  return std::get<std::string>(value_);
}

const Json::Array& Json::array() const {
  if (!isArray()) wrongType("an array");
  return std::get<Array>(value_);
}

const Json::Object& Json::object() const {
  if (!isObject()) wrongType("an object");
  return std::get<Object>(value_);
}

const Json* Json::find(std::string_view key) const {
  const Object& members = object();
  const auto found =
      std::lower_bound(members.begin(), members.end(), key,
                       [](const auto& member, std::string_view wanted) { return member.first < wanted; });
  return found != members.end() && found->first == key ? &found->second : nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* member = find(key);
  if (member == nullptr) throw FormatError("JSON_MISSING_KEY", "no '" + std::string(key) + "'", *file_, offset_);
  return *member;
}

bool Json::booleanOr(std::string_view key, bool fallback) const {
  const Json* member = find(key);
  return member == nullptr || member->isNull() ? fallback : member->boolean();
}

int64_t Json::integerOr(std::string_view key, int64_t fallback) const {
  const Json* member = find(key);
  return member == nullptr || member->isNull() ? fallback : member->integer();
}

double Json::numberOr(std::string_view key, double fallback) const {
  const Json* member = find(key);
  return member == nullptr || member->isNull() ? fallback : member->number();
}

std::string Json::stringOr(std::string_view key, std::string_view fallback) const {
  const Json* member = find(key);
  return member == nullptr || member->isNull() ? std::string(fallback) : member->string();
}

JsonDocument JsonDocument::parse(std::string_view text, std::string file, uint64_t offset, const JsonLimits& limits) {
  JsonDocument document;
  document.file_ = std::make_unique<std::string>(std::move(file));
  document.root_ = JsonParser(text, *document.file_, offset, limits).document();
  return document;
}

JsonDocument JsonDocument::open(const std::string& path, const JsonLimits& limits) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, 0, limits);
}

}  // namespace foretoken
