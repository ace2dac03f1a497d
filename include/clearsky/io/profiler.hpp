#pragma once
// The listener that writes down when things begin and end, and adds up where the time went.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/profile.hpp"

namespace clearsky::io {

/// Something that began and ended.
struct ProfileEvent {
  uint32_t module;        ///< see Profiler::module_name; 0: none
  const char* operation;  ///< null: a module or a part
  Pass pass;
  int64_t parent;            ///< the event around it, which has a smaller number; -1 for the first
  int64_t begin_ns, end_ns;  ///< since the profiler was made
  int64_t peak_bytes;        ///< in use at most while it, and no event within it, ran, above the run's start
};

/// What happened on one thread while one ProfileGuard was alive. The first event is all of it.
struct ProfileRun {
  int64_t thread;  ///< 1, 2, ... in the order in which threads were first profiled
  std::vector<ProfileEvent> events;
};

/// A line of a table. What a module calls is not counted as the module's: the rows add up to the whole.
struct ProfileRow {
  std::string name;
  double forward_ms = 0, backward_ms = 0;
  int64_t forward_calls = 0, backward_calls = 0;
  int64_t peak_bytes = 0;  ///< where memory is watched: in use at most while it ran, with what others keep
  double flop = 0;         ///< multiplications and additions of both passes, for who knows them
  double total_ms() const { return forward_ms + backward_ms; }
};

struct ProfileTable {
  std::string title;  ///< over the names
  std::vector<ProfileRow> rows;
  double total_ms = 0;  ///< of the run; the rows' sum
};

/// Whether a profiler asks after each event how much memory was in use. memory_stats' peaks start anew then.
enum class WatchMemory { no, yes };

/// Collects what runs while a ProfileGuard is alive.
///
///     io::Profiler profiler;
///     nn::name_modules(profiler, model);
///     for (int step = 0; step < 5; ++step) {
///       const io::ProfileGuard on(profiler);
///       loss(model(x)).backward();
///     }
///     std::cout << io::to_text(profiler.modules()) << io::to_text(profiler.operations());
///     io::write_chrome_trace("trace.json", profiler);
///
/// Each guard is a run. Several threads may have guards on one profiler; tables are asked for when none is alive. An
/// operation takes a fraction of a microsecond longer.
class Profiler {
 public:
  explicit Profiler(WatchMemory memory = WatchMemory::no) : number_(next_number()), start_(now()), memory_(memory) {
    names_.emplace_back("other");
  }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Gives what is at an address a name, in place of one that it had; nn::name_modules does it for a whole model, which
  /// then must stay where it is. An empty name takes it away.
  template <class Module>
  void name(const Module& module, const std::string& path) {
    const std::lock_guard lock(mutex_);
    const auto key = std::pair<const void*, const void*>(&module, &clearsky::detail::kTypeMark<Module>);
    if (path.empty()) addresses_.erase(key);
    else addresses_[key] = number_of(path);
  }

  /// The runs that are complete, in the order in which they ended.
  const std::vector<ProfileRun>& runs() const { return runs_; }
  const std::string& module_name(uint32_t module) const { return names_.at(module); }
  void clear() { runs_.clear(); }

  /// The run that the tables are of: the one of median length, the shorter of two. A run as it was, and not a median of
  /// each row, so that the rows add up. -1 without runs.
  int64_t median_run() const {
    std::vector<std::pair<int64_t, int64_t>> lengths;  // and numbers
    for (size_t r = 0; r < runs_.size(); ++r) lengths.emplace_back(length(runs_[r]), int64_t(r));
    if (lengths.empty()) return -1;
    std::sort(lengths.begin(), lengths.end());
    return lengths[(lengths.size() - 1) / 2].second;
  }

  /// Of each run, in milliseconds.
  std::vector<double> run_ms() const {
    std::vector<double> ms;
    for (const ProfileRun& run : runs_) ms.push_back(1e-6 * double(length(run)));
    return ms;
  }

  /// The median run by modules, in the order in which they began; last "other", which is what no module did.
  /// @param depth  1: the model's parts, 2: their parts, and so on. A list within a part counts as one with its number:
  ///               "decoder.levels.0" is of depth 2. What is deeper is added to what it is a part of.
  ProfileTable modules(int64_t depth = 2) const {
    return table(Rows::modules, [&](const ProfileEvent& e) {
      return e.module == 0 ? std::string() : shortened(names_[e.module], depth);
    });
  }

  /// The median run by kinds of operation, the longest first. Operations that an operation is made of count as
  /// themselves. Last "no operation": what was done between them.
  ProfileTable operations() const {
    ProfileTable t = table(
        Rows::operations, [](const ProfileEvent& e) { return std::string(e.operation == nullptr ? "" : e.operation); });
    if (!t.rows.empty())
      std::stable_sort(t.rows.begin(), t.rows.end() - 1,
                       [](const ProfileRow& a, const ProfileRow& b) { return a.total_ms() > b.total_ms(); });
    return t;
  }

  /// "decoder.levels.0.blocks.1", 2 -> "decoder.levels.0"
  static std::string shortened(const std::string& path, int64_t depth) {
    const size_t first = path.find('.');
    for (size_t at = first; at != path.npos; at = path.find('.', at + 1)) {
      const bool numbered = at + 1 < path.size() && '0' <= path[at + 1] && path[at + 1] <= '9';
      if ((!numbered || at == first) && --depth <= 0) return path.substr(0, at);
    }
    return path;
  }

 private:
  friend class ProfileGuard;

  static uint32_t next_number() {
    static std::atomic<uint32_t> next{1};
    return next.fetch_add(1, std::memory_order_relaxed);
  }
  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  static int64_t thread_number() {
    static std::atomic<int64_t> next{1};
    static thread_local const int64_t number = next.fetch_add(1, std::memory_order_relaxed);
    return number;
  }
  static int64_t length(const ProfileRun& run) { return run.events[0].end_ns - run.events[0].begin_ns; }

  /// Under the lock.
  uint32_t number_of(const std::string& path) {
    const auto [at, inserted] = numbers_.try_emplace(path, uint32_t(names_.size()));
    if (inserted) names_.push_back(path);
    return at->second;
  }

  enum class Rows { modules, operations };

  /// @param key_of  the name of an event's row; empty for the last one
  template <class KeyOf>
  ProfileTable table(Rows kind, KeyOf&& key_of) const {
    ProfileTable t{kind == Rows::modules ? "module" : "operation", {}, 0};
    const int64_t chosen = median_run();
    if (chosen < 0) return t;
    const std::vector<ProfileEvent>& events = runs_[size_t(chosen)].events;
    t.total_ms = 1e-6 * double(length(runs_[size_t(chosen)]));
    std::vector<int64_t> own(events.size());
    for (size_t i = 0; i < events.size(); ++i) {
      own[i] += events[i].end_ns - events[i].begin_ns;
      if (events[i].parent >= 0) own[size_t(events[i].parent)] -= events[i].end_ns - events[i].begin_ns;
    }
    std::map<std::string, size_t> places;
    std::vector<std::pair<int64_t, int64_t>> sums;  // nanoseconds forward and backward of each row
    constexpr size_t kNone = size_t(-1);
    std::vector<size_t> row_of(events.size(), kNone);
    std::vector<size_t> before(events.size(), kNone);  // the latest event of a module within an event
    ProfileRow other{.name = kind == Rows::modules ? "other" : "no operation"};
    std::pair<int64_t, int64_t> other_sum;
    for (size_t i = 0; i < events.size(); ++i) {
      const ProfileEvent& e = events[i];
      const bool backward = e.pass == Pass::backward;
      std::string key = key_of(e);
      if (key.empty()) {
        (backward ? other_sum.second : other_sum.first) += own[i];
        other.peak_bytes = (std::max)(other.peak_bytes, e.peak_bytes);
        continue;
      }
      const auto [at, inserted] = places.try_emplace(key, t.rows.size());
      if (inserted) {
        t.rows.push_back({.name = std::move(key)});
        sums.emplace_back();
      }
      const size_t row = row_of[i] = at->second;
      (backward ? sums[row].second : sums[row].first) += own[i];
      t.rows[row].peak_bytes = (std::max)(t.rows[row].peak_bytes, e.peak_bytes);
      if (kind == Rows::modules) {
        if (e.operation != nullptr) continue;
        // A call of a row is one from outside of it. Its modules, one behind the other, are one call; and so is
        // backward through them, which comes to a module once for each operation that it recorded.
        const size_t last = std::exchange(before[size_t(e.parent)], i);
        if (row_of[size_t(e.parent)] == row) continue;
        if (last != kNone && row_of[last] == row && (backward || events[last].module != e.module)) continue;
      }
      ++(backward ? t.rows[row].backward_calls : t.rows[row].forward_calls);
    }
    for (size_t r = 0; r < t.rows.size(); ++r) {
      t.rows[r].forward_ms = 1e-6 * double(sums[r].first);
      t.rows[r].backward_ms = 1e-6 * double(sums[r].second);
    }
    other.forward_ms = 1e-6 * double(other_sum.first);
    other.backward_ms = 1e-6 * double(other_sum.second);
    t.rows.push_back(std::move(other));
    return t;
  }

  const uint32_t number_;  // of this profiler, in ProfiledModule
  const int64_t start_;
  const WatchMemory memory_;
  mutable std::mutex mutex_;
  std::vector<std::string> names_;
  std::map<std::string, uint32_t> numbers_;  // of names_
  std::map<std::pair<const void*, const void*>, uint32_t> addresses_;
  std::vector<ProfileRun> runs_;
};

/// While alive, this thread is profiled: one run. Guards nest, also of different profilers: the inner one listens. Each
/// puts back what it found.
class [[nodiscard]] ProfileGuard : ProfileListener {
 public:
  explicit ProfileGuard(Profiler& profiler) : profiler_(profiler), before_(clearsky::detail::profile_state) {
    run_.thread = Profiler::thread_number();
    run_.events.reserve(1024);
    if (profiler.memory_ == WatchMemory::yes) {
      reset_peak_memory();
      live_bytes_ = memory_stats().live_bytes;
    }
    begin(0, nullptr, Pass::forward);
    clearsky::detail::profile_state = {this, none(), Pass::forward};
  }
  ~ProfileGuard() override {
    clearsky::detail::profile_state = before_;
    while (open_ >= 0) end();
    const std::lock_guard lock(profiler_.mutex_);
    profiler_.runs_.push_back(std::move(run_));
  }
  ProfileGuard(const ProfileGuard&) = delete;
  ProfileGuard& operator=(const ProfileGuard&) = delete;

 private:
  ProfiledModule none() const { return ProfiledModule(profiler_.number_) << 32; }
  int64_t time() const { return Profiler::now() - profiler_.start_; }

  void begin(ProfiledModule module, const char* operation, Pass pass) override {
    note_memory();
    const int64_t parent = std::exchange(open_, int64_t(run_.events.size()));
    run_.events.push_back({uint32_t(module), operation, pass, parent, time(), 0, 0});
  }
  void end() noexcept override {
    run_.events[size_t(open_)].end_ns = time();
    note_memory();
    open_ = run_.events[size_t(open_)].parent;
  }
  /// What was in use since the last event began or ended was so while the innermost open one ran.
  void note_memory() noexcept {
    if (profiler_.memory_ == WatchMemory::no || open_ < 0) return;
    int64_t& peak = run_.events[size_t(open_)].peak_bytes;
    peak = (std::max)(peak, memory_stats().peak_bytes - live_bytes_);
    reset_peak_memory();
  }
  ProfiledModule find(const void* address, const void* type) override {
    const std::lock_guard lock(profiler_.mutex_);
    const auto at = profiler_.addresses_.find({address, type});
    return at == profiler_.addresses_.end() ? 0 : none() | at->second;
  }
  ProfiledModule part(ProfiledModule within, const char* name) override {
    const std::lock_guard lock(profiler_.mutex_);
    const uint32_t outer = uint32_t(within);
    return none() | profiler_.number_of(outer == 0 ? name : profiler_.names_[outer] + "." + name);
  }

  Profiler& profiler_;
  clearsky::detail::ProfileState before_;
  ProfileRun run_;
  int64_t open_ = -1;       // the innermost event that has not ended
  int64_t live_bytes_ = 0;  // at the start
};

/// A table as text, one row per line. Memory and FLOP are shown where any row has them.
inline std::string to_text(const ProfileTable& table) {
  ProfileRow total{.name = "total"};
  size_t width = table.title.size();
  for (const ProfileRow& row : table.rows) {
    width = (std::max)(width, row.name.size());
    total.forward_ms += row.forward_ms;
    total.backward_ms += row.backward_ms;
    total.peak_bytes = (std::max)(total.peak_bytes, row.peak_bytes);
    total.flop += row.flop;
  }
  const auto padded = [&](const std::string& name) { return name + std::string(width - name.size(), ' '); };
  const bool has_memory = total.peak_bytes > 0, has_flop = total.flop > 0;
  std::string text = padded(table.title) + "  forward ms  backward ms   share  calls  backward" +
                     (has_memory ? "   peak MB" : "") + (has_flop ? "     GFLOP  GFLOP/s" : "") + "\n";
  const auto add = [&](const ProfileRow& row, bool has_calls) {
    char cell[80];
    const auto put = [&](const char* format, auto... values) {
      std::snprintf(cell, sizeof cell, format, values...);
      text += cell;
    };
    text += padded(row.name);
    put("  %10.3f  %11.3f  %5.1f%%", row.forward_ms, row.backward_ms,
        table.total_ms > 0 ? 100 * row.total_ms() / table.total_ms : 0.0);
    if (has_calls) put("  %5lld  %8lld", (long long)row.forward_calls, (long long)row.backward_calls);
    else text += std::string(17, ' ');
    if (has_memory) put("  %8.1f", 1e-6 * double(row.peak_bytes));
    if (row.flop > 0) put("  %8.3f  %7.1f", 1e-9 * row.flop, 1e-6 * row.flop / row.total_ms());
    text += "\n";
  };
  for (const ProfileRow& row : table.rows) add(row, row.forward_calls + row.backward_calls > 0);
  add(total, false);
  return text;
}

}  // namespace clearsky::io
