#include <doctest/doctest.h>

#include <string>

#include "clearsky/io/npy.hpp"
#include "clearsky/io/png.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

TEST_CASE_TEMPLATE("npy: round trip", T, float, double, int64_t, int32_t, uint8_t, bool) {
  const ScratchFolder folder;
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{5}, Shape{2, 3, 4}, Shape{3, 0}}) {
    const Tensor<T> x = arange<T>(shape.numel()).view_as(shape, clearsky::detail::dense_strides(shape), 0);
    io::write_npy(folder / "x.npy", x);
    const Tensor<T> y = io::read_npy<T>(folder / "x.npy");
    CHECK(y.shape() == shape);
    CHECK(y.to_vector() == x.to_vector());
  }
  const Tensor<T> x = arange<T>(6).view_as({3, 2}, {1, 3}, 0);
  io::write_npy(folder / "x.npy", x);
  CHECK(io::read_npy<T>(folder / "x.npy").to_vector() == x.to_vector());
}

TEST_CASE("npy: the header is NumPy's to the byte") {
  const ScratchFolder folder;
  io::write_npy(folder / "x.npy", arange<float>(3));
  const std::string bytes = io::read_file(folder / "x.npy");
  CHECK(bytes.size() == 128 + 12);
  CHECK(bytes.substr(0, 10) == std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  CHECK(bytes.substr(10).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } "));
  CHECK(bytes[127] == '\n');
}

TEST_CASE("npy: what cannot be read is named") {
  const ScratchFolder folder;
  const std::string path = folder / "x.npy";
  const auto says = [&](const std::string& bytes, const std::string& text) {
    io::atomic_write_text(path, bytes);
    const std::string got = thrown<IoError>([&] { io::read_npy<float>(path); });
    CAPTURE(got);
    CHECK(got.find(text) != std::string::npos);
  };
  io::write_npy(path, arange<float>(3));
  const std::string good = io::read_file(path);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string bytes = good;
    bytes.replace(bytes.find(from), from.size(), to);
    return bytes;
  };
  says(good.substr(0, 5), "is truncated: 5 bytes");
  says(good.substr(0, 60), "is truncated: header of 118 bytes in a file of 60");
  says(good.substr(0, 130), "shape (3) needs 12 bytes, the file has 2");
  says("not a npy file at all", "is not a .npy file");
  says(replaced("<f4", "<f8"), "elements are '<f8', expected '<f4'");
  says(replaced("False", "True "), "is in Fortran order");
  says(replaced("(3,)", "(-3)"), "malformed shape");
}

TEST_CASE("png: round trip for 1, 3 and 4 channels") {
  const ScratchFolder folder;
  for (const int64_t channels : {1, 3, 4}) {
    const Tensor<uint8_t> x = randint<uint8_t>({7, 5, channels}, Key{3}, 0, 256);
    io::write_png(folder / "x.png", x);
    const Tensor<uint8_t> y = io::read_png(folder / "x.png");
    CHECK(y.shape() == x.shape());
    CHECK(y.to_vector() == x.to_vector());
  }
  io::write_png(folder / "x.png", full<uint8_t>({4, 6}, 9));
  CHECK(io::read_png(folder / "x.png").shape() == Shape{4, 6, 1});
}

TEST_CASE("png: wrong shapes and broken files") {
  const ScratchFolder folder;
  CHECK(thrown<ShapeError>([&] {
          io::write_png(folder / "x.png", zeros<uint8_t>({4, 4, 13}));
        }).find("image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got (4, 4, 13)") != std::string::npos);
  CHECK_THROWS_AS(io::write_png(folder / "x.png", zeros<uint8_t>({0, 4})), ShapeError);
  io::atomic_write_text(folder / "x.png", "no picture");
  CHECK(thrown<IoError>([&] { io::read_png(folder / "x.png"); }).starts_with("read_png: " + (folder / "x.png") + ": "));
  io::write_png(folder / "y.png", zeros<uint8_t>({40, 40, 3}));
  const std::string whole = io::read_file(folder / "y.png");
  io::atomic_write_text(folder / "y.png", whole.substr(0, whole.size() / 2));
  CHECK_THROWS_AS(io::read_png(folder / "y.png"), IoError);
}

}  // namespace
}  // namespace clearsky::test
