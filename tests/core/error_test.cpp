#include "clearsky/core/error.hpp"

#include <doctest/doctest.h>

namespace clearsky {
namespace {

template <class Kind>
std::string text_of(void (*f)()) {
  try {
    f();
  } catch (const Kind& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST_CASE("CLEARSKY_CHECK joins its parts and names the place") {
  const std::string text = text_of<ShapeError>([] {
    CLEARSKY_CHECK(ShapeError, 1 > 2, "op: ", 3, " of ", int64_t(4), ", ", 0.5, ", ", true, ", ", std::string("s"));
  });
  CHECK(text.starts_with("op: 3 of 4, 0.5, true, s  ["));
  CHECK(text.find("error_test.cpp:") != text.npos);
}

TEST_CASE("CLEARSKY_CHECK evaluates the condition once and builds no text when it holds") {
  int conditions = 0, texts = 0;
  const auto text = [&] {
    ++texts;
    return "text";
  };
  CLEARSKY_CHECK(ValueError, ++conditions == 1, text());
  CHECK(conditions == 1);
  CHECK(texts == 0);
}

TEST_CASE("every kind of error is an Error and a runtime_error") {
  CHECK_THROWS_AS(CLEARSKY_FAIL(ShapeError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(DTypeError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(DeviceError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(AutogradError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(ValueError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(IoError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(ConfigError, "x"), Error);
  CHECK_THROWS_AS(CLEARSKY_FAIL(MemoryError, "x"), std::runtime_error);
}

TEST_CASE("numbers in messages are short, and paths do not depend on the machine") {
  CHECK(detail::to_text(0.1) == "0.1");
  CHECK(detail::to_text(1e-12) == "1e-12");
  CHECK(detail::to_text(1234567.0) == "1.23457e+06");
  CHECK(detail::short_path("/home/me/clearsky/include/clearsky/ops/softmax.hpp") == "clearsky/ops/softmax.hpp");
  CHECK(detail::short_path("other.cpp") == "other.cpp");
}

}  // namespace
}  // namespace clearsky
