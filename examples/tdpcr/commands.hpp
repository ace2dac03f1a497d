#pragma once
// The program's subcommands: each adds its options to the command line and gives back what runs it.

#include <CLI/CLI.hpp>
#include <functional>

/// Of the sources this program was built from; cmake/commit.cmake writes it.
extern const char* const clearsky_commit;

namespace clearsky::program {

using Run = std::function<void()>;

Run add_train(CLI::App& app);
Run add_evaluate(CLI::App& app);
Run add_predict(CLI::App& app);
Run add_synthesize(CLI::App& app);
Run add_info(CLI::App& app);

}  // namespace clearsky::program
