// clearsky: trains, evaluates and applies TDP-CR, which makes a cloud-free image and a land-cover map of one cloudy
// Sentinel-2 image and a Sentinel-1 image.

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "clearsky/core/threads.hpp"
#include "clearsky/version.hpp"
#include "commands.hpp"

namespace {

/// One line, without the place in the sources that library messages end with.
std::string one_line(std::string text) {
  if (const size_t at = text.rfind("  ["); at != text.npos && text.back() == ']') text.resize(at);
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "clearsky: cloud removal and land-cover mapping with TDP-CR.\n\n"
      "From one cloudy Sentinel-2 image and a Sentinel-1 image of the same ground: the cloud-free image, a land-cover "
      "map, and two maps that say how far to trust them.");
  app.name("clearsky");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("clearsky ") + clearsky::kVersion);
  app.footer(
      "A first walk:\n"
      "  clearsky train --out run                                       # learns from built-in data\n"
      "  clearsky evaluate --weights run/weights.safetensors --out report\n"
      "  clearsky predict --weights run/weights.safetensors --optical cloudy.tif --sar s1.tif --out clear.tif\n"
      "'clearsky COMMAND --help' explains a command.");
  int64_t threads = 0;
  app.add_option("--threads", threads, "Threads to compute with; 0: one per core. Changes the time, never the result")
      ->check(CLI::Range(int64_t(0), int64_t(1024)));
  std::string device = "auto";
  app.add_option("--device", device,
                 "cpu; cuda: an NVIDIA GPU; simt: the CUDA kernels emulated on the CPU, slow; auto: cuda where it can "
                 "be used, else cpu")
      ->check(CLI::IsMember({"auto", "cpu", "cuda", "simt"}));
  const std::vector<std::pair<CLI::App*, clearsky::program::Run>> commands = [&] {
    std::vector<std::pair<CLI::App*, clearsky::program::Run>> list;
    const auto add = [&](clearsky::program::Run (*make)(CLI::App&)) {
      clearsky::program::Run run = make(app);
      list.emplace_back(app.get_subcommands([](CLI::App*) { return true; }).back(), std::move(run));
    };
    add(clearsky::program::add_train);
    add(clearsky::program::add_evaluate);
    add(clearsky::program::add_predict);
    add(clearsky::program::add_synthesize);
    add(clearsky::program::add_info);
    add(clearsky::program::add_profile);
    return list;
  }();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "clearsky: %s\n", one_line(e.what()).c_str());
    return 2;
  }
  // A limit on the size of files then shows as an error of the write, which cleans up, and not as a signal, which would
  // end the program in the middle of a file.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    if (threads > 0) clearsky::set_threads(threads);
    for (const auto& [command, run] : commands)
      if (command->parsed()) run(clearsky::program::DeviceChoice(device));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "clearsky: %s\n", one_line(e.what()).c_str());
    return 1;
  }
  return 0;
}
