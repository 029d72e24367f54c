mutant(layer_steps residual-without-gradient cuda/train/layer_pass.cuh [[s_.dy, s_.dx, true);
  }

  /// Nothing before]] [[s_.dy, s_.dx, false);
  }

  /// Nothing before]])
mutant(layer_steps queries-gradient-not-turned-back cuda/train/layer_pass.cuh [[size_.blocks, true, s_.dq16)]] [[size_.blocks, false, s_.dq16)]])
mutant(layer_steps own-values-over-the-contexts cuda/train/layer_pass.cuh [[s.value + own]] [[s.value]])
mutant(layer_steps labels-of-moved-rows cuda/train/layer_pass.cuh [[{in_.state, head_.still,]] [[{in_.state, head_.moved,]])
mutant(layer_steps moments-corrected-for-the-step-before cuda/train/device_layers.cu [[adamwAt(steps_ + 1,]] [[adamwAt(steps_ + 2,]])
