#pragma once
// Configuration structs and JSON: each struct lists its fields once, in each_field, and that list reads it, writes it
// and knows which keys exist.
//
//     struct DataOptions {
//       std::string source = "synthetic";
//       int64_t count = 96;
//       template <class Visit>
//       void each_field(Visit&& visit) {
//         visit("source", source);
//         visit("count", count);
//       }
//     };

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "clearsky/core/error.hpp"

namespace clearsky::train {

using Json = nlohmann::ordered_json;

/// A field with a fixed list of values, by name. Enum is a plain enum class that counts from 0.
template <class Enum>
struct Choice {
  Enum& value;
  std::vector<const char*> names;
};
template <class Enum>
Choice(Enum&, std::vector<const char*>) -> Choice<Enum>;

/// The list of a struct's fields: its own each_field, or a specialisation for a struct that cannot have one.
template <class T>
struct Fields {
  template <class Visit>
  static void each(T& t, Visit&& visit) requires requires {
    t.each_field(visit);
  }
  { t.each_field(visit); }
};

namespace detail {

struct AnyVisit {
  template <class Field>
  void operator()(const char*, Field&&) const {}
};
template <class T>
concept Struct = requires(T& t, AnyVisit visit) {
  Fields<T>::each(t, visit);
};

/// Single-character edits between two words, for "did you mean".
inline size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = (std::min)({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

inline std::string join_path(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}

inline void read_value(const Json& j, const std::string& path, bool& to) {
  CLEARSKY_CHECK(ConfigError, j.is_boolean(), "config: ", path, " is ", j.dump(), "; it must be true or false");
  to = j.get<bool>();
}
inline void read_value(const Json& j, const std::string& path, int64_t& to) {
  const bool whole = j.is_number_integer() || (j.is_number() && j.get<double>() == std::floor(j.get<double>()));
  CLEARSKY_CHECK(ConfigError, whole, "config: ", path, " is ", j.dump(), "; it must be a whole number");
  to = j.get<int64_t>();
}
inline void read_value(const Json& j, const std::string& path, uint64_t& to) {
  int64_t value = 0;
  read_value(j, path, value);
  CLEARSKY_CHECK(ConfigError, value >= 0, "config: ", path, " is ", value, "; it must be at least 0");
  to = uint64_t(value);
}
inline void read_value(const Json& j, const std::string& path, double& to) {
  CLEARSKY_CHECK(ConfigError, j.is_number(), "config: ", path, " is ", j.dump(), "; it must be a number");
  to = j.get<double>();
}
inline void read_value(const Json& j, const std::string& path, std::string& to) {
  CLEARSKY_CHECK(ConfigError, j.is_string(), "config: ", path, " is ", j.dump(), "; it must be a text in quotes");
  to = j.get<std::string>();
}

template <Struct T>
void read_value(const Json& j, const std::string& path, T& to);

template <class T>
void read_value(const Json& j, const std::string& path, std::vector<T>& to) {
  CLEARSKY_CHECK(ConfigError, j.is_array(), "config: ", path, " is ", j.dump(), "; it must be a list in [ ]");
  to.clear();
  for (size_t i = 0; i < j.size(); ++i) {
    to.emplace_back();
    read_value(j[i], path + "." + std::to_string(i), to.back());
  }
}
template <class T, size_t N>
void read_value(const Json& j, const std::string& path, std::array<T, N>& to) {
  CLEARSKY_CHECK(ConfigError, j.is_array() && j.size() == N, "config: ", path, " is ", j.dump(),
                 "; it must be a list of ", int64_t(N));
  for (size_t i = 0; i < N; ++i) read_value(j[i], path + "." + std::to_string(i), to[i]);
}
template <class Enum>
void read_value(const Json& j, const std::string& path, Choice<Enum>& to) {
  std::string known;
  for (const char* name : to.names) known += (known.empty() ? "" : ", ") + std::string(name);
  CLEARSKY_CHECK(ConfigError, j.is_string(), "config: ", path, " is ", j.dump(), "; use one of ", known);
  const std::string text = j.get<std::string>();
  for (size_t i = 0; i < to.names.size(); ++i)
    if (text == to.names[i]) {
      to.value = Enum(int(i));
      return;
    }
  CLEARSKY_FAIL(ConfigError, "config: ", path, " is \"", text, "\"; use one of ", known);
}

/// Sets the fields that `j` names and leaves the others as they are. @throws ConfigError for a key that does not exist
template <Struct T>
void read_value(const Json& j, const std::string& path, T& to) {
  CLEARSKY_CHECK(ConfigError, j.is_object(), "config: ", path.empty() ? std::string("the file") : path, " is ",
                 j.dump().substr(0, 40), "; it must be an object in { }");
  std::vector<std::string> known;
  Fields<T>::each(to, [&](const char* key, auto&& field) {
    known.push_back(key);
    if (const auto found = j.find(key); found != j.end()) read_value(*found, join_path(path, key), field);
  });
  for (auto it = j.begin(); it != j.end(); ++it) {
    if (std::find(known.begin(), known.end(), it.key()) != known.end()) continue;
    const std::string nearest = *std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
      return edit_distance(a, it.key()) < edit_distance(b, it.key());
    });
    CLEARSKY_FAIL(ConfigError, "config: unknown key ", join_path(path, it.key()), "; did you mean ",
                  join_path(path, nearest));
  }
}

template <class T>
Json write_value(T& from) {
  if constexpr (Struct<T>) {
    Json j = Json::object();
    Fields<T>::each(from, [&](const char* key, auto&& field) { j[key] = write_value(field); });
    return j;
  } else if constexpr (requires { from.names; }) {
    return std::string(from.names.at(size_t(from.value)));
  } else if constexpr (requires { from.begin(); } && !std::is_same_v<T, std::string>) {
    Json j = Json::array();
    for (auto& element : from) j.push_back(write_value(element));
    return j;
  } else {
    return from;
  }
}

}  // namespace detail

/// Sets the fields of a configuration that the JSON names. @throws ConfigError for unknown keys and wrong types
template <class T>
void read_json(const Json& j, T& to) {
  detail::read_value(j, "", to);
}

/// Every field of a configuration.
template <class T>
Json to_json(const T& from) {
  T copy = from;
  return detail::write_value(copy);
}

/// "phase1.steps=500" -> sets j["phase1"]["steps"] to 500. What does not read as JSON is a text.
/// @throws ConfigError when there is no "="
inline void override_json(Json& j, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  CLEARSKY_CHECK(ConfigError, equals != assignment.npos && equals > 0, "config: --set ", assignment,
                 " has no value; write --set phase1.steps=500");
  Json* at = &j;
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = (std::min)(path.find('.', begin), path.size());
    if (at->is_null()) *at = Json::object();
    CLEARSKY_CHECK(ConfigError, at->is_object(), "config: --set ", assignment, ": ", path.substr(0, begin),
                   " is no group of keys");
    at = &(*at)[path.substr(begin, end - begin)];
    begin = end + 1;
  }
  const Json value = Json::parse(text, nullptr, false);
  *at = value.is_discarded() ? Json(text) : value;
}

}  // namespace clearsky::train
