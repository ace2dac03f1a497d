#include "clearsky/io/safetensors.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

template <class T>
Tensor<T> some(const Shape& shape) {
  Tensor<T> t(shape);
  for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data()[i] = convert_element<T>(float((i * 7) % 5) - 1);
  return t;
}

/// A file from a header and data, as another program might write it.
void write_raw(const std::string& path, const std::string& header, const std::string& data) {
  uint64_t length = header.size();
  io::atomic_write(path, [&](io::FileWriter& out) {
    out.write(&length, 8);
    out.write(header);
    out.write(data);
  });
}

/// What reading a file of this header and so many bytes of data says, from behind the file's name.
std::string refusal(const std::string& header, size_t data_bytes) {
  const ScratchFolder folder;
  const std::string path = folder / "f.safetensors";
  write_raw(path, header, std::string(data_bytes, '\0'));
  const std::string text = thrown<IoError>([&] { io::read_safetensors(path); });
  const std::string prefix = "read_safetensors: " + path + ": ";
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

TEST_CASE_TEMPLATE("safetensors: round trip", T, float, double, Half, BFloat16, int64_t, int32_t, uint8_t, bool) {
  const ScratchFolder folder;
  const std::string path = folder / "f.safetensors";
  const Tensor<T> scalar = some<T>({}), empty = some<T>({0, 3}), matrix = some<T>({3, 5});
  const Tensor<T> transposed = matrix.view_as({5, 3}, {1, 5}, 0), offset = matrix.view_as({2, 5}, {5, 1}, 5);
  io::write_safetensors(path, {{"scalar", scalar}, {"empty", empty}, {"t", transposed}, {"offset", offset}},
                        {{"step", "12"}, {"na\"me", "\\ \n\t\x01 \xc3\xa9"}});
  const io::TensorFile file = io::read_safetensors(path);
  CHECK(file.tensors.size() == 4);
  CHECK(file.get<T>("scalar").shape() == Shape{});
  CHECK(file.get<T>("scalar").item() == scalar.item());
  CHECK(file.get<T>("empty").shape() == Shape{0, 3});
  CHECK(file.get<T>("t").to_vector() == transposed.to_vector());
  CHECK(file.get<T>("offset").to_vector() == offset.to_vector());
  CHECK(file.metadata == io::Metadata{{"step", "12"}, {"na\"me", "\\ \n\t\x01 \xc3\xa9"}});
  CHECK(file.has("t"));
  CHECK_FALSE(file.has("T"));
  const Tensor<double> wide = file.get_as<double>("t");
  CHECK(wide.at({1, 0}) == convert_element<double>(transposed.at({1, 0})));
}

TEST_CASE("safetensors: every tensor is aligned, and the same input gives the same bytes") {
  const ScratchFolder folder;
  const io::TensorMap tensors = {{"a", some<uint8_t>({3})}, {"b", some<double>({2})}, {"c", some<Half>({3})}};
  io::write_safetensors(folder / "1", tensors);
  io::write_safetensors(folder / "2", tensors);
  const std::string bytes = io::read_file(folder / "1");
  CHECK(bytes == io::read_file(folder / "2"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(bytes.substr(8, length).starts_with(R"({"b":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"c":)"));
}

TEST_CASE("safetensors: headers as other writers make them") {
  const ScratchFolder folder;
  write_raw(folder / "f",
            " {\"\\u00e9\\ud83d\\ude00\" : { \"shape\":[ 1 , 2 ],\"dtype\":\"U8\",\n\"data_offsets\":[0,2]}}  ",
            "\x05\x06");
  const io::TensorFile file = io::read_safetensors(folder / "f");
  CHECK(file.get<uint8_t>("\xc3\xa9\xf0\x9f\x98\x80").to_vector() == std::vector<uint8_t>{5, 6});
  write_raw(folder / "g", "{}", "");
  CHECK(io::read_safetensors(folder / "g").tensors.empty());
}

TEST_CASE("safetensors: malformed files are refused by name") {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(refusal("{" + a + "}", 8) == "nothing was thrown");

  CHECK(refusal("{" + a + "}", 7).starts_with("a ends at byte 8 of 7; the file is truncated"));
  CHECK(refusal("{" + a + "}", 9).starts_with("bytes 8 to 9 belong to no tensor"));
  CHECK(refusal("{" + a + "," + a + "}", 8).starts_with("the name a appears twice"));
  CHECK(refusal("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})", 10)
            .starts_with("b starts at byte 6 inside a, which ends at 8"));
  CHECK(refusal("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[9,13]}})", 13)
            .starts_with("bytes 8 to 9 belong to no tensor"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8)
            .starts_with("a of shape (3) and dtype F32 does not fit its 8 bytes"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0)
            .starts_with("a of shape (4294967296, 4294967296) and dtype F32 does not fit its 0 bytes"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8)
            .starts_with("a has data_offsets [8, 0] that run backwards"));
  CHECK(refusal(R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8)
            .starts_with("a has the unknown dtype F31; known are F64,"));
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1)
            .starts_with("a has 9 dimensions; at most 8 are supported"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[2]}})", 8).starts_with("a has no data_offsets"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}})", 8).starts_with("a has 1 data_offsets"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8)
            .starts_with("a has the key shape twice"));
  CHECK(refusal(R"({"a":{"type":"F32"}})", 8).starts_with("a has the unknown key type"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8)
            .starts_with("malformed header at byte 29: expected a number of 0 or more"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8)
            .starts_with("malformed header at byte 30: expected ',' or ']'"));
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", 8)
            .find("expected a number below 2^56") != std::string::npos);
  CHECK(refusal(R"({"__metadata__":{"k":"v","k":"w"}})", 0).starts_with("the metadata key k appears twice"));
  CHECK(refusal(R"({"__metadata__":{"k":1}})", 0).find("expected '\"'") != std::string::npos);
  CHECK(refusal("{" + a + "} x", 8).find("expected nothing more") != std::string::npos);
  CHECK(refusal("{" + a, 8).find("expected ',' or '}'") != std::string::npos);
  CHECK(refusal("[]", 8).find("expected '{'") != std::string::npos);
  CHECK(refusal("", 8).find("expected '{'") != std::string::npos);
  CHECK(refusal("{\"a", 8).find("expected the end of a string") != std::string::npos);
  CHECK(refusal("{\"\\ud800x\"}", 8).find("expected the second half of a pair") != std::string::npos);
}

TEST_CASE("safetensors: truncated and absurd lengths") {
  const ScratchFolder folder;
  const auto says = [&](const std::string& bytes, const std::string& text) {
    io::atomic_write_text(folder / "f", bytes);
    const std::string got = thrown<IoError>([&] { io::read_safetensors(folder / "f"); });
    CAPTURE(got);
    CHECK(got.find(text) != std::string::npos);
  };
  says("abc", "is truncated: 3 bytes, the length of the header alone takes 8");
  says(std::string(8, '\xff'), "header of 18446744073709551615 bytes; at most 100000000 are allowed");
  says(std::string("\x10\0\0\0\0\0\0\0{}", 10), "is truncated: header of 16 bytes in a file of 10");
  write_raw(folder / "f", R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02");
  CHECK(thrown<IoError>([&] { io::read_safetensors(folder / "f"); }).find("a has a BOOL element of 2") !=
        std::string::npos);
}

TEST_CASE("safetensors: asking for what is not there") {
  const ScratchFolder folder;
  io::write_safetensors(folder / "f", {{"a", some<float>({2})}});
  const io::TensorFile file = io::read_safetensors(folder / "f");
  CHECK(thrown<IoError>([&] { file.get("b"); }).find("has no tensor named b among its 1") != std::string::npos);
  CHECK(thrown<IoError>([&] {
          file.get<double>("a");
        }).find("a has elements of type float32, expected float64; get_as converts") != std::string::npos);
  CHECK_THROWS_AS(io::write_safetensors(folder / "g", {{"__metadata__", some<float>({2})}}), ValueError);
  CHECK_THROWS_AS(io::write_safetensors(folder / "g", {{"a", Tensor<float>{}}}), ValueError);
}

TEST_CASE("safetensors: every cut of a valid file is refused, and none crashes") {
  const ScratchFolder folder;
  io::write_safetensors(folder / "f", {{"a", some<float>({2})}, {"b", some<bool>({3})}}, {{"k", "v"}});
  const std::string whole = io::read_file(folder / "f");
  for (size_t length = 0; length < whole.size(); ++length) {
    io::atomic_write_text(folder / "g", whole.substr(0, length));
    CHECK_THROWS_AS(io::read_safetensors(folder / "g"), IoError);
  }
}

TEST_CASE("safetensors: a file written by the Python package") {
  const std::string path = "tests/golden/data/interchange.safetensors";
  if (!io::file_exists(path)) {
    MESSAGE("skipped: ", path, " is absent");
    return;
  }
  const io::TensorFile file = io::read_safetensors(path);
  CHECK_FALSE(file.tensors.empty());
  const ScratchFolder folder;
  io::write_safetensors(folder / "copy", file.tensors, file.metadata);
  const io::TensorFile copy = io::read_safetensors(folder / "copy");
  REQUIRE(copy.tensors.size() == file.tensors.size());
  CHECK(copy.metadata == file.metadata);
  for (const auto& entry : file.tensors) {
    const auto& other = copy.tensors.at(entry.first);
    CHECK(other.dtype() == entry.second.dtype());
    CHECK(other.shape() == entry.second.shape());
    CHECK(std::memcmp(other.storage()->data(), entry.second.storage()->data(), size_t(other.bytes())) == 0);
  }
}

}  // namespace
}  // namespace clearsky::test
