// clearsky predict

#include <memory>

#include "clearsky/train/checkpoint.hpp"
#include "clearsky/train/scene_prediction.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct PredictOptions {
  std::vector<std::string> weights;
  std::string optical, sar, out, classes, reliance, uncertainty;
  double dn_offset = -1;
  train::SceneOptions scene;
  bool zero_invalid = false, self_ensemble = false;
  std::string precision = "float32";
};

void check_finite(const char* what, const std::string& path, int64_t invalid, int64_t total, bool zero_invalid) {
  CLEARSKY_CHECK(ValueError, invalid == 0 || zero_invalid, "predict: ", path, ": ", invalid, " of ", total, " ", what,
                 " values are NaN or infinite; fill them, or pass --zero-invalid to take them as 0");
  if (invalid > 0)
    std::fprintf(stderr, "warning: %s: %lld NaN or infinite values taken as 0\n", path.c_str(), (long long)invalid);
}

void run_predict(const PredictOptions& o, const DeviceChoice& choice) {
  const std::vector<train::LoadedModel> models = load_models(o.weights);
  const train::LoadedModel& loaded = models[0];
  const train::DataOptions& d = loaded.config.data;
  const geo::Raster optical = geo::read_geotiff(o.optical, {}, data::kBands);
  const geo::Raster sar = geo::read_geotiff(o.sar, {}, data::kPolarisations);
  data::OpticalScaling scaling;
  scaling.dn_offset = o.dn_offset >= 0 ? o.dn_offset : d.dn_offset;
  const std::string warning = data::dn_offset_warning(optical.pixels, scaling);
  if (!warning.empty()) std::fprintf(stderr, "warning: %s: %s\n", o.optical.c_str(), warning.c_str());
  const auto sar_scaling =
      d.sar_scaling == train::SarRule::ecrformer ? data::SarScaling::ecrformer() : data::SarScaling{};
  int64_t invalid = 0, invalid_sar = 0;
  const Tensor<float> x = data::scale_optical(optical.pixels, scaling, &invalid);
  const Tensor<float> s = data::scale_sar(sar.pixels, sar_scaling, &invalid_sar);
  check_finite("optical", o.optical, invalid, x.numel(), o.zero_invalid);
  check_finite("SAR", o.sar, invalid_sar, s.numel(), o.zero_invalid);
  CLEARSKY_CHECK(ConfigError, o.classes.empty() || loaded.model->segmentation_decoder.has_value(),
                 "predict: ", o.weights[0], " has no segmentation decoder, so there is no class map; train phase 2");

  move_to(choice, models);
  const Autocast products(precision_of(o.precision));
  const tdpcr::Outputs<float> out = train::predict_scene(restorer_of(models, o.self_ensemble), x, s, o.scene);
  const auto image = [](const Tensor<float>& t) { return contiguous(select(t, 0, 0)); };
  const Tensor<float> restored = clamp(image(out.reconstruction), 0, 1);
  train::write_scene(o.out, data::unscale_optical(restored, scaling), optical, "uint16",
                     io::rgb_picture(restored, io::percentile_stretch(restored)));
  if (!o.classes.empty()) {
    const Tensor<uint8_t> labels = cast<uint8_t>(argmax(image(out.logits), -1));
    train::write_scene(o.classes, unsqueeze(cast<float>(labels), 2), optical, "uint8", io::class_picture(labels));
  }
  const auto write_map = [&](const std::string& path, const Tensor<float>& map, const char* name) {
    if (path.empty()) return;
    CLEARSKY_CHECK(ConfigError, map.defined(), "predict: the model of ", o.weights[0], " gives no ", name, " map");
    train::write_scene(path, image(map), optical, "float32", io::colour_picture(image(map)));
  };
  write_map(o.reliance, out.reliance, "SAR reliance");
  write_map(o.uncertainty, out.uncertainty, "uncertainty");
  std::printf("%s: %lld x %lld pixels\n", o.out.c_str(), (long long)x.size(0), (long long)x.size(1));
}

}  // namespace

Run add_predict(CLI::App& app) {
  auto* c = app.add_subcommand("predict", "Restore one image pair");
  auto o = std::make_shared<PredictOptions>();
  c->add_option("--weights", o->weights, "weights.safetensors of a training run; of several, the mean of their results")
      ->required();
  c->add_option("--optical", o->optical, "Cloudy Sentinel-2 image: GeoTIFF, 13 bands B1 to B12, digital numbers")
      ->required();
  c->add_option("--sar", o->sar, "Sentinel-1 image on the same grid: GeoTIFF, VV and VH in dB")->required();
  c->add_option("--out", o->out, "Restored image: GeoTIFF (13 bands, digital numbers), or a picture if it ends in .png")
      ->required();
  c->add_option("--classes", o->classes, "Also write the land-cover map, .tif or .png");
  c->add_option("--reliance", o->reliance, "Also write how much each pixel comes from SAR, 0 to 1");
  c->add_option("--uncertainty", o->uncertainty, "Also write the prompt's uncertainty, 0 to 1");
  c->add_option("--dn-offset", o->dn_offset,
                "Digital number of reflectance 0: 1000 since baseline 04.00; default: as in training");
  c->add_option("--tile", o->scene.tile, "Work in tiles of this many pixels, blended; 0: the whole image at once");
  c->add_option("--overlap", o->scene.overlap, "Pixels that tiles share");
  c->add_flag("--self-ensemble", o->self_ensemble, "The mean of eight runs, turned and mirrored; eight times slower");
  add_precision(*c, o->precision);
  c->add_flag("--zero-invalid", o->zero_invalid, "Take NaN and infinite pixels as 0 instead of refusing them");
  c->footer(
      "The georeference of the optical image is kept.\n\n"
      "  clearsky predict --weights run/weights.safetensors --optical s2.tif --sar s1.tif --out clear.tif\n"
      "      --classes map.tif --tile 512");
  return [o](const DeviceChoice& choice) { run_predict(*o, choice); };
}

}  // namespace clearsky::program
