// After its third step a run takes nothing more from the system, however long it is.

#include "tiny.hpp"

namespace clearsky::train {

using namespace test;

namespace {

/// Runs so many steps of a phase. @return what the pool says then
MemoryStats after(Trainer& trainer, int64_t steps) {
  Progress quiet("", true);
  trainer.run_phase(quiet, steps);
  return memory_stats();
}

}  // namespace

TEST_CASE("training: no allocation from the system after the third step, in any phase") {
  using tdpcr::Trains;
  for (const Trains trains : {Trains::segmentation, Trains::decoders, Trains::all}) {
    INFO("phase 2 trains ", tdpcr::to_text(trains));
    RunConfig config = tiny_config();
    config.phase1.steps = config.phase2.steps = 12;
    config.phase2_trains = trains;
    config.optimizer.ema = 0.9;
    if (trains == Trains::all) config.precision = Precision::bfloat16;
    release_cached_memory();
    Trainer trainer(config, open_data(config));
    for (int64_t phase = 0; phase < 2; ++phase) {
      INFO("phase ", phase + 1);
      const MemoryStats third = after(trainer, 3), later = after(trainer, 8);
      CHECK(later.system_allocations == third.system_allocations);
      CHECK(later.reserved_bytes == third.reserved_bytes);
      after(trainer, 1);
    }
  }
}

#if !defined(CLEARSKY_ADDRESS_SANITIZER)  // minutes with it
TEST_CASE("training: 2000 steps keep memory flat") {
  RunConfig config = tiny_config();
  config.augment.crop = 8;
  config.data.size = 16;
  config.model.width = 4;
  config.model.heads = {1, 1, 2, 2};
  config.phase1.steps = 2001;
  config.phase1.batch_size = 1;
  config.phase2.steps = 0;
  Trainer trainer(config, open_data(config));
  const MemoryStats early = after(trainer, 10);
  int64_t most = 0;
  for (int part = 0; part < 10; ++part) most = (std::max)(most, after(trainer, 199).live_bytes);
  const MemoryStats late = memory_stats();
  CHECK(trainer.position().step == 2000);
  CHECK(late.reserved_bytes == early.reserved_bytes);
  CHECK(late.system_allocations == early.system_allocations);
  // The loader makes batches ahead; how many there are when we look is the only thing that varies.
  CHECK(most <= early.live_bytes + (1 << 20));
}
#endif

}  // namespace clearsky::train
