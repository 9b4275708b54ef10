// Cuts a grid of workgroups into boxes of a limited number of groups.
#ifndef FERRYLM_VULKAN_GRID_SLICES_H_
#define FERRYLM_VULKAN_GRID_SLICES_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ferrylm::vulkan {

struct GridSlice {
  uint32_t base[3];
  uint32_t count[3];
  uint64_t groups() const { return static_cast<uint64_t>(count[0]) * count[1] * count[2]; }
};

// Boxes of at most `largest` groups that cover the grid once, outermost dimension cut first.
inline std::vector<GridSlice> slice_grid(const uint32_t grid[3], uint64_t largest) {
  uint32_t step[3] = {grid[0], grid[1], grid[2]};
  const uint64_t row = grid[0];
  const uint64_t plane = row * grid[1];
  if (plane <= largest) {
    step[2] = static_cast<uint32_t>(std::min<uint64_t>(grid[2], largest / plane));
  } else {
    step[2] = 1;
    step[1] = row <= largest ? static_cast<uint32_t>(largest / row) : 1;
    if (row > largest) step[0] = static_cast<uint32_t>(std::max<uint64_t>(largest, 1));
  }
  std::vector<GridSlice> slices;
  for (uint32_t z = 0; z < grid[2]; z += step[2]) {
    for (uint32_t y = 0; y < grid[1]; y += step[1]) {
      for (uint64_t x = 0; x < grid[0]; x += step[0]) {
        const uint32_t first = static_cast<uint32_t>(x);
        slices.push_back({{first, y, z},
                          {std::min(step[0], grid[0] - first), std::min(step[1], grid[1] - y),
                           std::min(step[2], grid[2] - z)}});
      }
    }
  }
  return slices;
}

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_GRID_SLICES_H_
