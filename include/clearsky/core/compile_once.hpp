#pragma once
// Operations and kernels that a project compiles once, and not in each of its files.
//
// They are templates: who includes clearsky compiles what he uses, for his processor, with no library to link. That is
// most of the time that a file takes. A file that is compiled with CLEARSKY_COMPILED_KERNELS leaves them to the linker,
// which finds them in the library clearsky::kernels (cmake/kernels), built with the same flags.

#if defined(CLEARSKY_COMPILING_KERNELS_IN_FLOAT)
#define CLEARSKY_INSTANCE_FLOAT(...) template __VA_ARGS__;
#elif defined(CLEARSKY_COMPILED_KERNELS)
#define CLEARSKY_INSTANCE_FLOAT(...) extern template __VA_ARGS__;
#else
#define CLEARSKY_INSTANCE_FLOAT(...)
#endif
#if defined(CLEARSKY_COMPILING_KERNELS_IN_DOUBLE)
#define CLEARSKY_INSTANCE_DOUBLE(...) template __VA_ARGS__;
#elif defined(CLEARSKY_COMPILED_KERNELS)
#define CLEARSKY_INSTANCE_DOUBLE(...) extern template __VA_ARGS__;
#else
#define CLEARSKY_INSTANCE_DOUBLE(...)
#endif

/// Behind the definition of a function template <class T> that has no overloads. An overloaded one has its instances
/// written out, with the two macros above.
#define CLEARSKY_COMPILE_ONCE(function)                              \
  CLEARSKY_INSTANCE_FLOAT(decltype(function<float>) function<float>) \
  CLEARSKY_INSTANCE_DOUBLE(decltype(function<double>) function<double>)
