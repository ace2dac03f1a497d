// The lens, in the one unit that is not instrumented.
#include "clearsky/simt/lens/implementation.hpp"
