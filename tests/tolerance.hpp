#pragma once
// How far a computed value may lie from its exact one. No operation has a number of its own.

#include <cmath>
#include <cstdint>

namespace clearsky::test {

// Unit roundoff: half the gap between 1 and the next number.
inline constexpr double kRoundDouble = 0x1p-53;
inline constexpr double kRoundFloat = 0x1p-24;
inline constexpr double kRoundHalf = 0x1p-11;
inline constexpr double kRoundBfloat16 = 0x1p-8;

template <class T>
inline constexpr double kRound = sizeof(T) == 8 ? kRoundDouble : kRoundFloat;

/// How far one sum of products may lie from its exact value.
///
///     |got - exact| <= 2 (u_store + u_add sqrt(terms)) scale
///
/// Roundings of random sign grow as sqrt(terms), so the bound scales itself from a 1x1 window to a 4096-long row. The 2
/// covers unlucky draws. With one term it is 4 u scale, the bound for functions of one value.
///
/// @param u_store  unit roundoff of the type the result is stored in
/// @param u_add    unit roundoff of the type it is added up in
/// @param terms    how many products one result adds
/// @param scale    the same sum with every product replaced by its absolute value, in double
/// @source  Higham, Mary, SIAM J. Sci. Comput. 41 (2019), A2815 (probabilistic error analysis)
inline double allowed_error(double u_store, double u_add, double terms, double scale) {
  return 2 * (u_store + u_add * std::sqrt(terms)) * scale;
}

}  // namespace clearsky::test
