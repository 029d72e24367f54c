// Which device the executor stands for, where kernels may compute in different ways.
#pragma once

namespace foretoken::simt {

struct Model {
  bool convertsE2m1 = false;     ///< Blackwell does, Hopper doesn't
  bool hasTensorMemory = false;  ///< Blackwell has it and tcgen05, Hopper has wgmma
};

/// Of the launches to come.
inline Model model;

}  // namespace foretoken::simt
