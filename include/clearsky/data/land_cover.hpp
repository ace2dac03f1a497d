#pragma once
// What the classes of the built-in scenes look like: two typical spectra and radar returns for each, between which its
// pixels lie.

#include "clearsky/data/sample.hpp"
#include "clearsky/data/scaling.hpp"

namespace clearsky::data::detail {

enum LandCover : uint8_t { kWater, kForest, kCropland, kGrassland, kBuilt, kBare, kWetland };

/// One end of a class: top-of-atmosphere reflectance x 1000 in the 13 bands, and backscatter in dB.
struct CoverEnd {
  float reflectance[kBands];
  float vv_db, vh_db;
};

/// A class lies between two ends; the same mixing drives optics and radar, so that each tells something of the other.
struct Cover {
  CoverEnd ends[2];
  float brightness_spread;  ///< standard deviation of a region's brightness, as a share
  float texture;            ///< standard deviation from pixel to pixel, as a share
};

// Typical values, in round numbers: Sentinel-2 L1C over temperate land in summer, haze included (hence the blue end).
// clang-format off
inline constexpr Cover kCovers[kClasses] = {
    // B1   B2   B3   B4   B5   B6   B7   B8   B8A   B9  B10  B11  B12      VV     VH
    {{{{122,  94,  66,  40,  36,  32,  31,  28,  26,  10,   1,  12,   8},  -21,   -28},     // water: clear, deep
      {{130, 108,  98,  76,  66,  46,  44,  38,  34,  13,   1,  18,  12},  -18.5f, -26.5f}},  //        turbid, shallow
     0.04f, 0.02f},
    {{{{112,  82,  66,  42,  74, 190, 240, 235, 258,  84,   1, 118,  54},   -9,   -14},     // forest: conifers
      {{116,  86,  76,  48,  90, 240, 310, 300, 328, 105,   1, 150,  68},   -8,   -13}},    //         broadleaved
     0.05f, 0.10f},
    {{{{128, 106, 106,  82, 132, 290, 370, 375, 400, 130,   1, 205, 108},   -9.5f, -15.5f},   // cropland: full green
      {{140, 122, 126, 136, 166, 192, 212, 222, 238,  82,   2, 300, 222},  -12.5f, -20}},     //           stubble
     0.05f, 0.04f},
    {{{{122,  98,  98,  78, 124, 220, 262, 268, 290,  96,   1, 226, 128},  -12.5f, -19.5f},   // grassland: fresh
      {{128, 108, 114, 112, 152, 198, 222, 232, 254,  88,   2, 278, 184},  -14,   -21.5f}},   //            dry
     0.05f, 0.05f},
    {{{{150, 134, 132, 134, 150, 172, 186, 190, 202,  76,   2, 208, 180},   -4,   -11},     // built: dark roofs, streets
      {{176, 170, 172, 178, 192, 206, 216, 224, 230,  92,   3, 252, 232},   -2,    -9}},    //        bright roofs
     0.06f, 0.16f},
    {{{{150, 138, 150, 180, 200, 214, 226, 232, 246, 100,   2, 345, 300},  -15,   -24.5f},    // bare: soil
      {{172, 170, 196, 244, 262, 274, 284, 292, 302, 128,   3, 410, 372},  -17.5f, -27}},     //       sand
     0.05f, 0.04f},
    {{{{118,  90,  80,  58,  82, 130, 152, 152, 164,  52,   1,  86,  46},   -6,   -17.5f},    // wetland: wet, flooded
      {{120,  94,  90,  72, 106, 172, 204, 206, 224,  72,   1, 138,  76},   -7.5f, -18}},     //          reed
     0.05f, 0.07f},
};
// clang-format on

}  // namespace clearsky::data::detail
