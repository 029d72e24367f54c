mutant(rows no-barrier-after-gradients cuda/train/row_steps.cuh [[    if (thread == 0) rowGradients(a, slot, s);
    __syncthreads();
]] [[    if (thread == 0) rowGradients(a, slot, s);
]])
mutant(rows no-barrier-between-slots cuda/train/row_steps.cuh [[    __syncthreads();
  }
}

/// Slots of one launch.]] [[  }
}

/// Slots of one launch.]])
mutant(rows step-not-clipped cuda/train/row_steps.cuh [[const auto scale = static_cast<float>(formula::clipScale(norm, static_cast<double>(a.clip)));]]
  [[const float scale = 1;]])
