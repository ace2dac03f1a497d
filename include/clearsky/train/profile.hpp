#pragma once
// Where the time of a training step, or of inference, goes: module by module and by kinds of operation.

#include <string>
#include <vector>

#include "clearsky/io/profiler.hpp"
#include "clearsky/io/provenance.hpp"
#include "clearsky/nn/profile.hpp"
#include "clearsky/tdpcr/summary.hpp"
#include "clearsky/train/trainer.hpp"

namespace clearsky::train {

enum class Work { phase1, phase2, inference };

inline const char* to_text(Work work) {
  return work == Work::phase1 ? "phase1" : work == Work::phase2 ? "phase2" : "inference";
}

struct ProfileOptions {
  Work work = Work::phase1;
  int64_t size = 256;  ///< height and width in pixels
  int64_t batch = 1;
  int64_t repeats = 5;  ///< after two that are not measured
};

namespace detail {

/// As many built-in scenes of the size as a batch has, whatever the configuration's data are.
inline RunConfig profiled_config(RunConfig config, const ProfileOptions& o) {
  CLEARSKY_CHECK(ConfigError, config.phases == Phases::two || o.work != Work::phase2,
                 "profile: phases = joint is a single phase; profile phase 1, or set phases = two");
  config.data = {};
  config.data.count = (std::max)(o.batch, int64_t(3));
  config.data.size = o.size;
  config.data.split = SplitRule::whole;
  config.augment.crop = 0;
  for (PhaseOptions* phase : {&config.phase1, &config.phase2}) {
    phase->batch_size = o.batch;
    phase->accumulate = 1;
    phase->minutes = 0;
    phase->steps = o.repeats + 3;  // more than are done: none is followed by the end of a phase
  }
  if (o.work == Work::phase2) config.phase1.steps = 0;
  check_config(config);
  return config;
}

}  // namespace detail

/// Does the work some times on the CPU, under the profiler: each time is a run. A step is the trainer's own, without
/// the making of its batch: forward, loss, backward, clipping, optimizer.
/// @return  the network's configuration, for add_flop
/// @throws  ConfigError
inline tdpcr::Config profile_work(const RunConfig& given, const ProfileOptions& o, io::Profiler& profiler) {
  const RunConfig config = detail::profiled_config(given, o);
  const DataParts data = open_data(config);
  data::Loader loader(data.train, {.batch_size = o.batch, .prefetch = 0});
  const data::Batch batch = loader.next();
  const auto measure = [&](auto& model, auto&& step) {
    for (int warm_up = 0; warm_up < 2; ++warm_up) step();
    nn::name_modules(profiler, model);
    for (int64_t i = 0; i < o.repeats; ++i) {
      const io::ProfileGuard on(profiler);
      step();
    }
    return model.config();
  };
  if (o.work == Work::inference) {
    const tdpcr::Model<float> model(config.model, config.seed);
    const NoGrad guard;
    return measure(model, [&] { model(batch.optical, batch.sar); });
  }
  Trainer trainer(config, data);
  Progress progress("", true);
  if (o.work == Work::phase2) trainer.run_phase(progress);
  return measure(trainer.model(), [&] { trainer.step_on(batch); });
}

/// Gives a table of modules the FLOP of the network's definition: two for each multiply-add, and twice as many for
/// backward where there is one.
/// @param depth  of the table
inline void add_flop(io::ProfileTable& table, const tdpcr::Config& config, const ProfileOptions& o, int64_t depth) {
  const auto row_of = [&](const std::string& name) {
    return std::find_if(table.rows.begin(), table.rows.end(), [&](const auto& row) { return row.name == name; });
  };
  for (const tdpcr::SummaryRow& part : tdpcr::macs_by_module(config, o.size, o.size)) {
    std::string name = io::Profiler::shortened(part.part, depth);
    auto row = row_of(name);
    // A module that another one computes along with its own.
    while (row == table.rows.end() && name.find('.') != name.npos) row = row_of(name = name.substr(0, name.rfind('.')));
    if (row != table.rows.end())
      row->flop += 2 * double(part.macs) * double(o.batch) * (row->backward_calls > 0 ? 3 : 1);
  }
}

inline Json to_json(const io::ProfileTable& table) {
  Json rows = Json::array();
  for (const io::ProfileRow& row : table.rows) {
    Json j = {{"name", row.name},
              {"forward_ms", row.forward_ms},
              {"backward_ms", row.backward_ms},
              {"share", table.total_ms > 0 ? row.total_ms() / table.total_ms : 0},
              {"calls", row.forward_calls},
              {"backward_calls", row.backward_calls},
              {"peak_mb", 1e-6 * double(row.peak_bytes)}};
    if (row.flop > 0) {
      j["gflop"] = 1e-9 * row.flop;
      j["gflop_per_s"] = 1e-6 * row.flop / row.total_ms();
    }
    rows.push_back(std::move(j));
  }
  return rows;
}

}  // namespace clearsky::train
