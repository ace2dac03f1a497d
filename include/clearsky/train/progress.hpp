#pragma once
// Progress of a long run: a bar with the time left on a terminal, plain lines elsewhere.

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace clearsky::train {

/// "1:02:03" or "4:05"
inline std::string clock_text(double seconds) {
  const long total = long(seconds + 0.5);
  char text[32];
  if (total >= 3600) std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
  else std::snprintf(text, sizeof text, "%ld:%02ld", total / 60, total % 60);
  return text;
}

/// Where a run's messages go.
class Progress {
 public:
  /// @param title  of the run, at the start of each line
  /// @param quiet  nothing at all is printed
  explicit Progress(std::string title, bool quiet = false)
      : title_(std::move(title)), quiet_(quiet), terminal_(::isatty(STDOUT_FILENO) != 0), start_(now()) {}
  ~Progress() { clear_bar(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  double seconds() const { return now() - start_; }

  /// A line that stays.
  void line(const std::string& text) {
    if (quiet_) return;
    clear_bar();
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
  }

  /// How far the run is. On a terminal the bar is drawn at most ten times a second; elsewhere a line is printed when a
  /// further tenth is done.
  /// @param share  0 to 1
  void update(double share, const std::string& state) {
    if (quiet_) return;
    const double t = now();
    const double left = share > 0 ? (t - start_) * (1 - share) / share : 0;
    if (!terminal_) {
      if (int(share * 10) <= tenths_) return;
      tenths_ = int(share * 10);
      line(title_ + " " + std::to_string(int(share * 100 + 0.5)) + " %, " + state + ", " + clock_text(t - start_) +
           " elapsed, " + clock_text(left) + " left");
      return;
    }
    if (t - drawn_ < 0.1 && share < 1) return;
    drawn_ = t;
    constexpr int kWidth = 24;
    const int full = int(share * kWidth + 0.5);
    std::printf("\r\033[K%s [%s%s] %3d %%  %s  %s left", title_.c_str(), std::string(size_t(full), '#').c_str(),
                std::string(size_t(kWidth - full), '.').c_str(), int(share * 100 + 0.5), state.c_str(),
                clock_text(left).c_str());
    std::fflush(stdout);
    bar_ = true;
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  void clear_bar() {
    if (bar_) std::printf("\r\033[K");
    bar_ = false;
  }

  std::string title_;
  bool quiet_, terminal_, bar_ = false;
  double start_, drawn_ = 0;
  int tenths_ = -1;
};

}  // namespace clearsky::train
