// Compiled twice and linked into one program: a function that is not inline would be there twice.
#include "all_headers.hpp"

#if defined(CLEARSKY_FIRST_UNIT)
int elements_in_second_unit();
int main() {
  return clearsky::ones({2, 3}).numel() == elements_in_second_unit() ? 0 : 1;
}
#else
int elements_in_second_unit();
int elements_in_second_unit() {
  return int(clearsky::zeros({3, 2}).numel());
}
#endif
