#include "clearsky/simt/fiber.hpp"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace clearsky::simt {
namespace {

const std::vector<FiberKind> kKinds{kDefaultFibers, FiberKind::ucontext};

struct Talk {
  Fiber* fiber;
  std::string text;
  double value = 0;
};

TEST_CASE("fiber: body and caller take turns, and a fiber can be used again") {
  for (FiberKind kind : kKinds) {
    CAPTURE(int(kind));
    Fiber fiber(kind);
    for (int round = 0; round < 3; ++round) {
      Talk talk{&fiber, ""};
      fiber.prepare(
          [](void* context) {
            Talk& t = *static_cast<Talk*>(context);
            t.text += "a";
            t.fiber->suspend();
            t.text += "b";
            t.fiber->suspend();
            t.text += "c";
          },
          &talk);
      for (int i = 0; i < 3; ++i) {
        talk.text += std::to_string(i);
        fiber.resume();
      }
      CHECK(talk.text == "0a1b2c");
    }
  }
}

// Enough live values that some are in registers a function must preserve: a switch that loses one changes the sums.
[[gnu::noinline]] double mix(Fiber& fiber, double x, int steps, bool inside) {
  uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
  double sum = x;
  for (int i = 0; i < steps; ++i) {
    a += b ^ uint64_t(i), b += c, c += d * 3, d ^= e, e += f, f += a;
    sum += double(a & 7) + double(b & 7) + double(c & 7) + double(d & 7) + double(e & 7) + double(f & 7);
    if (inside) fiber.suspend();
    else fiber.resume();
  }
  return sum;
}

TEST_CASE("fiber: a switch keeps what both sides hold in registers") {
  for (FiberKind kind : kKinds) {
    CAPTURE(int(kind));
    Fiber idle(kind), fiber(kind);
    const auto forever = [](void* context) {
      while (true) static_cast<Fiber*>(context)->suspend();
    };
    idle.prepare(forever, &idle);
    const double want = mix(idle, 0.5, 100, false);
    Talk talk{&fiber, ""};
    fiber.prepare(
        [](void* context) {
          Talk& t = *static_cast<Talk*>(context);
          t.value = mix(*t.fiber, 0.5, 100, true);
        },
        &talk);
    CHECK(mix(fiber, 0.5, 100, false) == want);
    fiber.resume();
    CHECK(talk.value == want);
  }
}

TEST_CASE("fiber: the stack is aligned, so that vectors can be stored on it") {
  for (FiberKind kind : kKinds) {
    CAPTURE(int(kind));
    Fiber fiber(kind);
    uintptr_t past = 1;
    fiber.prepare(
        [](void* context) {
          // A function's frame address is 16 bytes below its caller's stack pointer, which the ABI aligns.
          *static_cast<uintptr_t*>(context) = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) % 16;
        },
        &past);
    fiber.resume();
    CHECK(past == 0);
  }
}

TEST_CASE("fiber: an exception can be thrown and caught inside") {
  for (FiberKind kind : kKinds) {
    CAPTURE(int(kind));
    Fiber fiber(kind);
    Talk talk{&fiber, ""};
    fiber.prepare(
        [](void* context) {
          Talk& t = *static_cast<Talk*>(context);
          try {
            t.fiber->suspend();
            throw std::runtime_error("inside");
          } catch (const std::runtime_error& e) {
            t.text = e.what();
          }
        },
        &talk);
    fiber.resume();
    CHECK(talk.text.empty());
    fiber.resume();
    CHECK(talk.text == "inside");
  }
}

}  // namespace
}  // namespace clearsky::simt
