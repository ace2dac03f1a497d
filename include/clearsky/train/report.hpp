#pragma once
// Results as a table, as JSON, as CSV, and as pictures.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "clearsky/io/chart.hpp"
#include "clearsky/io/picture.hpp"
#include "clearsky/io/png.hpp"
#include "clearsky/io/provenance.hpp"
#include "clearsky/train/evaluator.hpp"

namespace clearsky::train {
namespace detail {

inline std::string number(double value, int digits, int width) {
  char text[48];
  if (std::isnan(value)) std::snprintf(text, sizeof text, "%*s", width, "-");
  else std::snprintf(text, sizeof text, "%*.*f", width, digits, value);
  return text;
}
inline std::string padded(const std::string& text, size_t width) {
  return text.size() >= width ? text : text + std::string(width - text.size(), ' ');
}

inline std::string score_row(const std::string& name, const metrics::ImageScores& s) {
  return padded(name, 26) + number(s.psnr, 2, 9) + number(s.ssim, 4, 9) + number(s.spectral_angle_degrees, 2, 9) +
         number(s.mae, 4, 9) + number(s.rmse, 4, 9) + "\n";
}

/// NaN has no place in JSON: null.
inline Json finite(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

inline Json scores_json(const metrics::ImageScores& s) {
  return {{"psnr_db", finite(s.psnr)},
          {"ssim", finite(s.ssim)},
          {"sam_degrees", finite(s.spectral_angle_degrees)},
          {"mae", finite(s.mae)},
          {"rmse", finite(s.rmse)}};
}

inline constexpr std::pair<metrics::Region, const char*> kRegions[] = {{metrics::Region::all, "all pixels"},
                                                                       {metrics::Region::clear, "clear pixels"},
                                                                       {metrics::Region::cloudy, "cloudy pixels"}};

}  // namespace detail

/// The table that the program prints.
inline std::string table(const Evaluation& e) {
  using metrics::Absent;
  std::string text;
  if (!e.images.empty()) {
    text += detail::padded("image restoration", 26) + "  PSNR dB     SSIM    SAM °      MAE     RMSE\n";
    for (const auto& [region, name] : detail::kRegions)
      if (e.model.of(region).images() > 0)
        text += detail::score_row(std::string("TDP-CR, ") + name, e.model.of(region).mean());
    text += detail::score_row("copy of the cloudy image", e.copy.of(metrics::Region::all).mean());
    text += detail::score_row("mean colour of training", e.colour.of(metrics::Region::all).mean());
    for (int64_t b = 0; b < metrics::kCloudBuckets; ++b) {
      const auto& bucket = e.model.of(metrics::Region::all, b);
      if (bucket.images() == 0) continue;
      text += detail::score_row(
          "TDP-CR, cover " + std::string(data::kBuckets[b]) + ", n=" + std::to_string(bucket.images()), bucket.mean());
    }
    if (e.images.size() <= 16)
      for (const auto& image : e.images)
        text += "  " + detail::padded(image.id, 24) + detail::number(image.model.psnr, 2, 9) + "   (copy " +
                detail::number(image.copy.psnr, 2, 0) + ", mean colour " + detail::number(image.colour.psnr, 2, 0) +
                ")\n";
  }
  if (e.segmentation) {
    const metrics::ConfusionMatrix& m = *e.segmentation;
    text += "\nsegmentation\n";
    text += "  mIoU, absent classes left out  " + detail::number(m.mean_iou(Absent::left_out), 4, 8) + "\n";
    text += "  mIoU, absent classes count 0   " + detail::number(m.mean_iou(Absent::zero), 4, 8) + "\n";
    text += "  overall accuracy               " + detail::number(m.overall_accuracy(), 4, 8) + "\n";
    text += "  mean accuracy                  " + detail::number(m.mean_accuracy(Absent::left_out), 4, 8) + "\n";
    text += "  macro F1                       " + detail::number(m.macro_f1(Absent::left_out), 4, 8) + "\n";
    text += "  kappa                          " + detail::number(m.kappa(), 4, 8) + "\n";
    for (int64_t c = 0; c < m.classes(); ++c)
      text += "  IoU " + detail::padded(e.class_names[size_t(c)], 27) + detail::number(m.iou(c), 4, 8) + "\n";
  }
  if (!std::isnan(e.reliance_correlation) || !std::isnan(e.uncertainty_correlation))
    text += "\nrank correlation with cloud thickness: SAR reliance " + detail::number(e.reliance_correlation, 3, 0) +
            ", prompt uncertainty " + detail::number(e.uncertainty_correlation, 3, 0) + "\n";
  if (e.runs > 1) text += "\neach image is the mean of " + std::to_string(e.runs) + " restorations\n";
  if (e.invalid_values > 0)
    text += "\n" + std::to_string(e.invalid_values) + " NaN or infinite input values were set to 0\n";
  return text;
}

inline Json evaluation_json(const Evaluation& e) {
  using metrics::Absent;
  Json j;
  const auto report = [](const metrics::ImageReport& r) {
    Json out;
    for (const auto& [region, name] : detail::kRegions)
      if (r.of(region).images() > 0) out[name] = detail::scores_json(r.of(region).mean());
    for (int64_t b = 0; b < metrics::kCloudBuckets; ++b)
      if (r.of(metrics::Region::all, b).images() > 0)
        out["cloud cover " + std::string(data::kBuckets[b])] =
            detail::scores_json(r.of(metrics::Region::all, b).mean());
    return out;
  };
  j["images"] = e.images.size();
  j["runs_per_image"] = e.runs;
  if (!e.images.empty()) {
    j["model"] = report(e.model);
    j["copy_of_cloudy"] = report(e.copy);
    j["mean_colour"] = report(e.colour);
    for (const auto& i : e.images)
      j["per_image"].push_back({{"id", i.id},
                                {"cloud_cover", detail::finite(i.cloud_cover)},
                                {"model", detail::scores_json(i.model)},
                                {"copy_of_cloudy", detail::scores_json(i.copy)},
                                {"mean_colour", detail::scores_json(i.colour)}});
  }
  if (e.segmentation) {
    const metrics::ConfusionMatrix& m = *e.segmentation;
    Json s = {{"miou_absent_left_out", detail::finite(m.mean_iou(Absent::left_out))},
              {"miou_absent_zero", detail::finite(m.mean_iou(Absent::zero))},
              {"overall_accuracy", detail::finite(m.overall_accuracy())},
              {"mean_accuracy", detail::finite(m.mean_accuracy(Absent::left_out))},
              {"macro_f1", detail::finite(m.macro_f1(Absent::left_out))},
              {"kappa", detail::finite(m.kappa())}};
    for (int64_t c = 0; c < m.classes(); ++c) s["iou"][e.class_names[size_t(c)]] = detail::finite(m.iou(c));
    j["segmentation"] = s;
  }
  j["reliance_correlation"] = detail::finite(e.reliance_correlation);
  j["uncertainty_correlation"] = detail::finite(e.uncertainty_correlation);
  j["invalid_values"] = e.invalid_values;
  return j;
}

/// One line per image.
inline std::string evaluation_csv(const Evaluation& e) {
  std::string text = "id,cloud_cover,psnr_db,ssim,sam_degrees,mae,rmse,copy_psnr_db,mean_colour_psnr_db\n";
  for (const auto& i : e.images) {
    text += i.id;
    for (double v : {i.cloud_cover, i.model.psnr, i.model.ssim, i.model.spectral_angle_degrees, i.model.mae,
                     i.model.rmse, i.copy.psnr, i.colour.psnr})
      text += std::isfinite(v) ? "," + clearsky::detail::to_text(v) : ",";
    text += "\n";
  }
  return text;
}

/// metrics.txt, metrics.json and metrics.csv in a folder.
inline void write_report(const Evaluation& e, const std::string& folder, const io::Provenance& made_by) {
  io::make_folders(folder);
  io::atomic_write_text(folder + "/metrics.txt", table(e));
  Json j = evaluation_json(e);
  j["made_by"] = to_json(made_by);
  io::atomic_write_text(folder + "/metrics.json", j.dump(2) + "\n");
  io::atomic_write_text(folder + "/metrics.csv", evaluation_csv(e));
}

/// Pictures of one sample, row by row of the sheet, and each as a file of its own.
class Gallery {
 public:
  explicit Gallery(std::string folder, int64_t most_rows = 6) : folder_(std::move(folder)), most_rows_(most_rows) {
    io::make_folders(folder_);
  }

  void add(const data::Batch& batch, const tdpcr::Outputs<float>& out) {
    if (int64_t(rows_.size()) >= most_rows_) return;
    const auto image = [](const Tensor<float>& x) { return contiguous(select(x, 0, 0)); };
    std::vector<io::Picture> row;
    std::vector<std::string> captions;
    std::string name = batch.infos[0].id;
    std::replace(name.begin(), name.end(), '/', '_');
    const auto show = [&](const std::string& caption, const io::Picture& picture) {
      io::write_png(folder_ + "/" + name + "_" + caption + ".png", picture);
      row.push_back(picture);
      captions.push_back(caption);
    };
    // One stretch for all optical pictures, so that they can be compared; from the clear image where there is one.
    const Tensor<float> restored = image(out.reconstruction);
    const io::Stretch stretch = io::percentile_stretch(batch.clear.defined() ? image(batch.clear) : restored);
    show("cloudy", io::rgb_picture(image(batch.optical), stretch));
    show("sar", io::sar_picture(image(batch.sar)));
    show("restored", io::rgb_picture(restored, stretch));
    if (batch.clear.defined()) show("clear", io::rgb_picture(image(batch.clear), stretch));
    // Gates differ less within an image than they could: stretched, but not so far that noise looks like a pattern.
    if (out.reliance.defined()) {
      const io::Stretch s = io::percentile_stretch(image(out.reliance), {0, 0, 0}, 2, 98);
      const double half = (std::max)(s.high - s.low, 0.05) / 2, middle = (s.low + s.high) / 2;
      show("reliance", io::colour_picture(image(out.reliance), middle - half, middle + half));
    }
    if (out.uncertainty.defined()) show("uncertainty", io::colour_picture(image(out.uncertainty)));
    if (out.logits.defined()) show("classes", io::class_picture(cast<uint8_t>(argmax(image(out.logits), -1))));
    if (out.logits.defined() && batch.labels.defined())
      show("labels", io::class_picture(contiguous(select(batch.labels, 0, 0))));
    rows_.push_back(row);
    captions_ = captions;
  }

  /// All rows as one sheet. Returns its path, or "" when nothing was added.
  std::string finish() const {
    if (rows_.empty()) return "";
    io::write_png(folder_ + "/sheet.png", io::sheet(rows_, captions_));
    return folder_ + "/sheet.png";
  }

 private:
  std::string folder_;
  int64_t most_rows_;
  std::vector<std::vector<io::Picture>> rows_;
  std::vector<std::string> captions_;
};

}  // namespace clearsky::train
