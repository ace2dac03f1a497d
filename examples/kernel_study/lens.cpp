// The lens, in the one unit that is compiled without instrumentation.
#include "clearsky/simt/lens/implementation.hpp"
