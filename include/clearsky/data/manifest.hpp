#pragma once
// Any other data: a CSV file with one line of paths per sample.
//
//     optical_cloudy,optical_clear,sar,label,mask
//     a/cloudy.tif,a/clear.tif,a/s1.tif,a/classes.tif,
//     ,b/clear.tif,b/s1.tif,,
//
// Empty means absent; without a cloudy image, clouds are simulated on the clear one. Paths are relative to the CSV's
// folder. The columns may come in any order and some may be left out; id, roi, bucket and dn_offset may be added.

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/data/raster_dataset.hpp"

namespace clearsky::data {
namespace detail {

/// The fields of a CSV file, line by line (RFC 4180: quotes may enclose commas, line breaks and doubled quotes).
/// @return  the number of the line each record starts on, and its fields; empty lines are left out
inline std::vector<std::pair<int64_t, std::vector<std::string>>> parse_csv(const std::string& path,
                                                                           const std::string& text) {
  std::vector<std::pair<int64_t, std::vector<std::string>>> records;
  std::vector<std::string> fields(1);
  int64_t line = 1, start = 1;
  bool quoted = false, any = false;
  const auto finish = [&] {
    if (any || fields.size() > 1) records.emplace_back(start, fields);
    fields.assign(1, "");
    any = false;
  };
  size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0;  // a byte order mark, as spreadsheets write it
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') fields.back() += c;
      else if (at + 1 < text.size() && text[at + 1] == '"') fields.back() += text[++at];
      else quoted = false;
    } else if (c == '"' && fields.back().empty()) {
      quoted = any = true;
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '\n') {
      finish();
      start = line;
    } else if (c != '\r') {
      any = any || c != ' ';
      fields.back() += c;
    }
  }
  CLEARSKY_CHECK(IoError, !quoted, "open_manifest: ", path, ":", start, ": a quote is never closed");
  finish();
  return records;
}

/// Without spaces at both ends.
inline std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace detail

/// Reads a manifest. Every file it names must exist; no pixel is read here.
///
///     auto data = open_manifest("patches.csv", {.labels = parse_label_map("1:0,2:1,4:2")});
///
/// @throws IoError with the file and line: an unknown or missing column, a wrong number of fields, a file that is not
///         there, an id used twice, a sample without SAR or without any optical image
inline RasterDatasetPointer open_manifest(const std::string& path, const RasterOptions& options = {}) {
  const auto records = detail::parse_csv(path, io::read_file(path));
  CLEARSKY_CHECK(IoError, !records.empty(), "open_manifest: ", path,
                 ": is empty; the first line must read optical_cloudy,optical_clear,sar,label,mask");
  static const std::set<std::string> kColumns = {"optical_cloudy", "optical_clear", "sar", "label", "mask", "id", "roi",
                                                 "bucket",         "dn_offset"};
  std::map<std::string, size_t> columns;
  const std::vector<std::string>& header = records[0].second;
  for (size_t c = 0; c < header.size(); ++c) {
    const std::string name = detail::trimmed(header[c]);
    CLEARSKY_CHECK(IoError, kColumns.count(name) != 0, "open_manifest: ", path, ":1: unknown column ", name,
                   "; known are optical_cloudy, optical_clear, sar, label, mask, id, roi, bucket, dn_offset");
    CLEARSKY_CHECK(IoError, columns.emplace(name, c).second, "open_manifest: ", path, ":1: column ", name,
                   " appears twice");
  }

  const std::string folder = io::detail::folder_of(path);
  std::set<std::string> ids;
  std::vector<RasterPaths> samples;
  for (size_t r = 1; r < records.size(); ++r) {
    const int64_t line = records[r].first;
    const std::vector<std::string>& fields = records[r].second;
    CLEARSKY_CHECK(IoError, fields.size() == header.size(), "open_manifest: ", path, ":", line, ": ",
                   int64_t(fields.size()), " fields, the header has ", int64_t(header.size()));
    const auto text = [&](const char* column) {
      const auto found = columns.find(column);
      return found == columns.end() ? std::string() : detail::trimmed(fields[found->second]);
    };
    const auto file = [&](const char* column) {
      const std::string name = text(column);
      if (name.empty()) return name;
      const std::string full = name[0] == '/' ? name : folder + name;
      CLEARSKY_CHECK(IoError, io::file_exists(full), "open_manifest: ", path, ":", line, ": ", column, " ", full,
                     " does not exist");
      return full;
    };
    RasterPaths p;
    p.optical_cloudy = file("optical_cloudy");
    p.optical_clear = file("optical_clear");
    p.sar = file("sar");
    p.labels = file("label");
    p.mask = file("mask");
    CLEARSKY_CHECK(IoError, !p.sar.empty() && !(p.optical_cloudy.empty() && p.optical_clear.empty()),
                   "open_manifest: ", path, ":", line,
                   ": a sample needs sar and at least one of optical_cloudy and optical_clear");
    p.info = {text("id"), text("bucket"), text("roi")};
    if (const std::string offset = text("dn_offset"); !offset.empty()) {
      char* end = nullptr;
      p.dn_offset = std::strtod(offset.c_str(), &end);
      CLEARSKY_CHECK(IoError, *end == '\0', "open_manifest: ", path, ":", line, ": dn_offset ", offset,
                     " is not a number");
    }
    if (p.info.id.empty()) p.info.id = text(p.optical_clear.empty() ? "optical_cloudy" : "optical_clear");
    CLEARSKY_CHECK(IoError, ids.insert(p.info.id).second, "open_manifest: ", path, ":", line, ": the id ", p.info.id,
                   " is used twice");
    samples.push_back(std::move(p));
  }
  CLEARSKY_CHECK(IoError, !samples.empty(), "open_manifest: ", path, ": lists no samples");
  return std::make_shared<const RasterDataset>(std::move(samples), options);
}

}  // namespace clearsky::data
