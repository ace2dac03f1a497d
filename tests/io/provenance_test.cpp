#include "clearsky/io/provenance.hpp"

#include <doctest/doctest.h>

#include "clearsky/io/file.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::io {

TEST_CASE("provenance: what the build and the machine say of themselves") {
  const Provenance p = provenance("0123456789ab+");
  CHECK(p.version == kVersion);
  CHECK(p.commit == "0123456789ab+");
  CHECK(p.threads == threads());
  CHECK((p.compiler.starts_with("g++ ") || p.compiler.starts_with("clang++ ")));
  CHECK_FALSE(p.cpu.empty());
}

TEST_CASE("cpu_name: the first model name, or unknown") {
  const test::ScratchFolder folder;
  atomic_write_text(folder / "list", "processor\t: 0\nmodel name\t: A CPU @ 2 GHz: fast\n\nmodel name\t: B\n");
  CHECK(cpu_name(folder / "list") == "A CPU @ 2 GHz: fast");
  atomic_write_text(folder / "empty", "model name\t:\n");
  CHECK(cpu_name(folder / "empty") == "unknown");
  CHECK(cpu_name(folder / "missing") == "unknown");
}

}  // namespace clearsky::io
