# Sourced by tests/run.sh and examples/demo.sh: need_packages NAME... makes sure that what we build with is there.
# Looks for the thing itself (a command, a header), so that a system that is not Debian's passes too when it has it.

# found NAME: is what Debian's package NAME brings here already?
found() {
  case $1 in
    g++ | clang | cmake | python3) command -v "${1/#clang/clang++}" ;;
    ninja-build) command -v ninja ;;
    doctest-dev) header doctest/doctest.h ;;
    nlohmann-json3-dev) header nlohmann/json.hpp ;;
    libcli11-dev) header CLI/CLI.hpp ;;
    libstb-dev) header stb/stb_image.h ;;
    libgdal-dev) command -v gdal-config ;;
    libclang-rt-dev) echo 'int main() {}' | clang++ -fsanitize=address -x c++ -o /dev/null - 2>/dev/null ;;
    *) echo "packages.sh: no way to look for $1" >&2; return 1 ;;
  esac >/dev/null
}

header() { echo "#include <$1>" | g++ -std=c++20 -E -x c++ -o /dev/null - 2>/dev/null; }

need_packages() {
  local missing=() name
  for name in "$@"; do found "$name" || missing+=("$name"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    echo "Please install first (names as in Debian): ${missing[*]}" >&2
    return 1
  fi
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Please install first, as root: apt-get install ${missing[*]}" >&2; return 1; }
    root=(sudo)
  fi
  echo "Installing ${missing[*]}"
  "${root[@]}" apt-get -qq update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}
