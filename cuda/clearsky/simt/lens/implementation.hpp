#pragma once
// What a program with a lens includes in exactly one unit, compiled with -DCLEARSKY_SIMT_LENS=1 and without
// -fsanitize=thread: the functions that the compiler calls before each access of an instrumented unit, and the lens
// behind them.

#include "clearsky/simt/lens/hooks.hpp"
