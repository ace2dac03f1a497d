// What the lens counts, for patterns whose numbers are known.

#include "seen.hpp"

namespace clearsky::test {
namespace {

using namespace clearsky::cuda;
using simt::AccessKind, simt::LensLaunch, simt::LensLine;

const LensLine& line(const LensLaunch& launch, const std::string& mark, bool shared, AccessKind kind) {
  const int number = line_of(__FILE__, mark);
  for (const LensLine& l : launch.lines)
    if (l.line.line == number && l.shared == shared && l.access == kind) return l;
  FAIL("the line @" << mark << " has no such access");
  return launch.lines.at(0);
}

__global__ void reads_strided(const float* from, float* to, int first, int stride) {
  to[threadIdx.x] = from[first + int(threadIdx.x) * stride];  // @strided
}

TEST_CASE("lens: sectors of requests to global memory") {
  const std::vector<float> zeros(4096);
  DeviceArray<float> from(zeros.data(), 4096), to(64);
  struct Case {
    int first, stride;
    int64_t sectors;
  };
  // 32 lanes read 128 bytes: 4 sectors, 5 when misaligned; twice as many at stride 2; one each from stride 8 on.
  for (const Case& c : {Case{0, 1, 4}, Case{3, 1, 5}, Case{8, 1, 4}, Case{0, 2, 8}, Case{0, 8, 32}, Case{0, 32, 32},
                        Case{0, 33, 32}, Case{31, -1, 4}}) {
    CAPTURE(c.first);
    CAPTURE(c.stride);
    const LensLaunch l = launch_seen(reads_strided, 1, 32, from.data(), to.data(), c.first, c.stride);
    const LensLine& reads = line(l, "strided", false, AccessKind::read);
    CHECK(reads.requests == 1);
    CHECK(reads.lanes == 32);
    CHECK(reads.bytes == 128);
    CHECK(reads.sectors == c.sectors);
    CHECK(reads.ideal_sectors == 4);
    CHECK(line(l, "strided", false, AccessKind::write).sectors == 4);
    CHECK(l.kernel == "reads_strided");
    CHECK(l.read_bytes == 128);
    CHECK(l.compulsory_read_bytes == 128);
    CHECK(l.compulsory_read_sectors == c.sectors);
    CHECK(l.compulsory_written_bytes == 128);
  }
  // Everyone reads one float.
  const LensLaunch l = launch_seen(reads_strided, 1, 64, from.data(), to.data(), 5, 0);
  const LensLine& reads = line(l, "strided", false, AccessKind::read);
  CHECK(reads.requests == 2);
  CHECK(reads.sectors == 2);
  CHECK(reads.ideal_sectors == 2);
  CHECK(l.read_bytes == 256);
  CHECK(l.compulsory_read_bytes == 4);
  CHECK(l.compulsory_read_sectors == 1);
  CHECK(l.block_read_sectors == 1);
}

__global__ void copies_vectors(const float* from, float* to) {
  st4(to + 4 * threadIdx.x, ld4(from + 4 * threadIdx.x));  // @vectors
}

TEST_CASE("lens: vectors are one access of 16 bytes") {
  const std::vector<float> zeros(256);
  DeviceArray<float> from(zeros.data(), 256), to(256);
  const LensLaunch l = launch_seen(copies_vectors, 1, 64, from.data(), to.data());
  for (const AccessKind kind : {AccessKind::read, AccessKind::write}) {
    const LensLine& s = line(l, "vectors", false, kind);
    CHECK(s.requests == 2);
    CHECK(s.bytes == 1024);
    CHECK(s.sectors == 32);
    CHECK(s.ideal_sectors == 32);
  }
}

__global__ void reads_banks(float* to, int stride) {
  CLEARSKY_SHARED(float, words, [33 * 32]);
  for (unsigned i = threadIdx.x; i < 33 * 32; i += 32) words[i] = 0;  // @fill
  __syncthreads();
  to[threadIdx.x] = words[int(threadIdx.x) * stride];  // @banks
}

__global__ void reads_rows(float* to, int row_of_lane, int row_floats) {
  CLEARSKY_SHARED(float, words, [32 * 36]);
  for (unsigned i = threadIdx.x; i < 32 * 36; i += 32) words[i] = 0;
  __syncthreads();
  const int lane = int(threadIdx.x);
  const float4 v = ld4(words + lane / row_of_lane * row_floats + lane % row_of_lane * 4);  // @rows
  to[lane] = v.x;
}

TEST_CASE("lens: bank conflicts") {
  DeviceArray<float> to(32);
  struct Case {
    int stride, passes;
  };
  for (const Case& c : {Case{1, 1}, Case{2, 2}, Case{4, 4}, Case{8, 8}, Case{32, 32}, Case{33, 1}, Case{31, 1},
                        Case{0, 1}, Case{3, 1}, Case{6, 2}}) {
    CAPTURE(c.stride);
    const LensLaunch l = launch_seen(reads_banks, 1, 32, to.data(), c.stride);
    const LensLine& reads = line(l, "banks", true, AccessKind::read);
    CHECK(reads.requests == 1);
    CHECK(reads.wavefronts == c.passes);
    CHECK(reads.ideal_wavefronts == 1);
    CHECK(reads.worst_ways == c.passes);
    const LensLine& fill = line(l, "fill", true, AccessKind::write);
    CHECK(fill.requests == 33);
    CHECK(fill.wavefronts == 33);
  }
  // 16 bytes of each lane: four passes of 8 lanes. Neighbours have no conflict; eight lanes down a column of rows of 32
  // floats hit the same banks, of 36 floats they do not.
  struct Rows {
    int row_of_lane, row_floats, passes;
  };
  for (const Rows& c : {Rows{32, 0, 4}, Rows{1, 32, 32}, Rows{1, 36, 4}, Rows{8, 32, 4}, Rows{4, 32, 8}}) {
    CAPTURE(c.row_floats);
    const LensLaunch l = launch_seen(reads_rows, 1, 32, to.data(), c.row_of_lane, c.row_floats);
    const LensLine& reads = line(l, "rows", true, AccessKind::read);
    CHECK(reads.requests == 1);
    CHECK(reads.bytes == 512);
    CHECK(reads.wavefronts == c.passes);
    CHECK(reads.ideal_wavefronts == 4);
  }
}

__global__ void some_lanes(const float* from, float* to, int count) {
  float sum = 0;
  for (int i = int(threadIdx.x); i < count; i += 32) sum += from[i];  // @some
  to[threadIdx.x] = sum;
  __syncwarp();
  if (threadIdx.x % 2 == 0) to[threadIdx.x] = from[threadIdx.x];  // @even
}

TEST_CASE("lens: active lanes, and requests put together across turns") {
  const std::vector<float> zeros(256);
  DeviceArray<float> from(zeros.data(), 256), to(32);
  for (const simt::Order order : {simt::Order::forward, simt::Order::reverse, simt::Order::random}) {
    const simt::UseSettings use({.order = order});
    const LensLaunch l = launch_seen(some_lanes, 1, 32, from.data(), to.data(), 70);
    const LensLine& some = line(l, "some", false, AccessKind::read);
    CHECK(some.requests == 3);  // 32, 32 and 6 lanes
    CHECK(some.lanes == 70);
    CHECK(some.sectors == 9);
    const LensLine& even = line(l, "even", false, AccessKind::read);
    CHECK(even.requests == 1);
    CHECK(even.lanes == 16);
    CHECK(even.sectors == 4);
    CHECK(even.ideal_sectors == 2);
    CHECK(l.compulsory_read_bytes == 280);
    CHECK(l.read_bytes == 280 + 64);
  }
}

__global__ void rows_of_all(const float* from, float* to) {
  float sum = 0;
  for (int i = 0; i < 4; ++i) sum += from[unsigned(i) * 32 + threadIdx.x];
  to[blockIdx.x * 32 + threadIdx.x] = sum;
  __syncwarp();
  to[blockIdx.x * 32 + threadIdx.x] += 1;  // comes from no memory but this launch's own
}

TEST_CASE("lens: compulsory bytes of a launch, and what each block fetches") {
  const std::vector<float> zeros(128);
  DeviceArray<float> from(zeros.data(), 128), to(96);
  const LensLaunch l = launch_seen(rows_of_all, 3, 32, from.data(), to.data());
  CHECK(l.read_bytes == 3 * (512 + 128));
  CHECK(l.written_bytes == 3 * 256);
  CHECK(l.compulsory_read_bytes == 512);
  CHECK(l.compulsory_read_sectors == 16);
  CHECK(l.block_read_sectors == 3 * 16);
  CHECK(l.compulsory_written_bytes == 3 * 128);
  CHECK(l.compulsory_written_sectors == 3 * 4);
  CHECK(l.block_written_sectors == 3 * 4);
  CHECK(l.cached_read_sectors == 16);
  CHECK(l.cached_written_sectors == 3 * 4);
}

__global__ void walks_twice(const float* from, float* to, int sectors) {
  for (int time = 0; time < 2; ++time) {
    for (int i = 0; i < sectors; ++i) to[blockIdx.x] = from[8 * i];
  }
}

TEST_CASE("lens: what a cache brings from memory once more, when too much was used since") {
  const std::vector<float> zeros(8 * 16);
  DeviceArray<float> from(zeros.data(), 8 * 16), to(2);
  const auto seen = [&](int sectors, int64_t cache_sectors) {
    simt::Lens lens({.cache_bytes = 32 * cache_sectors});
    // Two blocks, one after the other: the second walks through the same sectors, and writes to the same one (a race).
    launch(walks_twice, 2, 1, 0, nullptr, from.data(), to.data(), sectors);
    return lens.launches().at(0);
  };
  const LensLaunch fits = seen(8, 10);
  CHECK(fits.block_read_sectors == 16);
  CHECK(fits.cached_read_sectors == 8);
  CHECK(fits.block_written_sectors == 2);
  CHECK(fits.cached_written_sectors == 1);
  const LensLaunch too_large = seen(8, 8);  // nine uses between two of a sector
  CHECK(too_large.cached_read_sectors == 16);
  CHECK(too_large.cached_written_sectors == 2);
}

__global__ void copies_asynchronously(const float* from, float* to) {
  CLEARSKY_SHARED(float, tile, [32][4]);
  cp_async16(tile[threadIdx.x], from + 4 * threadIdx.x, threadIdx.x == 31 ? 4 : 16);  // @async
  cp_commit();
  cp_wait<0>();
  __syncthreads();
  to[threadIdx.x] = tile[threadIdx.x][0];
}

TEST_CASE("lens: an asynchronous copy reads global and writes shared memory, once") {
  const std::vector<float> zeros(128);
  DeviceArray<float> from(zeros.data(), 128), to(32);
  const LensLaunch l = launch_seen(copies_asynchronously, 1, 32, from.data(), to.data());
  const LensLine& reads = line(l, "async", false, AccessKind::read);
  CHECK(reads.requests == 1);
  CHECK(l.read_bytes == 31 * 16 + 4);
  CHECK(l.compulsory_read_bytes == 31 * 16 + 4);
  CHECK(reads.sectors == 16);
  const LensLine& writes = line(l, "async", true, AccessKind::write);
  CHECK(writes.requests == 1);
  CHECK(writes.bytes == 512);
  CHECK(writes.wavefronts == 4);
}

TEST_CASE("lens: the report as a table and as JSON") {
  const std::vector<float> zeros(4096);
  DeviceArray<float> from(zeros.data(), 4096), to(32);
  const simt::Lens lens;
  launch(reads_strided, 1, 32, 0, nullptr, from.data(), to.data(), 0, 2);
  launch(reads_banks, 1, 32, 0, nullptr, to.data(), 2);
  const simt::LensReport report = lens.report();
  const std::string table = report.table(), json = report.json();
  CAPTURE(table);
  CAPTURE(json);
  const auto has = [](const std::string& text, const std::string& part) { return text.find(part) != text.npos; };
  CHECK(has(table, "reads_strided  grid (1, 1, 1), block (32, 1, 1)"));
  CHECK(has(table, "50 % of the bytes used"));
  CHECK(has(table, "2-way bank conflict"));
  CHECK(has(table, "no errors"));
  CHECK(has(json, "\"kernel\": \"reads_strided\", \"grid\": [1, 1, 1], \"block\": [32, 1, 1], \"read_bytes\": 128"));
  CHECK(has(json,
            "\"memory\": \"global\", \"access\": \"read\", \"requests\": 1, \"lanes\": 32, \"bytes\": 128, "
            "\"sectors\": 8, \"ideal_sectors\": 4"));
  CHECK(has(json, "\"errors\": []}"));
  CHECK(lens.accesses() == 64 + 33 * 32 + 64);
}

}  // namespace
}  // namespace clearsky::test
