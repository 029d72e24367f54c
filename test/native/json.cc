// The strict JSON reader: what it takes, what it refuses, and with which code.
#include "format/json.h"

#include <string>
#include <vector>

#include "allocation_meter.h"
#include "check.h"
#include "refusal.h"

using namespace foretoken;

namespace {

JsonDocument parse(std::string_view text) { return JsonDocument::parse(text, "file"); }

std::string refusal(std::string_view text, const JsonLimits& limits = {}) {
  return test::refusalOf([&] { JsonDocument::parse(text, "file", 0, limits); });
}

void values() {
  const JsonDocument document = parse(
      " {\"a\": [1, -2, 0, 9223372036854775807, -9223372036854775808], \"b\": {\"c\": null, \"d\": true},\n"
      "\t\"e\": 1.5e3, \"f\": \"x\", \"g\": [], \"h\": {}, \"i\": 9223372036854775808, \"j\": false, \"k\": -0.0 "
      "}\r\n");
  const Json& root = document.root();
  CHECK(root.isObject() && root.object().size() == 9);
  const Json::Array& a = root.at("a").array();
  CHECK(a.size() == 5 && a[0].integer() == 1 && a[1].integer() == -2 && a[2].integer() == 0);
  CHECK(a[3].integer() == INT64_MAX && a[4].integer() == INT64_MIN);
  CHECK(root.at("b").at("c").isNull() && root.at("b").at("d").boolean());
  CHECK(!root.at("e").isInteger() && root.at("e").number() == 1500);
  CHECK(root.at("f").string() == "x" && root.at("g").array().empty() && root.at("h").object().empty());
  CHECK(!root.at("i").isInteger() && root.at("i").number() == 0x1p63);
  CHECK(root.at("j").isBoolean() && !root.at("j").boolean());
  CHECK(root.find("z") == nullptr);
  CHECK(root.at("a").offset() == 7 && root.offset() == 1);
  CHECK(parse("5").root().integer() == 5 && parse("\"\"").root().string().empty());
}

void accessors() {
  const JsonDocument document = parse(R"({"i": 7, "d": 0.5, "s": "x", "t": true, "n": null, "a": []})");
  const Json& root = document.root();
  CHECK(root.integerOr("i", 1) == 7 && root.integerOr("z", 1) == 1 && root.integerOr("n", 2) == 2);
  CHECK(root.numberOr("i", 1) == 7 && root.numberOr("d", 1) == 0.5 && root.numberOr("n", 3) == 3);
  CHECK(root.stringOr("s", "") == "x" && root.stringOr("z", "y") == "y");
  CHECK(root.booleanOr("t", false) && root.booleanOr("n", true));
  const auto code = [](auto access) { return test::refusalOf(access); };
  CHECK(code([&] { root.at("z"); }) == "JSON_MISSING_KEY");
  CHECK(code([&] { (void)root.at("d").integer(); }) == "JSON_WRONG_TYPE");
  CHECK(code([&] { (void)root.integerOr("s", 1); }) == "JSON_WRONG_TYPE");
  CHECK(code([&] { (void)root.at("s").number(); }) == "JSON_WRONG_TYPE");
  CHECK(code([&] { (void)root.at("i").string(); }) == "JSON_WRONG_TYPE");
  CHECK(code([&] { (void)root.at("i").boolean(); }) == "JSON_WRONG_TYPE");
  CHECK(code([&] { (void)root.at("i").array(); }) == "JSON_WRONG_TYPE");
  CHECK(code([&] { (void)root.at("a").find("x"); }) == "JSON_WRONG_TYPE");
}

void strings() {
  const auto text = [](std::string_view json) { return parse(json).root().string(); };
  CHECK(text(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(text(R"("\u0041\u00e9\u20AC\ud83d\ude00")") == "Aé€😀");
  CHECK(text("\"é€😀\"") == "é€😀");
  CHECK(text(R"("\u0000")") == std::string(1, '\0'));
  for (const char* bad :
       {R"("\ud83d")", R"("\ud83dx")", R"("\ud83d\n")", R"("\ude00")", R"("\ud83d\u0041")", "\"\xff\"", "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\x80\""}) {
    CHECK(refusal(bad) == "JSON_BAD_UTF8");
  }
  for (const char* bad : {"\"", "\"abc", "\"\\", "\"\\\"", R"("\x41")", R"("\u12")", R"("\u12g4")", R"("\u+123")",
                          R"("\u 123")", "\"\n\"", "\"\x01\"", "'a'"}) {
    CHECK(refusal(bad) == "JSON_SYNTAX");
  }
}

void numbers() {
  for (const char* bad : {"01", "-01", "1.", "1.e5", "1e", "1e+", "1e999", "-1e999"}) {
    CHECK(refusal(bad) == "JSON_BAD_NUMBER");
  }
  for (const char* bad : {"+1", ".5", "-", "--1", "1.5.5", "0x10", "NaN", "Infinity", "-Infinity", "1 2", "1,"}) {
    CHECK(refusal(bad) == "JSON_SYNTAX");
  }
  CHECK(parse("-0").root().integer() == 0 && parse("0.1").root().number() == 0.1);
  CHECK(parse("1E5").root().number() == 1e5 && parse("1e-5").root().number() == 1e-5);
}

void syntax() {
  for (const char* bad : {"",
                          " ",
                          "{",
                          "[",
                          "}",
                          "]",
                          "{]",
                          "[}",
                          "{\"a\"}",
                          "{\"a\":}",
                          "{\"a\":1,}",
                          "{,}",
                          "[1,]",
                          "[,]",
                          "[1 2]",
                          "{\"a\" 1}",
                          "{a: 1}",
                          "{1: 1}",
                          "nul",
                          "tru",
                          "falsey",
                          "null null",
                          "// x\n1",
                          "[1]/**/",
                          "\xef\xbb\xbf{}",
                          "{\"a\":1 \"b\":2}"}) {
    CHECK(refusal(bad) == "JSON_SYNTAX");
  }
  CHECK(refusal(std::string_view("1\0", 2)) == "JSON_SYNTAX");
  CHECK(refusal(R"({"a": 1, "b": 2, "a": 3})") == "JSON_DUPLICATE_KEY");
  CHECK(refusal(R"({"a": 1, "\u0061": 3})") == "JSON_DUPLICATE_KEY");
  CHECK(refusal(R"([{"x": {"": 1, "": 1}}])") == "JSON_DUPLICATE_KEY");
  try {
    JsonDocument::parse("[1, x]", "config.json", 100);
    CHECK(false);
  } catch (const FormatError& error) {
    CHECK(error.file() == "config.json" && error.offset() == 104);
  }
}

void limits() {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(refusal(nested(65)).empty());
  CHECK(refusal(nested(66)) == "JSON_TOO_DEEP");
  CHECK(refusal(std::string(1'000'000, '[')) == "JSON_TOO_DEEP");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(refusal(objects) == "JSON_TOO_DEEP");
  CHECK(refusal("[1,2,3]", {.bytes = 7, .depth = 4, .values = 4}).empty());
  CHECK(refusal("[1,2,3]", {.bytes = 6, .depth = 4, .values = 4}) == "JSON_TOO_LARGE");
  CHECK(refusal("[1,2,3]", {.bytes = 7, .depth = 4, .values = 3}) == "JSON_TOO_LARGE");
  const std::string many = std::string(1, '[').append(200'000, '1').append("]");
  CHECK(test::bytesAllocatedBy([&] { refusal(many); }) < 10'000);
  CHECK(refusal(many) == "JSON_BAD_NUMBER");
}

void mutations() {
  const std::string text = R"({"a": [1, -2.5e1, {"b": "c\u00e9\n"}], "d": {"e": null, "f": [true, false]}, "g": "é"})";
  const std::vector<uint8_t> file(text.begin(), text.end());
  const auto read = [](const std::vector<uint8_t>& bytes) {
    parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  CHECK(test::refusalOf([&] { read(file); }).empty());
  CHECK(test::firstAcceptedPrefix(file, read) == file.size());
  int refusals = 0;
  CHECK(test::unexpectedAfterFlips(file, 50'000, read, refusals) == 0);
  CHECK(refusals > 5'000 && refusals < 50'000);
}

}  // namespace

int main() {
  values();
  accessors();
  strings();
  numbers();
  syntax();
  limits();
  mutations();
  return test::finish("json");
}
